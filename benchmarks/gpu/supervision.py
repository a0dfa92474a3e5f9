"""The processes of the parts: one that hangs or crashes is recorded and ended, and the next item is run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.item import Record
from benchmarks.gpu.parts import PARTS

GRACE = 20.0
"""The seconds after its deadline when a part is ended."""
RESTARTS = 8
"""The number of processes of one part that may die before the rest of it is left out."""


@dataclass
class Supervised:
    """A part that runs, and its results so far."""

    part: str
    folder: Path
    device: str
    quick: bool
    deadline: float
    """The time, as of `time.time`, at which the part is to end."""
    report: Callable[[str], None]
    """The function that is called with a line of progress."""
    records: list[Record] = field(default_factory=list)
    done: bool = False
    _starts: int = 0
    _read: int = 0
    _begun: Record | None = None
    """The item that runs."""
    _since: float = 0.0
    """The time when the item began, or the process was started."""
    _process: subprocess.Popen[bytes] | None = None

    def start(self, first: int = 0) -> None:
        """Start the process at an item."""
        self._starts += 1
        command = [
            sys.executable,
            "-m",
            "benchmarks.gpu.worker",
            self.part,
            "--device",
            self.device,
            "--first",
            str(first),
        ]
        command += [
            "--out",
            str(self._found),
            "--deadline",
            str(self.deadline),
            *(["--quick"] if self.quick else []),
        ]
        self._begun, self._since = None, time.time()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    @property
    def _found(self) -> Path:
        return self.folder / f"{self.part}.jsonl"

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.part}-{self._starts}.log"

    def poll(self) -> None:
        """Read the lines that the process has written, and act if it has died, hangs or is late."""
        assert self._process is not None
        status = self._process.poll()  # first, so that all is read that was written before
        self.read()
        if self.done:
            return
        now = time.time()
        if status is not None:
            self._lost(
                None if status == 3 and self._begun is None else f"the process ended with status {status}"
            )
        elif now > self.deadline + GRACE:
            self._lost("ended: its time was over", "left out")
        elif now - self._since > PARTS[self.part].patience:
            self._lost(f"ended: no answer within {PARTS[self.part].patience:g} s")

    def read(self) -> None:
        """Read the lines that the process has written since the last call."""
        if not self._found.exists():
            return
        with self._found.open("rb") as file:
            file.seek(self._read)
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return
        self._read += len(whole) + 1
        for line in map(json.loads, whole.splitlines()):
            self._since = time.time()
            if "begins" in line:
                self._begun = line
                self.report(f"{self.part}: {line['name']}")
            elif "done" in line:
                self.done = True
            else:
                self._begun = None
                self.records.append(line)
                if line["outcome"] == "failed":
                    self.report(f"{self.part}: {line['name']} FAILED: {line['why'].splitlines()[0][:160]}")

    def _lost(self, why: str | None, outcome: str = "failed") -> None:
        """Record the item that was running, and resume behind it."""
        self.end()
        self.read()
        following = self.records[-1]["number"] + 1 if self.records else 0
        if why is not None:
            begun = self._begun or {
                "begins": following,
                "name": "start" if not self.records else "between items",
            }
            self.report(f"{self.part}: {begun['name']} {outcome.upper()}: {why}")
            tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
            lost = {
                "number": begun["begins"],
                "name": begun["name"],
                "outcome": outcome,
                "why": why,
                "traceback": tail,
            }
            self.records.append(lost)
            following = begun["begins"] + 1
        if (
            self._starts > RESTARTS
            or time.time() > self.deadline
            or (why is not None and self._begun is None)
        ):
            rest = {
                "number": following,
                "name": "all that follows",
                "outcome": "left out",
                "why": "no time, or no use",
            }
            self.records.append(rest)
            self.done = True
            return
        self.start(following)

    def end(self) -> None:
        """End the process and all that it has started."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)


def run_stage(
    parts: Sequence[str],
    folder: Path,
    *,
    device: str,
    quick: bool,
    deadline: float,
    report: Callable[[str], None],
) -> Iterator[dict[str, list[Record]]]:
    """Run parts at the same time.

    Yields:
        the results so far, again and again: the same lists, which grow.
    """
    running = {part: Supervised(part, folder, device, quick, deadline, report) for part in parts}
    found = {part: each.records for part, each in running.items()}
    try:
        for each in running.values():
            each.start()
        while not all(each.done for each in running.values()):
            yield found
            time.sleep(0.1)
            for each in running.values():
                if not each.done:
                    each.poll()
        yield found
    finally:
        for each in running.values():
            each.end()
            each.read()
