"""The simulation of a cell: runs, intervals, and the share of them that hold the true value."""

from __future__ import annotations

import math
import statistics
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from align_uniform.measuring import quantities
from align_uniform.measuring.difference import Difference
from align_uniform.measuring.results import NORMAL_95
from benchmarks.coverage.cells import Cell, Measured
from benchmarks.coverage.truth import Truth

APPROXIMATION = "uniform.approximation"
"""The name of uniformity as an estimate of the value of these very rows."""


WORDS = {
    "align": "alignment",
    "uniform": "uniformity",
    "mean_cosine": "mean cosine",
    "towers.modality_gap": "modality gap",
    "towers.cross_uniform": "cross-uniformity",
}
"""The words by which warnings name numbers, by their keys or the first parts of those."""

EVERY = "all errors"
"""The words by which a warning names all numbers."""


class Estimate(NamedTuple):
    """One number of one run."""

    value: float
    error: float


@dataclass(frozen=True)
class Coverage:
    """The results for one number of a cell."""

    number: str
    """The key of the number."""
    truth: float
    """The true value."""
    truth_error: float
    """The standard error of the true value; 0 for a closed form."""
    bias: float
    """The mean deviation from the true value, in deviations between runs."""
    cover: float
    """The share of the runs whose 95% interval holds the true value."""
    cover_error: float
    """The standard error of `cover`."""
    se_over_sd: float
    """The mean reported error over the deviation between runs."""
    runs: int
    """The number of runs that reported the number with an error."""
    warned: float
    """The share of the runs with a warning about the number."""


@dataclass(frozen=True)
class Outcome:
    """The results of a cell."""

    design: str
    law: str
    size: str
    runs: int
    """The number of runs."""
    seconds: float
    numbers: tuple[Coverage, ...]

    @property
    def name(self) -> str:
        """The name of the cell."""
        return f"{self.design}; {self.law}; {self.size}"


def simulate(cell: Cell, runs: int) -> Outcome:
    """Simulate a cell; the runs depend on its name alone."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(zlib.crc32(cell.name.encode()))
    found: dict[str, list[Estimate]] = {}
    warned: Counter[str] = Counter()
    for _ in range(runs):
        measured = cell.run(generator)
        warnings = " ".join(getattr(measured, "warnings", ()))
        for number, estimate in estimates(measured):
            found.setdefault(number, []).append(estimate)
            warned[number] += word_for(number) in warnings or EVERY in warnings
    numbers = [
        coverage(number, truth, found[number], warned[number])
        for number, truth in cell.truths().items()
        if number in found
    ]
    seconds = time.perf_counter() - started
    return Outcome(cell.design, cell.law, cell.size, runs, round(seconds, 1), tuple(numbers))


def estimates(measured: Measured) -> Iterator[tuple[str, Estimate]]:
    """Yield every number that has an error."""
    if isinstance(measured, Difference):
        for record, value, error in measured.numbers():
            if error is not None:
                yield record.key, Estimate(value, error)
        return
    for record in quantities.QUANTITIES:
        value, error = record.value(measured), record.error(measured)
        if isinstance(value, float) and error is not None:
            yield record.key, Estimate(value, error)
    uniform = measured.uniform
    if uniform.approximation_stderr:
        yield APPROXIMATION, Estimate(uniform.value, uniform.approximation_stderr)


def word_for(number: str) -> str:
    """Return the word by which warnings name a number, or the number that it follows from."""
    return WORDS.get(number, WORDS.get(number.partition(".")[0], number))


def coverage(number: str, truth: Truth, found: list[Estimate], warned: int) -> Coverage:
    """Return the cover of the intervals of one number, over its runs."""
    values = [estimate.value for estimate in found]
    deviation = statistics.stdev(values)
    held = [abs(value - truth.value) <= NORMAL_95 * error for value, error in found]
    cover = statistics.fmean(held)
    return Coverage(
        number=number,
        truth=truth.value,
        truth_error=truth.error,
        bias=(statistics.fmean(values) - truth.value) / deviation,
        cover=cover,
        cover_error=math.sqrt(max(cover * (1 - cover), 1 / len(found)) / len(found)),
        se_over_sd=statistics.fmean(estimate.error for estimate in found) / deviation,
        runs=len(found),
        warned=warned / len(found),
    )
