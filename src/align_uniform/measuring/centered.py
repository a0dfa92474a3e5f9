"""The rows of a cone less their mean: what is left when the part that all rows share is taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from align_uniform.engine.precision import widened
from align_uniform.measuring.alignment import alignment_of_classes, alignment_of_pairs
from align_uniform.measuring.populations import Population, Source
from align_uniform.measuring.results import Centered
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Alike, Plan, sweep, uniformities
from align_uniform.measuring.units import units_of


@dataclass(frozen=True)
class CenteredRows:
    """The rows of a population less their mean, [N, m], as a source of rows."""

    population: Population
    """The rows."""

    @property
    def shape(self) -> Sequence[int]:
        """The numbers of rows and features, N and m."""
        return self.population.shape

    def __getitem__(self, part: slice, /) -> Tensor:
        """Return some rows; the difference is taken in float64, since in a narrow cone it is small."""
        rows, mean = self.population[part], self.population.survey.moments.mean
        wide = widened(rows)
        return (wide - mean.to(wide.device)).to(rows)


def centered(
    asked: Subject, plan: Plan, alpha: float, groups: Tensor | None, classes: Tensor | None
) -> Centered:
    """Measure the rows less the mean of their view or tower, divided by their norms again.

    It reads all rows and pairs again, and sums the pairs of as many rows as there are anchors with all
    others, which is what a measurement by `method="anchors"` costs. The errors of groups take the pairs of
    all rows.
    """
    subject = _less_means(asked)
    plan = replace(plan, ts=plan.ts[:1], method="anchors" if groups is None else "exact")
    units = units_of(subject, groups)
    of_pairs = alignment_of_pairs(subject, alpha, units)
    of_classes = alignment_of_classes(subject, classes, alpha, units)
    sums = sweep(subject, plan, groups)
    (uniform,), _ = uniformities(sums, subject, plan, units, Alike.of(subject, units))
    return Centered(align=of_pairs.alignment or of_classes.alignment, uniform=uniform)


def _less_means(asked: Subject) -> Subject:
    everyone = [_population(rows, rows.kept, CenteredRows(rows)) for rows in asked.everyone]
    populations = [
        new if part is rows else _population(part, part.kept, new.source)
        for part, rows, new in zip(asked.populations, asked.everyone, everyone, strict=True)
    ]
    of = {id(rows): new for rows, new in zip(asked.everyone, everyone, strict=True)}
    return replace(
        asked,
        rows=of[id(asked.rows)],
        everyone=tuple(everyone),
        populations=tuple(populations),
        positives=tuple(replace(pairs, x=of[id(pairs.x)], y=of[id(pairs.y)]) for pairs in asked.positives),
    )


def _population(rows: Population, kept: Tensor | None, source: Source) -> Population:
    return Population(source, rows.name, normalize=True, device=rows.device, kept=kept)
