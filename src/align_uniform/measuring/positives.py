"""Positive pairs: their rows, their distances, and the distances of other rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform.engine.precision import widened
from align_uniform.engine.tiles import slices
from align_uniform.measuring.columns import numbers_of, pairs_of
from align_uniform.measuring.populations import Population, block_slices, take

PAIR_BLOCK = 65536
"""The number of pairs whose rows are in memory at a time."""

SAMPLE_PAIRS = 256
"""The number of pairs whose rows, matched at random, are a sample of rows that are no pair."""

LEAST_OTHERS = 20
"""The number of rows that are no pair below which their median distance is not estimated."""


@dataclass(frozen=True)
class PairChoice:
    """The arguments of `measure` that choose positive pairs."""

    pairs: Any
    """The row numbers or ids, [P, 2] or two columns; None for rows that are pairs in order."""
    scores: Any
    """The score of each pair, [P]."""
    threshold: float | None
    """The score above which a pair is positive."""
    strict: bool
    """Whether a score must lie above the threshold, or may equal it."""


@dataclass(frozen=True)
class Positives:
    """Rows of x and rows of y that belong together."""

    x: Population
    y: Population
    x_rows: Tensor | None
    """The rows of x, [P]; None for all rows in order."""
    y_rows: Tensor | None
    """The rows of y, [P]; None for all rows in order."""

    def distances(self) -> Tensor:
        """Return the distance of every pair, [P], float64.

        It is computed from the difference of the rows, since products cancel where rows are close.
        """
        differences = (torch.linalg.vector_norm(x - y, dim=1) for x, y in self._blocks())
        return torch.cat([part.cpu().double() for part in differences])

    def other_mean_square(self, distances: Tensor) -> float | None:
        """Return the mean squared distance of a row of x and a row of y that are no pair, in closed form.

        It is None if all rows are pairs. A pair that occurs several times is one pair.
        """
        x, y = self.x.survey.moments, self.y.survey.moments
        mean, once = geometry.cross_mean_squared_distance(x, y), self.once()
        total = mean * x.count * y.count / (2 if self.x is self.y else 1)
        others = self.combinations - float(once.sum())
        return (total - float((distances.square() * once).sum())) / others if others >= 0.5 else None

    @property
    def combinations(self) -> int:
        """The number of combinations of a row of x and a row of y, each of two rows for one population."""
        count = len(self.x)
        return count * (count - 1) // 2 if self.x is self.y else count * len(self.y)

    def once(self) -> Tensor:
        """Return the weight of each pair, [P], float64, with which all pairs of the same rows are one pair.

        It is 0 for a row with itself, which is no pair of two rows.
        """
        if self.x_rows is None or self.y_rows is None:
            return torch.ones(len(self.x), dtype=torch.float64, device="cpu")
        codes = self._codes(self.x_rows, self.y_rows)
        _, number, counts = codes.unique(return_inverse=True, return_counts=True)
        weights: Tensor = 1 / counts[number].double()
        return weights * (self.x_rows != self.y_rows) if self.x is self.y else weights

    def _codes(self, x_rows: Tensor, y_rows: Tensor) -> Tensor:
        """Return a number for each two rows, whatever their order if they are of one population."""
        if self.x is self.y:
            x_rows, y_rows = torch.minimum(x_rows, y_rows), torch.maximum(x_rows, y_rows)
        return x_rows * len(self.y) + y_rows

    def far_share(self, distances: Tensor, groups: Tensor | None = None) -> float | None:
        """Return the share of pairs that are farther apart than half of all pairs of random rows.

        The median is that of the rows of up to 256 pairs, each with the partners of the others, apart from
        rows that are a pair as well, or of one group. It is None for fewer than `LEAST_OTHERS` of these.

        Args:
            distances: the distance of every pair, [P].
            groups: the group of each row of x and of y, [N]; None without groups.
        """
        sample = torch.randint(
            len(distances), (SAMPLE_PAIRS,), generator=torch.Generator().manual_seed(0), device="cpu"
        )
        sample = sample.unique()
        x_rows, y_rows = (sample if rows is None else rows[sample] for rows in (self.x_rows, self.y_rows))
        if self.x_rows is None or self.y_rows is None:
            is_other = ~torch.eye(len(sample), dtype=torch.bool, device="cpu")
        else:
            every = self._codes(self.x_rows, self.y_rows)
            is_other = ~torch.isin(self._codes(x_rows[:, None], y_rows), every)
        if self.x is self.y:
            is_other &= x_rows[:, None] != y_rows
        if groups is not None:
            is_other &= groups[x_rows][:, None] != groups[y_rows]
        if int(is_other.sum()) < LEAST_OTHERS:
            return None
        x, y = (widened(take(part, rows)) for part, rows in ((self.x, x_rows), (self.y, y_rows)))
        median = torch.cdist(x, y)[is_other.to(x.device)].median()
        return float((distances > median.cpu()).double().mean())

    def row_numbers(self, pair: int) -> tuple[int, int]:
        """Return the numbers of the rows of a pair."""
        if self.x_rows is None or self.y_rows is None:
            return pair, pair
        return int(self.x_rows[pair]), int(self.y_rows[pair])

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.x_rows is None or self.y_rows is None:
            for part in block_slices(self.x):
                yield self.x[part], self.y[part]
        else:
            for part in slices(len(self.x_rows), PAIR_BLOCK):
                yield take(self.x, self.x_rows[part]), take(self.y, self.y_rows[part])


def chosen_pairs(
    choice: PairChoice, sizes: tuple[int, int], name: str, ids: Sequence[Any] = (None, None)
) -> tuple[Tensor, Tensor, str]:
    """Return the rows of the pairs that count as positive, and their name with the threshold."""
    threshold, strict = choice.threshold, choice.strict
    x_rows, y_rows = pairs_of(choice.pairs, ids)
    for rows, size, side in ((x_rows, sizes[0], "first"), (y_rows, sizes[1], "second")):
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= size):
            raise ValueError(
                f"the {side} numbers of pairs must be rows from 0 to {size - 1}, got {int(rows.min())} to "
                f"{int(rows.max())}."
            )
    if choice.scores is not None:
        is_positive = _passing(choice, len(x_rows))
        x_rows, y_rows = x_rows[is_positive], y_rows[is_positive]
        name = f"{name} with score {'>' if strict else '>='} {threshold:g}"
    elif threshold is not None:
        raise ValueError(f"threshold={threshold:g} needs the scores of the pairs; pass scores.")
    if not len(x_rows):
        remedy = "pass the numbers of two rows" if choice.scores is None else "lower the threshold"
        raise ValueError(f"there must be at least one positive pair, got none of {name}; {remedy}.")
    return x_rows, y_rows, name


def _passing(choice: PairChoice, count: int) -> Tensor:
    """Return whether the score of each pair makes it positive."""
    threshold = choice.threshold
    values = numbers_of("scores", choice.scores, count, "pairs")
    if threshold is None:
        raise ValueError(
            "scores need a threshold: pairs above it are positive; STS-B is read with threshold=4."
        )
    return values > threshold if choice.strict else values >= threshold
