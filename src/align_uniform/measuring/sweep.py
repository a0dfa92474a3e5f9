"""The sweep over all pairs of rows of an embedding, and the numbers that it yields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform._progress import progress_bar
from align_uniform.measuring import uniformity
from align_uniform.measuring.clumps import Sample, draw, strata_of
from align_uniform.measuring.influence import Influence, Kernel, combined, stderr
from align_uniform.measuring.populations import Population, take
from align_uniform.measuring.results import Uniformity
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.towers import CrossMean, cross_mean
from align_uniform.measuring.uniformity import Potentials
from align_uniform.measuring.units import Units

CORRELATED_UNITS = 700
"""The number of units whose pairs, about 245,000, show how potentials of two views depend on each other."""

LEAST_PAIRS = 20
"""The number of pairs below which a correlation is not estimated."""


LONG = 120.0
"""The seconds of an exact sum from which the time of anchors is told."""


@dataclass(frozen=True)
class Plan:
    """The method of a sweep: which pairs are summed, and how the user takes part."""

    ts: tuple[float, ...]
    """The inverse squared widths of the Gaussian."""
    method: str
    """The pairs: "exact" for all, "anchors" for those of some rows."""
    anchors: int
    """The number of anchors."""
    seed: int
    """The seed that the anchors are drawn by."""
    progress: bool
    """Whether to draw a bar on stderr."""
    interruptible: bool
    """Whether Ctrl-C ends an exact sum early, in favour of the anchors."""


@dataclass(frozen=True)
class Sums:
    """The sums over pairs."""

    method: str
    """The method, in words."""
    potentials: tuple[tuple[Potentials, ...], ...]
    """The potentials of each population at each t."""
    near: tuple[Tensor, ...]
    """Whether each row that was summed has a near duplicate, and whether it has another row within twice the
    angle, [2, rows] for each population.
    """
    anchors: tuple[Tensor | None, ...]
    """The numbers of the rows that were summed, for each population; None for all rows."""
    weights: tuple[Tensor, ...]
    """The weight of each row that was summed in a mean over all rows, for each population."""
    cross: CrossMean | None
    """The mean potential between two towers, at the first t."""

    @property
    def is_sampled(self) -> bool:
        """Whether the rows that were summed are not all rows."""
        return any(anchors is not None for anchors in self.anchors)

    @property
    def row_means(self) -> tuple[Tensor, ...]:
        """The mean potential of each row that was summed, at the first t, for each population."""
        return tuple(part[0].relative * math.exp(part[0].log_mean) for part in self.potentials)


def sweep(asked: Subject, plan: Plan, units: Units) -> Sums:
    """Sum over pairs by the planned method; with groups, over pairs of rows of different groups."""
    if plan.method == "exact":
        try:
            return _sum_pairs(asked, plan, units, None)
        except KeyboardInterrupt:
            if not plan.interruptible or units.grouped:
                raise
    sums = _sum_pairs(asked, plan, units, plan.anchors)
    return (
        sums
        if plan.method == "anchors"
        else replace(sums, method=f"{sums.method}, the exact sum was interrupted")
    )


def _sum_pairs(asked: Subject, plan: Plan, units: Units, anchors: int | None) -> Sums:
    """Sum over all pairs, or over the pairs of the given number of anchors with all rows."""
    strata, chosen = _anchors(asked, units, anchors, plan.seed)
    groups = units.of_rows[0] if units.grouped else None
    found, cross = [], None
    with progress_bar("pairs", _work(asked, chosen) // ranks.world_size(), shown=plan.progress) as progress:
        if anchors is None and groups is None:
            progress.hint = lambda total: _hint(asked, plan, total)
        for population, rows in zip(asked.populations, chosen, strict=True):
            if groups is not None:
                found.append(uniformity.grouped_potentials(population, groups, plan.ts, progress))
            elif rows is None:
                found.append(uniformity.exact_potentials(population, plan.ts, progress))
            else:
                found.append(uniformity.anchor_potentials(population, rows, plan.ts, progress, strata))
        if asked.are_towers:
            x, y = asked.populations
            cross = cross_mean(x, y, plan.ts[0], progress, (chosen[0], chosen[1]))
    potentials, near = zip(*found, strict=True)
    sampled = [len(rows) for rows in chosen if rows is not None]
    method = counted(max(sampled), "anchor") if sampled else "exact"
    weights = tuple(
        Sample.of(
            torch.arange(len(population), device="cpu") if rows is None else rows, strata, len(population)
        ).weights
        for population, rows in zip(asked.populations, chosen, strict=True)
    )
    return Sums(method, potentials, near, tuple(chosen), weights, cross)


def _hint(asked: Subject, plan: Plan, seconds: float) -> str | None:
    """Return what anchors would take, if an exact sum takes that long; None if it is short enough."""
    if seconds < LONG:
        return None
    few = _work(asked, _anchors_of_size(asked, plan.anchors)) / _work(asked, [None] * len(asked.populations))
    shorter = timedelta(seconds=max(1, round(few * seconds)))
    return (
        f"the exact sum takes about {timedelta(seconds=round(seconds))}; --method anchors would take about "
        f"{shorter}, with an error that is stated."
    )


def _anchors_of_size(asked: Subject, anchors: int) -> list[Tensor | None]:
    """Return places for as many anchors in each population as there would be."""
    return [
        torch.arange(anchors, device="cpu") if anchors < len(population) else None
        for population in asked.populations
    ]


def _anchors(
    asked: Subject, units: Units, anchors: int | None, seed: int
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Return the stratum of each row, and the anchors of each population, or None for all rows.

    The anchors of views are the same items; they are drawn from the clumps of the first view. Those of two
    towers are simple random samples: the rows of the units that come first in one random order. Where all
    rows are matched one to one, both towers have the rows of the same units, which show how far the two
    deviate together. Towers without common units have independent samples. Of two that are matched in part,
    or differ in size, the anchors show a part of what they have in common.
    """
    first = asked.populations[0]
    if anchors is None or (anchors >= len(first) and not asked.are_towers):
        return None, [None] * len(asked.populations)
    if asked.are_towers:
        generator = torch.Generator().manual_seed(seed)
        places = torch.randperm(units.count, generator=generator, device="cpu")
        return None, [
            None if anchors >= len(tower) else places[units.of(number)].argsort()[:anchors].sort().values
            for number, tower in enumerate(asked.populations)
        ]
    strata = strata_of(first, anchors)
    return strata, [draw(strata, anchors, seed)] * len(asked.populations)


