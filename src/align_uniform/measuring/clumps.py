"""Clumps, places where many rows lie: each is a stratum of its own when anchors are drawn.

A few anchors would meet a clump of 2% of the rows a little more or less often than 2%, and the rows of a
clump have a large mean potential. Drawn from each clump in proportion, anchors leave nothing of that to
chance. Any partition of the rows would do: a clump that is found in two parts costs little.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform.measuring.populations import Population, block_slices

DIRECTIONS = 8
"""The number of random directions in which rows are sorted into cells."""

LEAST_SHARE = 0.001
"""The share of the rows from which a cell is a stratum. It adds its square to the mean potential, at most."""

LEAST_ROWS = 10
"""The number of rows in a cell from which it is a stratum."""

ANCHORS_FOR_ONE = 20
"""The number of anchors for each stratum that is kept apart, the largest first."""

LEAST_ANCHORS = 3
"""The number of anchors of each stratum, which show its variance."""


def strata_of(population: Population, anchors: int) -> Tensor:
    """Return the stratum of each row, [N], whole numbers from 0 without a gap.

    Each clump is a stratum. The rows that are in no clump, if there are any, are stratum 0.

    A cell is a box in random directions. Its sides are as long as the deviation of the rows in a direction,
    so that tight duplicates are in one cell, while few of the other rows are.

    Args:
        population: the rows.
        anchors: the number of anchors that are to be drawn.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(population.shape[1], DIRECTIONS, generator=generator, device="cpu")
    offsets = torch.rand(DIRECTIONS, generator=generator, device="cpu")
    deviation = max(population.spread / (2 * population.shape[1]), 1e-300) ** 0.5
    codes = torch.randint(-(2**62), 2**62, (DIRECTIONS,), generator=generator, device="cpu")
    cells = torch.empty(len(population), dtype=torch.int64, device="cpu")
    for part in block_slices(population):
        rows = (population[part] - population.centre).cpu().double()
        boxes = (rows @ directions.double() / (deviation * population.shape[1] ** 0.5) + offsets).floor()
        cells[part] = (boxes.long() * codes).sum(1)
    return _strata_of_cells(cells, anchors)


def _strata_of_cells(cells: Tensor, anchors: int) -> Tensor:
    """Return the stratum of each row, given the code of its cell, [N]."""
    codes, counts = cells.unique(return_counts=True)
    largest = counts.topk(min(len(counts), anchors // ANCHORS_FOR_ONE))
    is_kept = largest.values >= max(LEAST_ROWS, LEAST_SHARE * len(cells))
    clumps = codes[largest.indices[is_kept]].sort().values
    if not len(clumps):
        return torch.zeros_like(cells)
    places = torch.searchsorted(clumps, cells).clamp_(max=len(clumps) - 1)
    is_in_clump = clumps[places] == cells
    return places.add_(0 if is_in_clump.all() else 1).mul_(is_in_clump)


@dataclass(frozen=True)
class Sample:
    """A sample of rows that is a simple random sample of every stratum."""

    strata: Tensor
    """The stratum of each row of the sample, [K], whole numbers from 0."""
    drawn: Tensor
    """The number of rows drawn from each stratum, [strata], float64."""
    sizes: Tensor
    """The number of rows of each stratum, [strata], float64."""

    @classmethod
    def of(cls, rows: Tensor, strata: Tensor | None, count: int) -> Sample:
        """Return the sample of these rows of `count`, whose strata are given; None for a single stratum."""
        every = torch.zeros(count, dtype=torch.int64, device="cpu") if strata is None else strata
        sizes = every.bincount()
        return cls(every[rows], every[rows].bincount(minlength=len(sizes)).double(), sizes.double())

    @property
    def weights(self) -> Tensor:
        """The weight of each row in a mean over all rows, [K]; their sum is 1."""
        return (self.sizes / self.sizes.sum() / self.drawn)[self.strata]

    def deviations(self, terms: Tensor) -> Tensor:
        """Return the part of each row in the error of the sum of terms, one of each row of the sample.

        The squares of the parts add up to the variance of the sum over samples.
        """
        means = torch.zeros_like(self.sizes).index_add(0, self.strata, terms) / self.drawn
        left = 1 - self.drawn / self.sizes  # the part of a stratum that was not drawn
        factors = (left * self.drawn / (self.drawn - 1).clamp(min=1)).sqrt()
        return (terms - means[self.strata]) * factors[self.strata]


def draw(strata: Tensor, size: int, seed: int) -> Tensor:
    """Return rising row numbers, drawn at random from every stratum in proportion to its rows.

    Args:
        strata: the stratum of each row, [N].
        size: the number of rows to draw, about; every stratum has at least `LEAST_ANCHORS`, or all its rows.
        seed: the seed of the draw.
    """
    order = torch.randperm(len(strata), generator=torch.Generator().manual_seed(seed), device="cpu")
    shuffled, found = strata[order], []
    for stratum in range(int(strata.max()) + 1):
        rows = order[shuffled == stratum]
        found.append(rows[: max(LEAST_ANCHORS, round(size * len(rows) / len(strata)))])
    return torch.cat(found).sort().values
