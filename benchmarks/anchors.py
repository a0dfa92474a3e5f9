"""The error and the time of the estimate from anchors, next to random pairs drawn for as long.

    python -m benchmarks.anchors [--rows 1000000] [--fashion-mnist FOLDER] [--out FILE] [--force]

The rows are synthetic, in 128 dimensions: uniform, in a cone, and in 1,000 clusters; and, if their folder is
given, the 70,000 pictures of Fashion-MNIST as 784 pixels. The exact value of a million rows takes twenty
minutes for each: there, the value of ten times as many anchors stands in for it, with a third of the error,
and the table says so. Smaller sets are summed exactly.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align_uniform._writing import check_replaceable, written_whole
from align_uniform.measuring.populations import Population
from align_uniform.measuring.uniformity import Potentials, anchor_potentials, exact_potentials
from benchmarks.memory import peak_mib

M, T, ANCHORS = 128, 2.0, 2000
EXACT_ROWS = 200_000
"""The largest number of rows for which the truth is summed over all pairs."""


@dataclass(frozen=True)
class Outcome:
    """The results for one data set."""

    data: str
    rows: int
    dim: int
    survey_seconds: float
    """The seconds of reading, checking and the moments."""
    anchor_seconds: float
    extra_mib: float | None
    truth: float
    truth_stderr: float
    """The standard error of the truth, 0 if it is exact."""
    anchors_error: float
    """The estimate less the truth."""
    anchors_stderr: float
    """The standard error that the estimate reports."""
    pairs: int
    """The number of random pairs drawn in the same time."""
    pairs_error: float
    pairs_stderr: float


def main() -> int:
    """Measure each data set, print, and write."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.anchors", description=__doc__.split("\n")[0] if __doc__ else None
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each made data set")
    parser.add_argument(
        "--fashion-mnist", type=Path, metavar="FOLDER", help="folder of train-images-idx3-ubyte.gz"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options = parser.parse_args()
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    outcomes = []
    for name, rows in data_sets(options.rows, options.fashion_mnist):
        sys.stderr.write(f"{name}: {len(rows):,} rows\n")
        outcomes.append(outcome(name, rows))
    show(outcomes)
    if options.out is not None:
        with written_whole(options.out) as partial:
            document = {"schema_version": 1, "threads": torch.get_num_threads(), "anchors": ANCHORS}
            partial.write_text(
                json.dumps(document | {"rows": [asdict(each) for each in outcomes]}, indent=1) + "\n"
            )
    return 0


def data_sets(count: int, fashion_mnist: Path | None) -> Iterator[tuple[str, Tensor]]:
    """Yield the rows of each data set, not yet normalised."""
    generator = torch.Generator().manual_seed(0)
    yield "uniform", torch.randn(count, M, generator=generator)
    yield "cone", torch.randn(count, M, generator=generator) + 0.6
    centres = torch.nn.functional.normalize(torch.randn(1000, M, generator=generator))
    members = torch.randint(1000, (count,), generator=generator)
    yield (
        "1,000 clusters",
        torch.randn(count, M, generator=generator).mul_(0.3 / math.sqrt(M)).add_(centres[members]),
    )
    if fashion_mnist is not None:
        files = [fashion_mnist / f"{part}-images-idx3-ubyte.gz" for part in ("train", "t10k")]
        pixels = [
            np.frombuffer(gzip.decompress(file.read_bytes())[16:], np.uint8).reshape(-1, 784)
            for file in files
        ]
        yield "Fashion-MNIST pixels", torch.from_numpy(np.concatenate(pixels)).float()


def outcome(name: str, rows: Tensor) -> Outcome:
    """Time the anchors, and compare their estimate with the truth."""
    start = time.perf_counter()
    population = Population(rows, name, normalize=True, device=torch.device("cpu"))
    surveyed = time.perf_counter()
    chosen = sample(len(rows), ANCHORS, seed=0)
    extra, found = peak_mib(lambda: estimate(population, chosen))
    started = time.perf_counter()
    estimate(population, chosen)
    seconds = time.perf_counter() - started
    pairs, plain, plain_error = random_pairs(population, seconds + surveyed - start)
    truth = true_value(population)
    return Outcome(
        data=name, rows=len(rows), dim=rows.shape[1], survey_seconds=surveyed - start,
        anchor_seconds=seconds, extra_mib=extra,
        truth=truth.log_mean, truth_stderr=truth.approximation_stderr,
        anchors_error=found.log_mean - truth.log_mean, anchors_stderr=found.approximation_stderr,
        pairs=pairs, pairs_error=plain - truth.log_mean, pairs_stderr=plain_error,
    )  # fmt: skip


def estimate(population: Population, chosen: Tensor) -> Potentials:
    """Estimate uniformity from anchors."""
    ((found,), _) = anchor_potentials(population, chosen, [T], lambda _: None)
    return found


def true_value(population: Population) -> Potentials:
    """Return the uniformity of all pairs, or the best estimate that minutes can give."""
    if len(population) <= EXACT_ROWS:
        ((found,), _) = exact_potentials(population, [T], lambda _: None)
        return found
    return estimate(population, sample(len(population), 10 * ANCHORS, seed=1))


def sample(count: int, size: int, seed: int) -> Tensor:
    """Return random row numbers in rising order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size].sort().values


def random_pairs(population: Population, seconds: float) -> tuple[int, float, float]:
    """Draw random pairs for the given time; return their number, their uniformity, and its error.

    The rows are in memory, ready.
    """
    rows = population[slice(0, len(population))]
    generator = torch.Generator().manual_seed(0)
    total = squares = pairs = 0.0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        i, j = torch.randint(len(rows), (2, 2**16), generator=generator)
        potentials = ((rows[i] * rows[j]).sum(1) - 1).mul_(2 * T).exp_()[i != j].double()
        total, squares, pairs = (
            total + float(potentials.sum()),
            squares + float(potentials.square().sum()),
            pairs + len(potentials),
        )
    mean = total / pairs
    return int(pairs), math.log(mean), math.sqrt((squares / pairs - mean**2) / pairs) / mean


def show(outcomes: list[Outcome]) -> None:
    """Print one line for each data set."""
    table = Table(
        title=f"{ANCHORS:,} anchors, t = {T:g}, {torch.get_num_threads()} threads", title_justify="left"
    )
    for heading in ("data", "rows", "survey s", "anchors s", "extra MiB", "truth", "its error",
                    "anchors off by", "stated error", "pairs", "pairs off by", "their error"):  # fmt: skip
        table.add_column(heading, justify="right")
    for each in outcomes:
        table.add_row(
            each.data, f"{each.rows:,}", f"{each.survey_seconds:.1f}", f"{each.anchor_seconds:.1f}",
            "not measured" if each.extra_mib is None else f"{each.extra_mib:.0f}",
            f"{each.truth:.6f}", f"{each.truth_stderr:.1e}",
            f"{each.anchors_error:.1e}", f"{each.anchors_stderr:.1e}", f"{each.pairs:,}",
            f"{each.pairs_error:.1e}", f"{each.pairs_stderr:.1e}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    sys.exit(main())