def _work(asked: Subject, chosen: list[Tensor | None]) -> int:
    """Return the number of pairs to sum."""
    sizes = [len(population) for population in asked.populations]
    work = sum(
        size * (size - 1) // 2 if rows is None else size * len(rows)
        for size, rows in zip(sizes, chosen, strict=True)
    )
    if asked.are_towers:
        work += (sizes[0] if chosen[0] is None else len(chosen[0])) * sizes[1]
        work += (
            0
            if chosen[0] is chosen[1] is None
            else sizes[0] * (sizes[1] if chosen[1] is None else len(chosen[1]))
        )
    return work


def random_rows(count: int, size: int | None, seed: int) -> Tensor | None:
    """Return the given number of row numbers, drawn at random, rising; None if they would be all rows."""
    if size is None or size >= count:
        return None
    return (
        torch.randperm(count, generator=torch.Generator().manual_seed(seed), device="cpu")[:size]
        .sort()
        .values
    )


# ------------------------------------------------------------------------------------------------- uniformity


@dataclass(frozen=True)
class Alike:
    """How far the pairs of units are alike in all populations: their squared distances, for a few units."""

    squares: Tensor | None
    """The squared distances in each population, [populations, pairs]; None if no unit is shared."""
    populations: int
    """The number of populations."""

    @classmethod
    def of(cls, asked: Subject, units: Units) -> Alike:
        """Measure all pairs of a few units, if each unit has a row in every population."""
        count, size = len(asked.populations), len(asked.populations[0])
        if count == 1 or not units.are_shared:
            return cls(None, count)
        chosen = random_rows(size, CORRELATED_UNITS, 0)
        rows = torch.arange(size, device="cpu") if chosen is None else chosen
        own = units.of(0)[rows]
        apart = own[:, None] != own[None]
        if int(apart.sum()) < LEAST_PAIRS:
            return cls(None, count)
        squares = [
            _squared_distances(population, _rows_of(own, units.of(number), rows))[apart]
            for number, population in enumerate(asked.populations)
        ]
        return cls(torch.stack(squares), count)

    def correlations(self, t: float | None = None) -> list[list[float]]:
        """Return the correlation of potentials at a t, or of cosines, in every two populations.

        It is 0 for populations that share no units, and 1 where all pairs are the same.
        """
        if self.squares is None:
            return torch.eye(self.populations, device="cpu").tolist()
        values = self.squares if t is None else (-t * self.squares).exp()
        return torch.corrcoef(values).nan_to_num(nan=1.0).tolist()


