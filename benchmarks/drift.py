"""The size, the power and the error bars of the two-sample test behind `drift`, by simulation.

    python -m benchmarks.drift [--runs 2000] [--jobs 1] [--out FILE]

Every run draws two new samples of unit rows in 16 dimensions. Where nothing moved, the share of runs with p
at most 0.05 is the size of the test, which should be 5%; elsewhere it is the power. A 95% interval of the
squared MMD covers if it holds the mean over all runs, which is the true value, since the squared MMD has no
bias.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from align_uniform._writing import check_replaceable, written_whole
from align_uniform.measuring.discrepancy import Side, discrepancy
from align_uniform.measuring.populations import Population
from align_uniform.measuring.results import NORMAL_95
from align_uniform.measuring.row_sums import all_row_sums
from align_uniform.measuring.two_samples import TwoSamples
from benchmarks.coverage import laws
from benchmarks.coverage.laws import Law

OUT = Path(__file__).parent / "drift.json"
DIM, T, PERMUTATIONS, LEVEL, VIEW_NOISE = 16, 2.0, 199, 0.05, 0.3

Change = Callable[[Tensor], Tensor]


def unchanged(rows: Tensor) -> Tensor:
    """Return the rows."""
    return rows


def shifted(by: float) -> Change:
    """Return the change that moves rows along one axis, and back to the sphere."""
    return lambda rows: normalize(rows + by * torch.eye(DIM)[1])


def turned(by: float) -> Change:
    """Return the change that turns rows in the plane of the first two axes, which no uniformity sees."""
    angle = torch.tensor(by)
    turn = torch.eye(DIM)
    turn[:2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    return lambda rows: rows @ turn.T


LAWS: dict[str, Law] = {
    "uniform": laws.uniform(DIM),
    "cone": laws.cone(DIM),
    "10 clusters": laws.clusters(DIM, 10),
    "Zipf clusters": laws.clusters(DIM, 100, exponent=1.0),
}
CHANGES: dict[str, Change] = {
    "nothing": unchanged,
    "mean, 0.05": shifted(0.05),
    "mean, 0.2": shifted(0.2),
    "rotation, 0.3": turned(0.3),
}
SIZES = {False: (200, 220), True: (200, 200)}
"""The numbers of rows, by whether rows are paired."""


@dataclass(frozen=True)
class Cell:
    """One law, design and change, and what was found."""

    law: str
    paired: bool
    change: str
    runs: int
    moved: float
    """The share of runs with p at most 0.05."""
    cover: float
    """The share of 95% intervals that hold the mean squared MMD."""
    se_over_sd: float
    """The mean error of the squared MMD over its deviation between runs."""
    squared_mmd: float
    """The mean squared MMD."""


def simulate(law: str, change: str, paired: bool, runs: int) -> Cell:
    """Simulate a cell; the runs depend on its name alone."""
    torch.set_num_threads(1)
    generator = Generator().manual_seed(zlib.crc32(f"{law}; {change}; {paired}".encode()))
    ps, values, errors = [], [], []
    for run in range(runs):
        p, value, error = _one(*_drawn(law, change, generator, paired=paired), paired=paired, seed=run)
        ps.append(p)
        values.append(value)
        errors.append(error)
    mean = statistics.fmean(values)
    return Cell(
        law=law,
        paired=paired,
        change=change,
        runs=runs,
        moved=statistics.fmean(p <= LEVEL for p in ps),
        cover=statistics.fmean(
            abs(value - mean) <= NORMAL_95 * error for value, error in zip(values, errors, strict=True)
        ),
        se_over_sd=statistics.fmean(errors) / statistics.stdev(values),
        squared_mmd=mean,
    )


def _drawn(law: str, change: str, generator: Generator, *, paired: bool) -> tuple[Tensor, Tensor]:
    """Return two samples, or two views of the same items, of which the second is changed."""
    n, k = SIZES[paired]
    if paired:
        x, y = laws.views(LAWS[law], VIEW_NOISE)(n, generator)
    else:
        (x,), (y,) = (LAWS[law](count, generator) for count in (n, k))
    return x.double(), CHANGES[change](y).double()


def _one(x: Tensor, y: Tensor, *, paired: bool, seed: int) -> tuple[float, float, float]:
    """Return p, the squared MMD and its error."""
    samples = TwoSamples(x, y, T, paired=paired)
    found = discrepancy(
        _side(x),
        _side(y),
        T,
        paired=paired,
        degenerate=samples.degenerate_variance((len(x), len(y))),
        top=0,
        progress=_nothing,
    )
    return samples.test(PERMUTATIONS, seed, _nothing).p, found.squared_mmd, found.stderr


def _side(rows: Tensor) -> Side:
    population = Population(rows, "rows", normalize=False, device=rows.device)
    sums = all_row_sums(population, [T], _nothing)
    return Side(population, sums.sums[0] * sums.shift.exp() / (len(rows) - 1), None)


def _nothing(_: int) -> None:
    pass


def table(cells: Sequence[Cell]) -> str:
    """Return the cells as a table in Markdown."""
    lines = [
        "| rows | law | what moved | moved % | cover % | se/sd |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for cell in cells:
        rows = "paired, 200" if cell.paired else "200 and 220"
        numbers = f"{100 * cell.moved:.1f} | {100 * cell.cover:.1f} | {cell.se_over_sd:.2f}"
        lines.append(f"| {rows} | {cell.law} | {cell.change} | {numbers} |")
    return "\n".join(lines)


def read(path: Path = OUT) -> list[Cell]:
    """Return the cells of a file."""
    return [Cell(**cell) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate all cells, keep them in a file, and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="runs of each cell (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options = parser.parse_args(arguments)
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    asked = [
        (law, change, paired, options.runs)
        for change in CHANGES
        for law in (LAWS if change == "nothing" else ("cone", "10 clusters"))
        for paired in (False, True)
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        cells = list(pool.map(simulate, *zip(*asked, strict=True)))
    if options.out is not None:
        with written_whole(options.out) as partial:
            document = {"torch": torch.__version__, "cells": [asdict(cell) for cell in cells]}
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{table(cells)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
