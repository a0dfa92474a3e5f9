"""The sweep over all pairs of rows of an embedding, and the numbers that it yields."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform import geometry
from align_uniform._progress import progress_bar
from align_uniform.measuring import uniformity
from align_uniform.measuring.results import Towers, Uniformity
from align_uniform.measuring.row_sums import cross_log_mean
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.uniformity import Potentials


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
    cross: float | None
    """The log mean potential between two towers."""

    @property
    def row_means(self) -> tuple[Tensor, ...]:
        """The mean potential of each row that was summed, at the first t, for each population."""
        return tuple(part[0].relative * math.exp(part[0].log_mean) for part in self.potentials)


def sweep(asked: Subject, plan: Plan) -> Sums:
    """Sum over pairs by the planned method."""
    if plan.method == "exact":
        try:
            return _sum_pairs(asked, plan, None)
        except KeyboardInterrupt:
            if not plan.interruptible:
                raise
    sums = _sum_pairs(asked, plan, plan.anchors)
    return (
        sums
        if plan.method == "anchors"
        else replace(sums, method=f"{sums.method}, the exact sum was interrupted")
    )


def _sum_pairs(asked: Subject, plan: Plan, anchors: int | None) -> Sums:
    """Sum over all pairs, or over the pairs of the given number of anchors with all rows."""
    chosen = [random_rows(len(population), anchors, plan.seed) for population in asked.populations]
    found, cross = [], None
    with progress_bar("pairs", _work(asked, chosen) // ranks.world_size(), shown=plan.progress) as progress:
        for population, rows in zip(asked.populations, chosen, strict=True):
            if rows is None:
                found.append(uniformity.exact_potentials(population, plan.ts, progress))
            else:
                found.append(uniformity.anchor_potentials(population, rows, plan.ts, progress))
        if asked.are_towers:
            x, y = asked.populations
            cross = cross_log_mean(x, y, plan.ts[0], progress, rows=chosen[0])
    potentials, near = zip(*found, strict=True)
    sampled = [len(rows) for rows in chosen if rows is not None]
    return Sums(f"{max(sampled):,} anchors" if sampled else "exact", potentials, near, tuple(chosen), cross)


def _work(asked: Subject, chosen: list[Tensor | None]) -> int:
    """Return the number of pairs to sum."""
    sizes = [len(population) for population in asked.populations]
    work = sum(
        size * (size - 1) // 2 if rows is None else size * len(rows)
        for size, rows in zip(sizes, chosen, strict=True)
    )
    if asked.are_towers:
        work += (sizes[0] if chosen[0] is None else len(chosen[0])) * sizes[1]
    return work


def random_rows(count: int, size: int | None, seed: int) -> Tensor | None:
    """Return the given number of row numbers, drawn at random, rising; None if they would be all rows."""
    if size is None or size >= count:
        return None
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size].sort().values


# ------------------------------------------------------------------------------------------------- uniformity


def uniformity_at(number: int, t: float, sums: Sums, asked: Subject, items: Tensor | None) -> Uniformity:
    """Return the uniformity at one of the t, averaged over the populations."""
    potentials = [part[number] for part in sums.potentials]
    count = len(asked.populations[0])
    if asked.are_towers:  # two independent samples
        errors = [
            uniformity.stderr(part.relative, part.square - 1, len(population))
            for part, population in zip(potentials, asked.populations, strict=True)
        ]
        error = None if None in errors else math.hypot(*(e for e in errors if e is not None)) / 2
    else:
        # Views of the same items: what belongs to one item is averaged first. Pairs of different views go
        # together, which would add to the excess; without it the error is slightly too large.
        excess = sum(part.square - 1 for part in potentials) / len(potentials) ** 2
        relative = item_uniform(number, sums, items)
        size = 1 if items is None else count / len(relative)
        error = uniformity.stderr(relative, excess / size**2, count if items is None else len(relative))
    return uniformity.uniformity(t, potentials, count, asked.rows.shape[1], error)


def item_uniform(number: int, sums: Sums, items: Tensor | None) -> Tensor:
    """Return the mean potential of each item over the mean of all, [items].

    An item's potential is averaged over its views, and over the rows of its group.
    """
    return uniformity.of_items(
        torch.stack([part[number].relative for part in sums.potentials]).mean(0), items
    )


def towers(asked: Subject, sums: Sums) -> Towers | None:
    """Return the measures between two towers, or None if there are none."""
    if sums.cross is None:
        return None
    x, y = asked.populations
    return Towers((len(x), len(y)), geometry.modality_gap(x.survey.moments, y.survey.moments), sums.cross)
