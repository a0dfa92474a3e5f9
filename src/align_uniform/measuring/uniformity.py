"""Uniformity from the row sums of potentials, with its error and its calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import sphere
from align_uniform.measuring.clumps import Sample
from align_uniform.measuring.group_sums import group_sums
from align_uniform.measuring.influence import Influence, of_all_pairs, of_pairs_of_groups, sums_by
from align_uniform.measuring.populations import Population, take
from align_uniform.measuring.results import Uniformity
from align_uniform.measuring.row_sums import all_row_sums, anchor_row_sums


@dataclass(frozen=True)
class Potentials:
    """The mean potential of one population at one t, and of its rows."""

    log_mean: float
    """The log of the mean potential, L_uniform."""
    deviations: Tensor | None
    """The part of each anchor in the error of `log_mean` as an estimate from the anchors; the squares of the
    parts add up to its variance. None if all rows were summed.
    """
    relative: Tensor
    """The mean potential of each row over the mean of all, g_i, [rows]."""
    influence: Influence | None
    """The influence on `log_mean` of each row that was summed, or of each group; None for fewer than 5."""
    pairs: int
    """The number of ordered pairs of rows that count."""

    @property
    def approximation_stderr(self) -> float:
        """The standard error of `log_mean` as an estimate from the anchors; 0 if all rows were summed."""
        return 0.0 if self.deviations is None else float(torch.linalg.vector_norm(self.deviations))


def exact_potentials(
    population: Population, ts: Sequence[float], progress: Callable[[int], None]
) -> tuple[list[Potentials], Tensor]:
    """Sum over all pairs. Return the potentials at each t, and which rows have others near them."""
    result = all_row_sums(population, ts, progress)
    count = population.shape[0]
    potentials: list[Potentials] = []
    for sums, squares, shift in zip(result.sums, result.squares, result.shift, strict=True):
        total = sums.sum()
        pairs = count * (count - 1)
        log_mean = float(total.log() - math.log(pairs) + shift)
        square = float(squares / total) / float(total) * pairs
        relative = sums / total * count
        potentials.append(
            Potentials(log_mean, None, relative, of_all_pairs(relative, square - 1, count), pairs)
        )
    return potentials, result.near


def grouped_potentials(
    population: Population, groups: Tensor, ts: Sequence[float], progress: Callable[[int], None]
) -> tuple[list[Potentials], Tensor]:
    """Sum over all pairs of rows of different groups. Return the same as `exact_potentials`."""
    result = group_sums(population, groups, ts, progress)
    sizes = groups.bincount().double()
    pairs = len(groups) ** 2 - int(sizes.square().sum())
    potentials: list[Potentials] = []
    for sums, squares, weighted, shift in zip(
        result.sums, result.squares, result.weighted, result.shift, strict=True
    ):
        mean = float(sums.sum()) / pairs
        totals = sums_by(sums, groups, len(sizes)) / mean
        influence = of_pairs_of_groups(totals, float(squares) / mean**2, float(weighted) / mean, sizes)
        relative = sums / mean / (len(groups) - sizes[groups])
        potentials.append(Potentials(math.log(mean) + float(shift), None, relative, influence, pairs))
    return potentials, result.near


def anchor_potentials(
    population: Population,
    anchors: Tensor,
    ts: Sequence[float],
    progress: Callable[[int], None],
    strata: Tensor | None = None,
) -> tuple[list[Potentials], Tensor]:
    r"""Estimate the sum over all pairs from the sums of a random sample of rows, the anchors.

    The mean potential h_k of an anchor with all others is exact. It is regressed on two more means over all
    others, those of the cosine and of its square, whose means over all rows are known from the moments (the
    regression estimator of survey sampling). What the regression leaves is the error, with the correction for
    a finite population.

    Args:
        population: the rows.
        anchors: the rising numbers of the rows in the sample.
        ts: inverse squared widths of the Gaussian.
        progress: called with the number of potentials summed since the last call.
        strata: the stratum of each row, [N], in each of which the anchors are a simple random sample; None
            for a simple random sample of all rows.
    """
    result = anchor_row_sums(population, anchors, ts, progress)
    count, sampled = population.shape[0], len(anchors)
    sample = Sample.of(anchors, strata, count)
    known = _covariates(population, anchors)
    potentials = []
    for sums, squares, shift in zip(result.sums, result.squares, result.shift, strict=True):
        means = sums / (count - 1)
        estimate, deviations = _regression_estimate(means, *known, sample)
        square = float(squares) / (sampled * (count - 1)) / estimate**2
        potentials.append(
            Potentials(
                math.log(estimate) + float(shift),
                deviations / estimate,
                means / estimate,
                of_all_pairs(means / estimate, square - 1, count, sample.weights),
                count * (count - 1),
            )
        )
    return potentials, result.near


def _covariates(population: Population, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Return each anchor's mean product and mean squared product with the other rows, and their means.

    The former are [K, 2], the latter are means over all rows, [2]. Let S be the sum of the rows and M the sum
    of their outer products. Then sum_{j != k} x_k.x_j = x_k.S - |x_k|^2, and sum_{j != k} (x_k.x_j)^2 =
    x_k.M x_k - |x_k|^4; the sums over all k of the first terms are |S|^2 and ||M||_F^2. Where norms differ,
    products alone do not determine distances, and |x_k|^2 and |x_k|^4 are two more covariates.
    """
    moments, count = population.survey.moments, population.shape[0]
    rows = take(population, anchors).cpu().double()
    squares = rows.square().sum(1)
    first = rows @ moments.sum - squares
    second = (rows @ moments.second).mul(rows).sum(1) - squares.square()
    all_first = moments.sum.square().sum() - moments.second.trace()
    all_second = moments.second.square().sum() - population.survey.fourth
    totals = torch.stack([all_first, all_second])
    covariates, known = torch.stack([first, second], 1) / (count - 1), totals / (count * (count - 1))
    if population.normalize:
        return covariates, known
    means = torch.stack([moments.second.trace(), known.new_tensor(population.survey.fourth)]) / count
    return torch.cat([covariates, torch.stack([squares, squares.square()], 1)], 1), torch.cat([known, means])


