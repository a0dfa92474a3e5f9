"""Rows that are derived from those of a subject, such as centred ones, and their main numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from align_uniform.measuring.alignment import alignment_of_classes, alignment_of_pairs
from align_uniform.measuring.answers import Retrieval
from align_uniform.measuring.influence import Influence
from align_uniform.measuring.populations import Population, Source
from align_uniform.measuring.results import Alignment, Uniformity
from align_uniform.measuring.retrieval import retrieval
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Alike, Plan, sweep, uniformities
from align_uniform.measuring.units import Units, units_of


@dataclass(frozen=True)
class MainNumbers:
    """The main numbers of an embedding, and the influences of the units on them."""

    align: Alignment | None
    """The alignment of positive pairs, or within classes; None for features alone."""
    uniform: Uniformity
    """The uniformity at the first t."""
    retrieval: Retrieval | None
    """The search for the partners of pairs; None without pairs."""
    influences: dict[str, Influence]
    """The influence of each unit on a number, by the key of the number."""
    units: Units
    """The units."""


def main_numbers(
    asked: Subject, plan: Plan, alpha: float, groups: Tensor | None, classes: Tensor | None
) -> MainNumbers:
    """Measure alignment, uniformity at the first t, and retrieval."""
    plan = replace(plan, ts=plan.ts[:1])
    units = units_of(asked, groups)
    of_pairs = alignment_of_pairs(asked, alpha, units)
    of_classes = alignment_of_classes(asked, classes, alpha, units)
    sums = sweep(asked, plan, units)
    (uniform,), of_uniform = uniformities(sums, asked, plan, units, Alike.of(asked, units))
    found, of_ranks = retrieval(asked, units, groups, plan.seed)
    influences = of_classes.influences | of_pairs.influences | of_ranks
    if of_uniform is not None:
        influences["uniform"] = of_uniform
    return MainNumbers(of_pairs.alignment or of_classes.alignment, uniform, found, influences, units)


def derived(
    asked: Subject, source: Callable[[Population], Source], *, normalize: bool, words: str = ""
) -> Subject:
    """Return the subject with other rows in the place of its own, each of which stands for the same item.

    Args:
        asked: the subject.
        source: a function from all rows of a view or tower to the rows that take their place.
        normalize: whether to divide the rows by their norms.
        words: what is added to the names of views and towers in messages.
    """

    def population(part: Population, rows: Source) -> Population:
        return Population(
            rows, f"{part.name}{words}", normalize=normalize, device=part.device, kept=part.kept
        )

    everyone = [population(rows, source(rows)) for rows in asked.everyone]
    populations = [
        new if part is rows else population(part, new.source)
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
