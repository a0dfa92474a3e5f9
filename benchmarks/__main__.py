"""Run benchmarks: tables on stdout, progress on stderr, JSON on request."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from align_uniform._writing import check_replaceable
from benchmarks.case import Case
from benchmarks.contrastive import contrastive
from benchmarks.measuring import measuring
from benchmarks.memory import memory_process
from benchmarks.moco_queue import moco_queue
from benchmarks.report import losses, machine, tables, write_json
from benchmarks.row import Row, measure
from benchmarks.timing import ROUNDS
from benchmarks.uniform import uniform

BENCHMARKS: dict[str, Callable[[bool], list[Case]]] = {
    "uniform": uniform,
    "queue": moco_queue,
    "contrastive": contrastive,
    "measuring": measuring,
}
"""The choices of `--only`. A new benchmark is a function in a file of its own, and a line here."""

SECONDS = 3.0
"""The time for one case, unless `ROUNDS` of it take longer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; after an interruption, write the numbers so far and return 130."""
    options = _parse(arguments)
    out: Path | None = options.out
    try:
        if out is not None:
            check_replaceable(out, force=options.force)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    cases = [case for name in options.only for case in BENCHMARKS[name](options.quick)]
    rows: list[Row] = []
    complete = False
    with memory_process() as memory:
        facts = machine(memory)
        try:
            rows.extend(_measure_all(cases, 0.3 if options.quick else SECONDS, memory))
            complete = True
        except KeyboardInterrupt:
            sys.stderr.write(f"Interrupted after {len(rows)} of {len(cases)} cases.\n")
        _print(facts, rows)
    if out is not None:
        write_json(out, facts, rows, complete=complete)
    return 0 if complete else 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(BENCHMARKS),
        default=list(BENCHMARKS),
        metavar="NAME",
        help="%(choices)s",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all numbers here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: does it run?")
    return parser.parse_args(arguments)


def _measure_all(cases: Sequence[Case], seconds: float, memory: Executor) -> Iterator[Row]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as progress:
        task = progress.add_task("", total=sum(_estimate(case, seconds) for case in cases))
        before = 0.0
        for case in cases:
            sizes = " ".join(f"{name}={size}" for name, size in case.sizes.items())
            progress.update(task, description=f"{case.benchmark}, {case.what}, {sizes}")
            for outcome in measure(case, seconds, memory):
                if isinstance(outcome, Row):
                    yield outcome
                else:
                    progress.update(task, completed=before + outcome * _estimate(case, seconds))
            before += _estimate(case, seconds)


def _estimate(case: Case, seconds: float) -> float:
    """Return the seconds that a case may take, at half a nanosecond per pair and feature of a reference."""
    return max(seconds, 5e-10 * (ROUNDS + 1) * case.work.exponentials * case.sizes["m"])


def _print(facts: dict[str, object], rows: Sequence[Row]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(", ".join(f"{name} {fact}" for name, fact in facts.items()), soft_wrap=True)
    for table in tables(rows):
        console.print(table)
    for line in losses(rows):
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