def _regression_estimate(
    values: Tensor, covariates: Tensor, known: Tensor, sample: Sample
) -> tuple[float, Tensor]:
    """Return the mean of `values` at which the mean of the covariates is `known`, and the parts of its error.

    The estimate is a weighted mean of the values, and each has a part in the error: see `Sample.deviations`.
    A row of high leverage pulls the fit towards itself, which makes its residual too small by the factor
    1 - leverage. Residuals are divided by that factor, or the error of a cone, whose tail is long, would be
    too small. They vary within the strata alone.
    """
    weights = sample.weights
    centre = weights @ covariates
    deviations = (covariates - centre) * weights.sqrt().unsqueeze(1)
    least = (1e-6 * centre.abs()).clamp(min=torch.finfo(torch.float64).tiny)  # a constant varies by rounding
    spread = torch.maximum(deviations.square().sum(0).sqrt(), least)
    left, singular, right = torch.linalg.svd(deviations / spread, full_matrices=False)
    kept = singular > 1e-9  # covariates that are constant, or follow from others, are of no use
    left, singular, right = left[:, kept], singular[kept], right[kept]
    of_values = weights + weights.sqrt() * (left @ ((right @ ((known - centre) / spread)) / singular))
    mean = weights @ values
    residuals = values - mean
    residuals = residuals - left @ (left.T @ (residuals * weights.sqrt())) / weights.sqrt()
    estimate = of_values @ values
    leverage = left.square().sum(1)
    deviations = sample.deviations(of_values * residuals / (1 - leverage).clamp(min=1e-3))
    if estimate <= 0:  # no mean of potentials is: the regression extrapolated too far
        return float(mean), sample.deviations(weights * (values - mean))
    return float(estimate), deviations


# --------------------------------------------------------------------------------------------- calibration


def uniformity(
    t: float,
    populations: Sequence[Potentials],
    n: int,
    dim: int,
    errors: tuple[float | None, float],
    null_share: float,
) -> Uniformity:
    """Average over the populations, and compare the result with the optimum.

    Args:
        t: inverse squared width of the Gaussian.
        populations: the potentials of each view or tower.
        n: the number of rows of the first.
        dim: the number of features.
        errors: the standard error of the average, and its standard error as an estimate from the anchors.
        null_share: the variance of the average for uniform rows, over that of n rows alone.
    """
    value = sum(population.log_mean for population in populations) / len(populations)
    error, approximation = errors
    total = None if error is None else math.hypot(error, approximation)
    optimum = sphere.uniform_optimum(dim, t)
    equivalent = sphere.equivalent_dim(value, t)
    equivalent_error = None
    if total is not None and 0 < equivalent < math.inf:
        equivalent_error = abs(sphere.equivalent_dim_slope(value, t)) * total
    return Uniformity(
        t=t,
        value=value,
        stderr=error,
        approximation_stderr=approximation,
        optimum=optimum,
        gap=value - optimum,
        gap_stderr=total,
        z=sphere.null_z(value, n, dim, t) / math.sqrt(null_share),
        squared_mmd=sphere.squared_mmd(value, dim, t),
        equivalent_dim=equivalent if math.isfinite(equivalent) else None,
        equivalent_dim_stderr=equivalent_error,
        by_population=tuple(population.log_mean for population in populations),
    )
