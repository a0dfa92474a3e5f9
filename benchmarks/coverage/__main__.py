"""Simulate cells, print the table, and keep every cell in a file as soon as it is done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from align_uniform import __version__
from align_uniform._writing import written_whole
from benchmarks.coverage.cells import Cell, cells
from benchmarks.coverage.simulate import Coverage, Outcome, simulate
from benchmarks.coverage.table import table

SCHEMA_VERSION = 1
OUT = Path(__file__).parent.parent / "coverage.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate the cells that the file lacks; print the table of all that were asked for."""
    options = _parse(arguments)
    chosen = [cell for cell in cells() if any(text in cell.name for text in options.only or [""])]
    if not chosen:
        sys.stderr.write(f"--only must be part of the name of a cell, got {options.only}; see --list.\n")
        return 2
    if options.list:
        sys.stdout.write("".join(f"{cell.name}\n" for cell in chosen))
        return 0
    kept = read(options.out)
    missing = [cell for cell in chosen if options.again or _runs(kept, cell) < options.runs]
    for number, outcome in enumerate(_simulated(missing, options.runs, options.jobs), start=1):
        kept[outcome.name] = outcome
        write(options.out, kept.values())
        sys.stderr.write(f"{number} of {len(missing)}: {outcome.name}, {outcome.seconds:.0f} s\n")
    sys.stdout.write(table([kept[cell.name] for cell in chosen]) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.coverage", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=2000, help="runs of each cell, at least 2 (default: %(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="TEXT", help="simulate the cells whose name has one of these texts"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of processes (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="FILE",
        help="keep the results here, and skip the cells that it has with as many runs",
    )  # fmt: skip
    parser.add_argument("--again", action="store_true", help="simulate again what the file has")
    parser.add_argument("--list", action="store_true", help="list the names of the cells, and exit")
    options = parser.parse_args(arguments)
    if options.runs < 2:
        parser.error(f"--runs must be at least 2, got {options.runs}.")
    return options


def _runs(kept: dict[str, Outcome], cell: Cell) -> int:
    return kept[cell.name].runs if cell.name in kept else 0


def _simulated(chosen: Sequence[Cell], runs: int, jobs: int) -> Iterator[Outcome]:
    """Yield the outcome of each cell; every process computes with one thread."""
    if jobs == 1:
        torch.set_num_threads(1)
        for cell in chosen:
            yield simulate(cell, runs)
        return
    with ProcessPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for future in as_completed([pool.submit(_simulate_named, cell.name, runs) for cell in chosen]):
            yield future.result()


def _simulate_named(name: str, runs: int) -> Outcome:
    return simulate(next(cell for cell in cells() if cell.name == name), runs)


# -------------------------------------------------------------------------------------------------- the file


def read(path: Path) -> dict[str, Outcome]:
    """Return the outcomes in a file, by the name of their cell; none if there is no file."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    outcomes = [_outcome(cell) for cell in document["cells"]]
    return {outcome.name: outcome for outcome in outcomes}


def _outcome(cell: dict[str, Any]) -> Outcome:
    return Outcome(**cell | {"numbers": tuple(Coverage(**number) for number in cell["numbers"])})


def write(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write all outcomes in the order of the table; the file is whole at every moment."""
    order = {cell.name: place for place, cell in enumerate(cells())}
    known = sorted(
        (outcome for outcome in outcomes if outcome.name in order), key=lambda outcome: order[outcome.name]
    )
    document = {
        "schema_version": SCHEMA_VERSION,
        "align_uniform": __version__,
        "torch": torch.__version__,
        "cells": [asdict(outcome) for outcome in known],
    }
    with written_whole(path) as partial:
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
