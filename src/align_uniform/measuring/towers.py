"""Two towers relative to each other: the mean potential between them, and the distance of their means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform.measuring.influence import Influence, of_two_samples, stderr
from align_uniform.measuring.populations import Population, products
from align_uniform.measuring.positives import Positives
from align_uniform.measuring.results import Towers
from align_uniform.measuring.row_sums import cross_row_sums
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.units import Units


@dataclass(frozen=True)
class CrossMean:
    """The mean potential between two towers, and of the rows that were summed."""

    log_mean: float
    """The log of the mean potential."""
    x_means: Tensor
    """The mean potential of rows of x with all of y, over the mean of all."""
    y_means: Tensor
    """The mean potential of rows of y with all of x, over the mean of all."""
    square: float
    """The mean squared potential over the squared mean potential."""
    rows: tuple[int, int]
    """The numbers of rows of x and of y, of which `x_means` and `y_means` may be a part."""

    @property
    def approximation_stderr(self) -> float:
        """The standard error of `log_mean` as an estimate from rows of x; 0 if they are all rows."""
        drawn = len(self.x_means)
        left = 1 - drawn / self.rows[0]
        return math.sqrt(float(self.x_means.var()) * left / drawn) if left else 0.0


def cross_mean(
    x: Population,
    y: Population,
    t: float,
    progress: Callable[[int], None],
    chosen: tuple[Tensor | None, Tensor | None],
) -> CrossMean:
    """Sum the potentials of all rows of x with all of y, or of some rows of either with all of the other."""
    if chosen[0] is None and chosen[1] is None:
        result = cross_row_sums(x, y, [t], progress)
        of_x, of_y = result.sums[0, : len(x)], result.sums[0, len(x) :]
        squares = float(result.squares[0]) / 2  # of rows and of columns
        mean_y = of_y / len(x)
        shift = float(result.shift[0])
    else:
        rows_x, rows_y = (
            torch.arange(len(side), device="cpu") if rows is None else rows
            for side, rows in zip((x, y), chosen, strict=True)
        )
        result = cross_row_sums(x, y, [t], progress, rows=rows_x)
        other = cross_row_sums(y, x, [t], progress, rows=rows_y)
        of_x, squares, shift = result.sums[0], float(result.squares[0]), float(result.shift[0])
        mean_y = other.sums[0] * math.exp(float(other.shift[0]) - shift) / len(x)
    mean_x = of_x / len(y)
    mean = float(mean_x.mean())
    square = squares / (len(of_x) * len(y)) / mean**2
    of_rows = mean_x / mean, mean_y / float(mean_y.mean())
    return CrossMean(math.log(mean) + shift, *of_rows, square, (len(x), len(y)))


def towers(
    asked: Subject, cross: CrossMean | None, units: Units, drawn: Units
) -> tuple[Towers | None, dict[str, Influence]]:
    """Return the measures between two towers with their influences, or None and none if there are none.

    Args:
        asked: the subject.
        cross: the mean potential between the towers; None for anything else than towers.
        units: the units of all rows.
        drawn: the units of the rows whose potentials were summed.
    """
    if cross is None:
        return None, {}
    x, y = asked.populations
    gap, floor, of_gap = _modality_gap(asked, units)
    of_cross = _cross_influence(cross, drawn)
    error = stderr(of_cross)
    influences = {"towers.modality_gap": of_gap, "towers.cross_uniform": of_cross}
    found = Towers(
        rows=(len(x), len(y)),
        modality_gap=gap,
        cross_uniform=cross.log_mean,
        modality_gap_stderr=stderr(of_gap),
        modality_gap_floor=floor,
        cross_uniform_stderr=None if error is None else math.hypot(error, cross.approximation_stderr),
    )
    return found, {key: value for key, value in influences.items() if value is not None}


def _cross_influence(cross: CrossMean, drawn: Units) -> Influence | None:
    found = of_two_samples(cross.x_means, cross.y_means, cross.square - 1, cross.rows)
    if found is None:
        return None
    values, shared = found
    of_x, of_y = values.split([len(cross.x_means), len(cross.y_means)])
    return Influence(drawn.gather(of_x, 0) + drawn.gather(of_y, 1), shared=shared)


def _modality_gap(asked: Subject, units: Units) -> tuple[float, float, Influence | None]:
    r"""Return the distance of the means, its value for equal means, and the influence of each unit.

    Where the means of the populations are equal, the squared distance of those of the rows is on average
    the variance of their difference,

    .. math:: \frac{\mathrm{tr}\, C_x}{n} + \frac{\mathrm{tr}\, C_y}{k} - \frac{2}{n k} \sum_{(i, j)}
              (x_i - \bar x)^T (y_j - \bar y),

    with the sum over the matched rows, which are alike: they make it smaller.
    """
    x, y = asked.populations
    moments = x.survey.moments, y.survey.moments
    gap = geometry.modality_gap(*moments)
    counts = [side.count for side in moments]
    if min(counts) < 2:
        return gap, math.nan, None
    direction = (moments[0].mean - moments[1].mean) / max(gap, 1e-300)
    values = torch.zeros(units.count, dtype=torch.float64, device="cpu")
    inner, square = [], 0.0
    for number, (side, sign) in enumerate(((x, 1.0), (y, -1.0))):
        own, other = moments[number], moments[1 - number]
        found, squares = products(side, torch.stack([direction, other.mean], 1))
        along, factor = found[:, 0], sign / math.sqrt(len(side) * (len(side) - 1))
        values += units.gather(factor * (along - along.mean()), number)
        inner.append((found[:, 1], squares))
        square += (own.mean_square - float(own.mean.square().sum())) / (len(side) - 1)
    if units.split is None:
        of_means = float(moments[0].mean @ moments[1].mean)
        shared = _matched_products(asked.pairs_of_entities(0), inner, of_means)
        square -= 2 * shared / math.sqrt(math.prod(count * (count - 1) for count in counts))
    return gap, math.sqrt(max(0.0, square)), Influence(values)


def _matched_products(pairs: Positives, inner: Sequence[tuple[Tensor, Tensor]], of_means: float) -> float:
    """Return the sum over pairs of the products of their rows, each less the mean of its tower.

    Args:
        pairs: the pairs of rows.
        inner: the products of the rows of either tower with the mean of the other, and their squared norms.
        of_means: the product of the means.
    """
    sides = zip(inner, (pairs.x_rows, pairs.y_rows), strict=True)
    (with_y, squares_x), (with_x, squares_y) = (
        values if rows is None else (values[0][rows], values[1][rows]) for values, rows in sides
    )
    own = (squares_x + squares_y - pairs.distances().square()) / 2
    return float((own - with_y - with_x + of_means).sum())