def uniformities(
    sums: Sums, asked: Subject, plan: Plan, units: Units, alike: Alike
) -> tuple[tuple[Uniformity, ...], Influence | None]:
    """Return the uniformity at each t, averaged over the populations, and the influences at the first t."""
    found, influences = [], []
    n, dim = len(asked.populations[0]), asked.rows.shape[1]
    drawn = units.drawn(sums.anchors)
    for number, t in enumerate(plan.ts):
        potentials = [part[number] for part in sums.potentials]
        correlations = alike.correlations(t)
        influences.append(
            mean_influence(
                [_placed(part, place, drawn) for place, part in enumerate(potentials)], correlations
            )
        )
        errors = stderr(influences[-1]), _approximation_stderr(potentials, drawn)
        share = _null_share([part.pairs for part in potentials], correlations, n)
        found.append(uniformity.uniformity(t, potentials, n, dim, errors, share))
    return tuple(found), influences[0]


def mean_influence(parts: Sequence[Influence | None], correlations: list[list[float]]) -> Influence | None:
    """Return the influence on the mean of numbers, one of each population, that are means over pairs."""
    scaled = [None if part is None else part * (1 / len(parts)) for part in parts]
    own = [kernel for part in scaled if part is not None for kernel in part.kernels]
    if len(own) < len(parts):
        return None
    together = [
        Kernel(2 * correlations[a][b] * math.sqrt(own[a].excess * own[b].excess), own[a].units)
        for b in range(len(own))
        for a in range(b)
        if correlations[a][b]
    ]
    return combined(scaled, together)


def _null_share(pairs: list[int], correlations: list[list[float]], rows: int) -> float:
    """Return the variance of the mean over populations for uniform rows, over the variance of n rows alone.

    The potentials of different pairs of uniform rows are uncorrelated, so their mean has a variance that
    falls with the number of pairs.
    """
    deviations = [math.sqrt(rows * (rows - 1) / each) for each in pairs]
    numbers = range(len(pairs))
    total = sum(correlations[a][b] * deviations[a] * deviations[b] for a in numbers for b in numbers)
    return total / len(pairs) ** 2


def _placed(part: Potentials, number: int, drawn: Units) -> Influence | None:
    """Return the influences of the rows of a population that were summed as those of their units."""
    influence = part.influence
    if influence is None or drawn.grouped:
        return influence
    return replace(influence, values=drawn.gather(influence.values, number))


def _approximation_stderr(potentials: Sequence[Potentials], drawn: Units) -> float:
    """Return the standard error of the mean over the populations as an estimate from the anchors.

    The anchors of one unit deviate together, in all views or in both towers.
    """
    parts = [
        drawn.gather(part.deviations, number)
        for number, part in enumerate(potentials)
        if part.deviations is not None
    ]
    return float(torch.linalg.vector_norm(torch.stack(parts).sum(0))) / len(potentials) if parts else 0.0


def _rows_of(wanted: Tensor, units: Tensor, rows: Tensor) -> Tensor:
    """Return a row of each wanted unit: the same rows if their units are the same, as those of views are."""
    if torch.equal(units[rows], wanted):
        return rows
    row_of = torch.empty(int(units.max()) + 1, dtype=torch.int64, device="cpu")
    row_of[units] = torch.arange(len(units), device="cpu")
    return row_of[wanted]


def _squared_distances(population: Population, rows: Tensor) -> Tensor:
    """Return the squared distances of all pairs of a few rows, in float64."""
    few = take(population, rows).cpu().double()
    return torch.cdist(few, few, compute_mode="donot_use_mm_for_euclid_dist").square()
