"""The independent units of a measurement: which rows depend on each other, and which rows the pairs join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform.measuring.influence import sums_by
from align_uniform.measuring.subject import Subject


@dataclass(frozen=True)
class Units:
    """The unit that each row belongs to: an item with all of its views, a group, an entity, or a pair."""

    of_rows: tuple[Tensor, ...]
    """The unit of each row of each view or tower, [N] each, whole numbers from 0."""
    kept: tuple[Tensor | None, ...]
    """The rows of each view or tower that its uniformity is measured on; None for all."""
    count: int
    """The number of units."""
    split: int | None
    """The number of units of the first of two towers, whose numbers come first; None if both share units."""
    grouped: bool
    """Whether rows of one view belong together, so that pairs of one unit count nowhere."""

    def of(self, number: int) -> Tensor:
        """Return the units of the rows of a view or tower that its uniformity is measured on."""
        kept = self.kept[number]
        return self.of_rows[number] if kept is None else self.of_rows[number][kept]

    def gather(self, values: Tensor, number: int) -> Tensor:
        """Sum over the rows of each unit what is given for those of a view or tower, [units]."""
        return sums_by(values, self.of(number), self.count)

    def drawn(self, rows: Sequence[Tensor | None]) -> Units:
        """Return the units of a sample of rows, numbered by themselves: two towers may share some of them.

        Args:
            rows: the row numbers that are drawn from what uniformity is measured on, of each view or tower;
                None for all rows.
        """
        if all(each is None for each in rows):
            return self
        own = [self.of(number) if each is None else self.of(number)[each] for number, each in enumerate(rows)]
        numbers = torch.cat(own).unique(return_inverse=True)[1].split([len(each) for each in own])
        count, first = (1 + max(int(each.max()) for each in part) for part in (numbers, numbers[:1]))
        split = None if self.split is None else first
        return Units(tuple(numbers), (None,) * len(own), count, split, grouped=self.grouped)

    @property
    def are_shared(self) -> bool:
        """Whether each row of one population has one row in every other population, and they are one unit."""
        sizes = {len(self.of(number)) for number in range(len(self.of_rows))}
        return self.split is None and (self.grouped or sizes == {self.count})


def units_of(asked: Subject, groups: Tensor | None) -> Units:
    """Return the units of a subject whose rows may have groups."""
    kept = tuple(population.kept for population in asked.populations)
    if groups is not None:
        rows, count = (groups,) * len(asked.everyone), int(groups.max()) + 1
        return Units(rows, kept, count, None, grouped=True)
    entities = [
        torch.arange(len(population), device="cpu") if codes is None else codes
        for population, codes in zip(asked.everyone, asked.entities, strict=True)
    ]
    if not asked.are_towers:
        return Units(tuple(entities), kept, int(entities[0].max()) + 1, None, grouped=False)
    x, y = entities
    x_count, y_count = len(asked.populations[0]), len(asked.populations[1])
    matched = _matched(x, y, y_count, asked)
    if matched is None:
        return Units((x, y + x_count), kept, x_count + y_count, x_count, grouped=False)
    free = matched < 0
    matched[free] = x_count + torch.arange(int(free.sum()), device="cpu")
    return Units((x, matched[y]), kept, x_count + int(free.sum()), None, grouped=False)


def _matched(x: Tensor, y: Tensor, y_count: int, asked: Subject) -> Tensor | None:
    """Return the entity of x that each entity of y is paired with, or -1; None unless all are one to one."""
    (positives,) = asked.positives
    x_ends = x if positives.x_rows is None else x[positives.x_rows]
    y_ends = y if positives.y_rows is None else y[positives.y_rows]
    if any(len(ends.unique()) < len(ends) for ends in (x_ends, y_ends)):
        return None
    partner = torch.full((y_count,), -1, device="cpu")
    partner[y_ends] = x_ends
    return partner


def pair_ends(units: Units, rows: Sequence[Tensor | None], numbers: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the units at both ends of each pair, given its rows in the views or towers of these numbers."""
    x, y = (
        units.of_rows[number] if of_side is None else units.of_rows[number][of_side]
        for number, of_side in zip(numbers, rows, strict=True)
    )
    return x, y
