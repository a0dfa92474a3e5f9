"""The discrepancy of two populations of any size: their squared MMD with its errors, and the witness rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from align_uniform.measuring.influence import Influence, variance
from align_uniform.measuring.populations import Population
from align_uniform.measuring.positives import Positives
from align_uniform.measuring.row_sums import cross_row_sums

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Side:
    """One of two populations, and the mean potential of its rows within it."""

    population: Population
    """The rows."""
    own: Tensor
    """The mean potential of each row with the others of its side, [rows], float64."""
    anchors: Tensor | None
    """The numbers of the rows that `own` is of; None for all rows."""
    texts: Sequence[Any] | None = None
    """A text for each row, to name rows by."""

    @property
    def numbers(self) -> Tensor:
        """The numbers of the rows that `own` is of."""
        return torch.arange(len(self.population), device="cpu") if self.anchors is None else self.anchors


@dataclass(frozen=True)
class WitnessRow:
    """A row that is typical of its side: near rows of that side, and far from rows of the other.

    Example:
        >>> import torch
        >>> from align_uniform import drift
        >>> x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
        >>> y = torch.cat([x[:200], x[200:] + 2])  # new topics
        >>> _, of_new = drift(x, y, top=3).discrepancy.typical
        >>> [row.row >= 200 for row in of_new]
        [True, True, True]
    """

    row: int
    """The number of the row in its side."""
    own: float
    """The mean potential of the row with the other rows of its side."""
    other: float
    """The mean potential of the row with the rows of the other side."""
    text: str | None = None
    """The text of the row, or its id; None if there is neither."""


@dataclass(frozen=True)
class Discrepancy:
    """The squared maximum mean discrepancy (MMD) of two populations.

    Example:
        >>> import torch
        >>> from align_uniform import drift
        >>> x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
        >>> found = drift(x, x + 1, paired=True).discrepancy
        >>> print(f"{found.squared_mmd:.4f} ± {found.total_stderr:.4f}, relative {found.relative:.2f}")
        0.1411 ± 0.0037, relative 0.72
    """

    squared_mmd: float
    """The unbiased squared MMD with the Gaussian kernel. It is 0 on average if both populations are of one
    distribution, and may then fall below 0.
    """
    stderr: float
    """The standard error of `squared_mmd`, the rows being samples."""
    approximation_stderr: float
    """The standard error of `squared_mmd` as an estimate of the value of these very rows; 0 if exact."""
    effective_rows: float
    """The number of rows that carry `stderr`, about a third of all in good cases. The error that few rows
    carry is itself uncertain.
    """
    relative: float
    """The squared MMD over the sum of the mean potentials of both sides: 0 if nothing moved, 1 if no row of
    one side is near a row of the other.
    """
    typical: tuple[tuple[WitnessRow, ...], tuple[WitnessRow, ...]]
    """The rows of each side that are most typical of it, the most typical first; under `method="anchors"`,
    anchors.
    """
    witness: tuple[Tensor, Tensor] = field(repr=False, compare=False)
    """The mean potential of each row with its own side less that with the other side, [rows] of each side;
    under `method="anchors"` the rows are the anchors. It is not part of the JSON.
    """

    @property
    def total_stderr(self) -> float:
        """The standard error that combines `stderr` and `approximation_stderr`."""
        return math.hypot(self.stderr, self.approximation_stderr)


def discrepancy(
    a: Side,
    b: Side,
    t: float,
    *,
    paired: bool,
    degenerate: float,
    top: int,
    progress: Progress,
) -> Discrepancy:
    r"""Return the squared MMD of two populations, from the mean potentials of their rows.

    .. math:: MMD^2 = E_{i \neq j}\, G(x_i, x_j) + E_{i \neq j}\, G(y_i, y_j) - 2 E\, G(x_i, y_j)

    The last mean is over i != j if row i of both sides is one item, else over all i and j. The witness
    function of a row of x is its mean potential with x less that with y; the squared MMD is the mean witness
    of x plus the mean witness of y, each of its own side.

    Args:
        a: one population.
        b: the other.
        t: inverse squared width of the Gaussian.
        paired: whether row i of both sides is one item.
        degenerate: the part of the variance that is not linear in the rows.
        top: how many typical rows of each side to name.
        progress: called with the number of potentials summed.
    """
    others = _other_means(a, b, t, paired, progress)
    witness = a.own - others[0], b.own - others[1]
    value = float(witness[0].mean() + witness[1].mean())
    potentials = float(a.own.mean() + b.own.mean())
    if potentials == 0:
        raise ValueError(
            f"rows of {a.population.name} and {b.population.name} must be near enough for potentials above "
            f"0, got none at t = {t:g}; normalise them, or take a smaller t."
        )
    influence, approximation = _errors((a, b), witness, paired, degenerate)
    return Discrepancy(
        squared_mmd=value,
        stderr=math.sqrt(variance(influence)),
        approximation_stderr=approximation,
        effective_rows=influence.effective_units,
        relative=value / potentials,
        typical=(_typical(a, others[0], top), _typical(b, others[1], top)),
        witness=witness,
    )


def _other_means(a: Side, b: Side, t: float, paired: bool, progress: Progress) -> tuple[Tensor, Tensor]:
    """Return the mean potential of rows with the other side, without the row of the same item."""
    if a.anchors is None and b.anchors is None:
        found = cross_row_sums(a.population, b.population, [t], progress)
        of_a, of_b = (found.sums[0] * found.shift.exp()).split([len(a.own), len(b.own)])
    else:
        of_a, of_b = (
            found.sums[0] * found.shift.exp()
            for found in (
                cross_row_sums(x.population, y.population, [t], progress, rows=x.numbers)
                for x, y in ((a, b), (b, a))
            )
        )
    n, k = len(a.population), len(b.population)
    if not paired:
        return of_a / k, of_b / n
    distances = Positives(a.population, b.population, a.anchors, b.anchors).distances()
    of_items = distances.square().mul(-t).exp()
    return (of_a - of_items) / (n - 1), (of_b - of_items) / (n - 1)


def _errors(
    sides: tuple[Side, Side], witness: tuple[Tensor, Tensor], paired: bool, degenerate: float
) -> tuple[Influence, float]:
    """Return the influence of rows on the squared MMD, and its error as an estimate from anchors.

    The influence of a row is twice its witness, which has the noise of its mean potentials in it.
    """
    parts = (
        [(witness[0] + witness[1], len(sides[0].population))]
        if paired
        else [(each, len(side.population)) for each, side in zip(witness, sides, strict=True)]
    )
    influences = [2 * (each - each.mean()) / math.sqrt(count * (len(each) - 1)) for each, count in parts]
    sampling = sum(float(each.var()) / len(each) * (1 - len(each) / count) for each, count in parts)
    return Influence(torch.cat(influences), shared=degenerate), math.sqrt(sampling)


def _typical(side: Side, other: Tensor, top: int) -> tuple[WitnessRow, ...]:
    """Return the rows of a side with the largest witness."""
    most = (side.own - other).topk(min(top, len(other))).indices
    numbers = side.numbers[most].tolist()
    return tuple(
        WitnessRow(number, own, across, None if side.texts is None else str(side.texts[number]))
        for number, own, across in zip(numbers, side.own[most].tolist(), other[most].tolist(), strict=True)
    )
