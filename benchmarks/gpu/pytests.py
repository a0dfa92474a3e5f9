"""The project's own tests on this machine, by either engine: a process for each file, several at a time."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from align_uniform.engine import routes
from benchmarks.gpu.item import Failed, Item, LeftOut, Record
from benchmarks.gpu.session import Engine, Session

ROOT = Path(__file__).parents[2]

FILES = (
    "tests/functional/test_*.py",
    "tests/test_losses.py",
    "tests/engine/test_*.py",
    "tests/measuring/test_row_sums.py",
    "tests/measuring/test_uniformity.py",
    "tests/measuring/test_alignment.py",
    "tests/measuring/test_subject.py",
    "tests/measuring/test_sweep.py",
    "tests/measuring/test_positives.py",
    "tests/measuring/test_notable_rows.py",
    "tests/measuring/test_measure.py",
    "tests/metrics/test_*.py",
    "tests/test_ranks.py",
)
ONCE = ("test_compiled_kernels.py",)
"""The tests to which the engine does not matter."""
ELSEWHERE = ("test_interpreted_kernels.py",)
"""The tests that run in Triton's interpreter, and so say nothing about a GPU."""

QUICK = ("tests/measuring/test_row_sums.py", "-k", "underflow")

GRACE = 15.0
"""The seconds that an interrupted pytest has to write its results."""
MOST_FAILURES = 20
"""The number of failures of a file that are recorded with their last lines; the others are counted."""


class Job(NamedTuple):
    """One file by one engine."""

    arguments: tuple[str, ...]
    engine: Engine

    @property
    def name(self) -> str:
        """The file and the engine in words."""
        return (
            self.arguments[0]
            if Path(self.arguments[0]).name in ONCE
            else f"{self.arguments[0]}, {self.engine}"
        )


def items(session: Session) -> list[Item]:
    """Return an item for each file and engine, all of which start with the first."""
    pending: dict[str, Future[Record]] = {}
    jobs = list(_jobs(session))

    def run(job: Job) -> Record:
        if not pending:
            pool = ThreadPoolExecutor(1 if session.quick else max(1, min(8, (os.cpu_count() or 2) // 2)))
            pending.update({each.name: pool.submit(_run, session, each) for each in jobs})
            pool.shutdown(wait=False)
        found = pending[job.name].result()
        if "missing" in found:
            raise LeftOut(f"cannot be imported: {found['missing']}")
        if "cut" in found and not found["failed"]:
            raise LeftOut(found["cut"], found)
        if found["failed"] or not found["passed"] + found["skipped"]:
            counts = f"{found['passed']} passed, {found['failed']} failed"
            first = next(iter(found["failures"].items()), ("", ""))
            raise Failed(
                f"{found.get('cut') or counts}; {first[0]}: {first[1].strip() or found['tail']}", found
            )
        del found["tail"]  # it says nothing more
        return found

    return [Item(job.name, functools.partial(run, job)) for job in jobs]


def _jobs(session: Session) -> Iterator[Job]:
    if session.quick:
        for engine in session.engines:
            yield Job(QUICK, engine)
        return
    files = [path.relative_to(ROOT) for pattern in FILES for path in sorted(ROOT.glob(pattern))]
    if not importlib.util.find_spec("torchmetrics"):
        files = [path for path in files if path.parent.name != "metrics"]
    for path in (path for path in files if path.name not in (*ELSEWHERE, *ONCE)):
        for engine in session.engines:
            yield Job((str(path),), engine)
    for path in (path for path in files if path.name in ONCE):
        yield Job((str(path),), "triton")


def _run(session: Session, job: Job) -> Record:
    """Run pytest until the deadline of the part; interrupted, it still writes its report."""
    environment = {
        name: text for name, text in os.environ.items() if session.quick or name != "TRITON_INTERPRET"
    }
    environment[routes.ENGINE] = job.engine
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), environment.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *job.arguments]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        process = subprocess.Popen(
            [*command, f"--junitxml={report}"],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        cut = False
        try:
            output, _ = process.communicate(timeout=max(1.0, min(session.seconds_left() - GRACE - 5, 3600)))
        except subprocess.TimeoutExpired:
            cut = True
            process.send_signal(signal.SIGINT)
            try:
                output, _ = process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        found = _read(report) if report.exists() else {"passed": 0, "failed": 0, "skipped": 0, "failures": {}}
    found |= {
        "file": job.arguments[0],
        "engine": job.engine,
        "exit_status": process.returncode,
        "tail": output[-1500:],
    }
    return found | (
        {"cut": f"no time for all tests: {found['passed']} passed, {found['failed']} failed"} if cut else {}
    )


def _read(report: Path) -> Record:
    """Read counts and failures from a JUnit report.

    A module whose lack keeps the file from being imported is `missing`.
    """
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures: dict[str, str] = {}
    record: Record = {}
    for case in ET.parse(report).iter("testcase"):
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        if wrong is None:
            counts["skipped" if case.find("skipped") is not None else "passed"] += 1
            continue
        text = (wrong.text or wrong.get("message") or "").strip()
        lines = text.splitlines()
        last = "\n".join([line for line in lines if line.startswith("E ")][-4:] or lines[-4:])
        if wrong.get("message") == "collection failure" and "No module named" in text:
            record["missing"] = (
                next(line for line in text.splitlines() if "No module named" in line)
                .removeprefix("E")
                .strip()
            )
        counts["failed"] += 1
        if len(failures) < MOST_FAILURES:
            failures[name] = last[-600:]
    return record | counts | {"failures": failures}
