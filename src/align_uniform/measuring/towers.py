"""Two towers relative to each other: the mean potential between them, and the distance of their means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform.measuring.influence import Influence, of_two_samples, stderr
from align_uniform.measuring.populations import Population, products
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
    rows: int
    """The number of rows of y, of which `y_means` may be a part."""


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
    return CrossMean(math.log(mean) + shift, mean_x / mean, mean_y / float(mean_y.mean()), square, len(y))


def towers(
    asked: Subject, cross: CrossMean | None, units: Units, *, is_sampled: bool
) -> tuple[Towers | None, dict[str, Influence]]:
    """Return the measures between two towers with their influences, or None and none if there are none."""
    if cross is None:
        return None, {}
    x, y = asked.populations
    gap, floor, of_gap = _modality_gap(x, y, units)
    of_cross = _cross_influence(cross, units, is_sampled=is_sampled)
    influences = {"towers.modality_gap": of_gap, "towers.cross_uniform": of_cross}
    found = Towers(
        rows=(len(x), len(y)),
        modality_gap=gap,
        cross_uniform=cross.log_mean,
        modality_gap_stderr=stderr(of_gap),
        modality_gap_floor=floor,
        cross_uniform_stderr=stderr(of_cross),
    )
    return found, {key: value for key, value in influences.items() if value is not None}


def _cross_influence(cross: CrossMean, units: Units, *, is_sampled: bool) -> Influence | None:
    sizes = len(cross.x_means), cross.rows
    found = of_two_samples(cross.x_means, cross.y_means, cross.square - 1, sizes)
    if found is None:
        return None
    values, shared = found
    if not is_sampled:
        of_x, of_y = values.split([len(cross.x_means), len(cross.y_means)])
        values = units.gather(of_x, 0) + units.gather(of_y, 1)
    return Influence(values, shared=shared)


def _modality_gap(x: Population, y: Population, units: Units) -> tuple[float, float, Influence | None]:
    """Return the distance of the means, its value for equal means, and the influence of each unit."""
    moments = x.survey.moments, y.survey.moments
    gap = geometry.modality_gap(*moments)
    counts = [side.count for side in moments]
    if min(counts) < 2:
        return gap, math.nan, None
    spreads = [side.mean_square - float(side.mean.square().sum()) for side in moments]
    floor = math.sqrt(sum(spread / (count - 1) for spread, count in zip(spreads, counts, strict=True)))
    direction = (moments[0].mean - moments[1].mean) / max(gap, 1e-300)
    values = torch.zeros(units.count, dtype=torch.float64, device="cpu")
    for number, (side, sign) in enumerate(((x, 1.0), (y, -1.0))):
        along = products(side, direction.unsqueeze(1))[0].squeeze(1)
        factor = sign / math.sqrt(len(along) * (len(along) - 1))
        values += units.gather(factor * (along - along.mean()), number)
    return gap, floor, Influence(values)
