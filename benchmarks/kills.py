"""Kill training runs at random moments, resume each, and compare it with a run that nothing disturbed.

    python -m benchmarks.kills [--kills 8] [--writes 5] [--signals 4] [--ranks 2] [--out FILE]

A case is a run of its own, on handwritten digits, whose processes get a signal together: SIGKILL at a random
moment (kills), SIGKILL while a file is half written (writes), SIGTERM or SIGINT at a random moment (signals),
or SIGKILL of one process of two, whose other process must then end (ranks). The same command then resumes the
run. A case is held if the weights are those of the undisturbed run, bit for bit, if the log has the same
numbers, and if no temporary file is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from align_uniform._temporary import PREFIX, SUFFIX
from align_uniform._writing import check_replaceable, written_whole
from align_uniform.recipes.pretrain.log import read_log

SECONDS = 600
"""The time that a process has before it counts as hanging."""

BATCHES = 16
"""The number of batches of a run."""

TIMED = {"views_per_second", "waiting"}
"""What no two runs share."""


@dataclass(frozen=True)
class Case:
    """How a run is killed."""

    kind: str
    """Which of kills, writes, signals and ranks."""
    signal: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    kind: str
    signal: str
    seed: int
    seconds: float
    """The time from the start of the run to the signal."""
    code: int
    """The exit code of the run that was killed; negative if a signal ended it."""
    ended_after: float
    """The time from the signal to the end of the last process, in seconds."""
    batches: int
    """The number of batches that were done when the run was killed."""
    half_written: list[str]
    """The files that were half written when the run was killed."""
    held: bool
    """Whether the resumed run equals the undisturbed one."""
    why: str
    """What differs, or what the resumed run said; empty if it is held."""


def command(out: Path, processes: int = 1) -> list[str]:
    """Return the command of a run of BATCHES batches, in 4 epochs."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [
        sys.executable, *(launch if processes > 1 else []), "-m", "align_uniform", "pretrain", "two-view",
        "--preset", "digits", "--epochs", "4", "--limit", "256", "--batch-size", "64", "--log-every", "1",
        "--evaluate-every", "2", "--workers", "1", "--device", "cpu", "--out", str(out),
    ]  # fmt: skip


def start(out: Path, processes: int) -> subprocess.Popen[bytes]:
    """Start a run in a session of its own."""
    return subprocess.Popen(
        command(out, processes),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(out: Path, processes: int) -> str:
    """Run the command to its end; return what it said if it failed, and else nothing."""
    process = start(out, processes)
    try:
        _, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"it hung for {SECONDS} s"
    return "" if process.returncode == 0 else errors.decode(errors="replace")[-2000:]


def half_written(out: Path) -> list[str]:
    """Return the names of the files that are being written."""
    return sorted(path.name for path in out.glob(f"**/{PREFIX}*{SUFFIX}/*"))


def wait_for_moment(case: Case, process: subprocess.Popen[bytes], out: Path, duration: float) -> None:
    """Wait until the moment of the signal, which the seed decides, or until the run ends."""
    chance = random.Random(f"{case.kind} {case.seed}")
    if case.kind != "writes":
        batches = chance.randrange(BATCHES) if case.kind == "kills" else chance.randrange(1, BATCHES)
        while process.poll() is None and batches_done(out) < batches:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, duration / BATCHES))
        return
    files = chance.randint(1, 8)  # of those that a run writes
    before: list[str] = []
    while process.poll() is None:
        now = half_written(out)
        files -= bool(now) and now != before
        if not files:
            return
        before = now
        time.sleep(0.0005)


def batches_done(out: Path) -> int:
    """Return the number of batches in the log."""
    return sum("loss" in line for run in out.glob("*") for line in read_log(run))


