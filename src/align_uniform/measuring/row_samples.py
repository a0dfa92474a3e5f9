"""A few rows with their features, for maps of an embedding."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from align_uniform.measuring.populations import Population, take
from align_uniform.measuring.results_of_rows import RowSample
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Sums, random_rows

ROWS = 1000
"""The number of rows of all views or towers together that a map shows."""


def row_samples(
    asked: Subject,
    sums: Sums,
    distances: Sequence[Tensor],
    labels: Sequence[Hashable] | None,
    seed: int,
) -> tuple[RowSample, ...]:
    """Draw random rows of the first view, or of both towers.

    Under anchors the rows are anchors, whose potentials are known.
    """
    populations = asked.populations if asked.are_towers else asked.populations[:1]
    of_pairs = _distances_of_rows(asked, distances)
    found = []
    for view, population in enumerate(populations):
        anchors, means = sums.anchors[view], sums.row_means[view]
        places = random_rows(len(means), ROWS // len(populations), seed)
        if places is None:
            places = torch.arange(len(means), device="cpu")
        indices = places if anchors is None else anchors[places]
        numbers = population.number_of(indices)
        found.append(
            RowSample(
                view=view,
                total=len(population),
                numbers=numbers,
                rows=take(population, indices).float().cpu(),
                potentials=means[places],
                distances=None if not of_pairs else of_pairs[view][numbers],
                classes=_classes(labels, numbers) if view == 0 else None,
            )
        )
    return tuple(found)


def _classes(labels: Sequence[Hashable] | None, numbers: Tensor) -> tuple[str, ...] | None:
    return None if labels is None else tuple(str(labels[number]) for number in numbers.tolist())


def _distances_of_rows(asked: Subject, distances: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return the mean distance of each row of either side to its partners, NaN without one.

    The partners of a row of the first of several views are in all others.
    """
    if not asked.positives:
        return None
    pairs = asked.positives[0]
    if len(asked.positives) > 1:
        of_first = [
            part for each, part in zip(asked.positives, distances, strict=True) if each.x is asked.rows
        ]
        both = torch.stack(of_first).mean(0).cpu().double()
        return both, both
    sides = ((pairs.x, pairs.x_rows), (pairs.y, pairs.y_rows))
    if pairs.x is pairs.y:  # a pair of two rows of one population is a pair of either
        numbers = torch.cat([_numbers(*side) for side in sides])
        both = _means(numbers, distances[0].repeat(2), len(pairs.x))
        return both, both
    x, y = (_means(_numbers(*side), distances[0], len(side[0])) for side in sides)
    return x, y


def _numbers(population: Population, rows: Tensor | None) -> Tensor:
    return torch.arange(len(population), device="cpu") if rows is None else rows


def _means(rows: Tensor, values: Tensor, count: int) -> Tensor:
    values = values.cpu().double()
    sums, counts = (
        torch.zeros(count, dtype=torch.float64, device="cpu").index_add_(0, rows, each)
        for each in (values, torch.ones_like(values))
    )
    return sums / counts