def victim(process: subprocess.Popen[bytes]) -> int:
    """Return one of the training processes that torchrun started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[-1]) if children else process.pid


def differences(out: Path, undisturbed: Path) -> str:
    """Return what differs between two runs, or nothing."""
    found, wanted = (next(folder.glob("*/encoder.pth")).parent for folder in (out, undisturbed))
    weights, expected = (torch.load(run / "encoder.pth", weights_only=True) for run in (found, wanted))
    if unlike := [name for name, value in expected.items() if not torch.equal(weights[name], value)]:
        return f"weights differ: {', '.join(unlike)}"
    lines, expected_lines = (
        [{name: value for name, value in line.items() if name not in TIMED} for line in read_log(run)]
        for run in (found, wanted)
    )
    if lines != expected_lines:
        return "the log differs"
    left = [str(path.relative_to(out)) for path in out.glob(f"**/{PREFIX}*")]
    return f"temporary files are left: {', '.join(left)}" if left else ""


def outcome(case: Case, undisturbed: Path, duration: float, folder: Path) -> Outcome:
    """Carry out a case."""
    processes = 2 if case.kind == "ranks" else 1
    out = folder / f"{case.kind}-{case.seed}"
    out.mkdir()
    began = time.monotonic()
    process = start(out, processes)
    wait_for_moment(case, process, out, duration)
    writing = half_written(out)
    seconds = time.monotonic() - began
    number = getattr(signal, case.signal)
    if process.poll() is None:
        if processes == 1:
            os.killpg(process.pid, number)
        else:
            os.kill(victim(process), number)
    killed = time.monotonic()
    try:
        process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    ended = time.monotonic() - killed
    batches = batches_done(out)
    why = f"it did not end within {SECONDS} s" if ended > SECONDS else finish(out, processes)
    why = why or differences(out, undisturbed)
    shutil.rmtree(out)
    return Outcome(
        **asdict(case),
        seconds=round(seconds, 2),
        code=process.returncode,
        ended_after=round(ended, 2),
        batches=batches,
        half_written=writing,
        held=not why,
        why=why,
    )


def cases(options: argparse.Namespace) -> list[Case]:
    """Return the cases that the options ask for."""
    return [
        *(Case("kills", "SIGKILL", seed) for seed in range(options.kills)),
        *(Case("writes", "SIGKILL", seed) for seed in range(options.writes)),
        *(Case("signals", ("SIGTERM", "SIGINT")[seed % 2], seed) for seed in range(options.signals)),
        *(Case("ranks", "SIGKILL", seed) for seed in range(options.ranks)),
    ]


def reference(folder: Path, processes: int) -> tuple[Path, float]:
    """Return the folder of an undisturbed run, and the seconds that it took.

    Raises:
        ValueError: it failed.
    """
    out = folder / f"undisturbed-{processes}"
    began = time.monotonic()
    if why := finish(out, processes):
        raise ValueError(f"the undisturbed run failed: {why}")
    return out, time.monotonic() - began


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the numbers of cases and of those that are held, as Markdown.

    Example:
        >>> done = Outcome("kills", "SIGKILL", 0, 1.0, -9, 0.1, 3, [], True, "")
        >>> print(table([done]))
        | cases | runs | held | with a file half written | longest time to end |
        |---|---|---|---|---|
        | kills, SIGKILL | 1 | 1 | 0 | 0.1 s |
    """
    lines = [
        "| cases | runs | held | with a file half written | longest time to end |",
        "|---|---|---|---|---|",
    ]
    for kind, name in dict.fromkeys((each.kind, each.signal) for each in outcomes):
        found = [each for each in outcomes if (each.kind, each.signal) == (kind, name)]
        counts = [
            len(found),
            sum(each.held for each in found),
            sum(bool(each.half_written) for each in found),
        ]
        longest = max(each.ended_after for each in found)
        lines.append(f"| {kind}, {name} | {' | '.join(map(str, counts))} | {longest:.1f} s |")
    return "\n".join(lines)


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the outcomes as JSON."""
    document = {"schema_version": 1, "torch": torch.__version__, "cases": [asdict(each) for each in outcomes]}
    with written_whole(path) as partial:
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the cases, print a table, and return 0 if all are held and 1 otherwise."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.kills", description=__doc__.split("\n")[0] if __doc__ else None
    )
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--writes", type=int, default=5)
    parser.add_argument("--signals", type=int, default=4)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the outcomes here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options = parser.parse_args(arguments)
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        runs: dict[int, tuple[Path, float]] = {}
        for case in cases(options):
            processes = 2 if case.kind == "ranks" else 1
            if processes not in runs:
                runs[processes] = reference(Path(name), processes)
            found = outcome(case, *runs[processes], Path(name))
            outcomes.append(found)
            moment = f"{case.signal} after {found.batches} batches"
            sys.stderr.write(f"{case.kind} {case.seed}, {moment}: {found.why or 'held'}\n")
            if options.out is not None:  # after each case: those so far outlive a kill of this, too
                write(outcomes, options.out)
    sys.stdout.write(table(outcomes) + "\n")
    return 0 if all(each.held for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
