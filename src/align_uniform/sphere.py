"""The theory of the unit sphere S^{m-1}, which gives values of `uniform_loss` a scale.

A value L of `uniform_loss` for n rows in m dimensions is a bare number. It can be compared with

    uniform_optimum(m)      the value of the uniform law, the least there is
    squared_mmd(L, m)       the squared distance from the uniform law, as a kernel sees it
    null_z(L, n, m)         that distance over its standard deviation for n uniform rows
    equivalent_dim(L)       the dimension whose uniform law has this value

All of these come from one series, the `0F1` of the mean Gaussian potential, and are plain numbers: no tensor
is needed.
"""

from __future__ import annotations

import functools
import itertools
import math

import torch
from torch import Tensor

from align_uniform import _checks as checks


def uniform_optimum(dim: int, t: float = 2) -> float:
    r"""Return the uniformity of the uniform distribution on the sphere: the least value there is.

    .. math:: L^*(m, t) = \log E\, e^{-t \lVert u - v \rVert^2} = -2t + \log {}_0F_1(; m/2; t^2)

    for independent u, v, uniform on S^{m-1}. It falls with the dimension m, from log((1 + exp(-4t)) / 2) at m
    = 1 towards -2t. Subtract it to compare uniformities across dimensions: `uniform_loss(z, t) -
    uniform_optimum(m, t)`. The mean over all N^2 pairs never lies below it; the mean over distinct pairs,
    which `uniform_loss` takes, can for a finite sample.

    Args:
        dim: m, the number of features, at least 1.
        t: inverse squared width of the Gaussian, above 0. The time is O(t).

    Returns:
        A number between -2t and 0, to 12 digits or more: the series of 0F1 is summed in log space, where
        neither a dimension of 10^5 nor a t of 10^3 overflows.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> from align_uniform import uniform_optimum
        >>> round(uniform_optimum(128), 4)
        -3.9375
        >>> round(uniform_optimum(2), 4)  # on the circle
        -1.575

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, proposition 1; its value is the mean of exp(2t s) over the
        cosine s.
    """
    _check_dim(dim, 1)
    t = checks.check_positive("t", t)
    return -2 * t + _log_0f1(dim, t)[0]


def v_statistic(uniform: float, n: int) -> float:
    r"""Return the uniformity of n rows with self-pairs counted, given the uniformity of distinct pairs.

    .. math:: L_V = \log \frac{(n - 1) e^{L_U} + 1}{n}

    Only L_V obeys the paper's bound, `uniform_optimum`, for any finite set of rows; it depends on n, which is
    why the losses and `measure` give L_U.

    Args:
        uniform: L_U, the value over distinct pairs.
        n: the number of rows, at least 2.

    Raises:
        ValueError: n is not as above.

    Example:
        >>> from align_uniform.sphere import v_statistic
        >>> round(v_statistic(-8.0, 2), 4)  # two opposite points, t = 2
        -0.6928

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, proposition 1.
    """
    if n < 2:
        raise ValueError(f"n must be at least 2 rows, got {n}: there is no pair.")
    return math.log1p((n - 1) * math.exp(uniform)) - math.log(n)


def squared_mmd(uniform: float, dim: int, t: float = 2) -> float:
    r"""Return the squared maximum mean discrepancy between the features and the uniform law.

    The kernel is the Gaussian potential:

    .. math:: \mathrm{MMD}^2 = e^{L} - c(m, t), \qquad c(m, t) = e^{L^*(m, t)} = E\, G_t(u, v)

    The usual three terms reduce to these two: G_t(u, v) has the mean c for every fixed u, so the cross term
    is -2c.

    Args:
        uniform: L, a value of `uniform_loss` for unit rows.
        dim: m, the number of features, at least 1.
        t: inverse squared width of the Gaussian, the one that L was computed with.

    Returns:
        A number between -c and 1 - c. From distinct pairs, as `uniform_loss` takes them, it is unbiased and
        may lie below 0; from all N^2 pairs it is at least 0, and biased by (1 - c) / N under the uniform law.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> from align_uniform.sphere import squared_mmd, uniform_optimum
        >>> squared_mmd(uniform_optimum(128), 128)
        0.0
        >>> round(squared_mmd(0.0, 128), 4)  # a constant
        0.9805

    Note:
        Its unit is that of the potential, e^-2t to 1, so compare values of one t and one dimension only.

    Reference:
        Gretton et al., JMLR 2012, "A kernel two-sample test", lemma 6, with one of the two laws known.
    """
    uniform = _check_uniform(uniform)
    return math.exp(uniform) - math.exp(uniform_optimum(dim, t))


def null_variance(n: int, dim: int, t: float = 2) -> float:
    r"""Return the variance of exp(L) for n independent rows of the uniform law.

    .. math:: \mathrm{Var}\, e^{L} = \frac{2}{n (n - 1)} \left[ c(m, 2t) - c(m, t)^2 \right]

    Here L is `uniform_loss` over distinct pairs. The variance is exact: potentials of two different pairs are
    uncorrelated, even those with a row in common, and G_t^2 = G_2t.

    Args:
        n: the number of rows, at least 2.
        dim: m, the number of features, at least 1.
        t: inverse squared width of the Gaussian, above 0.

    Returns:
        The variance, to 10 digits or more; the mean is exp(uniform_optimum(dim, t)). It is 0 where it is too
        small for a float (t in the hundreds), which does not affect `null_z`.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> from align_uniform.sphere import null_variance
        >>> f"{null_variance(256, 128) ** 0.5:.1e}"  # the standard deviation
        '3.9e-05'

    Note:
        The square root is no scale for a normal law: see `null_z`.

    Reference:
        Serfling, 1980, "Approximation theorems of mathematical statistics", section 5.2.1 (the variance of a
        U-statistic).
    """
    return math.exp(2 * uniform_optimum(dim, t) + _log_relative_variance(n, dim, t))


def null_z(uniform: float, n: int, dim: int, t: float = 2) -> float:
    r"""Return how far a uniformity lies above the uniform law, in standard deviations under that law.

    .. math:: z = (e^{L} - c(m, t)) \, / \, \sqrt{\mathrm{Var}\, e^{L}}

    Args:
        uniform: L, the value of `uniform_loss` over the distinct pairs of n unit rows.
        n: the number of rows, at least 2.
        dim: m, the number of features, at least 1.
        t: inverse squared width of the Gaussian, the one that L was computed with.

    Returns:
        z, of mean 0 and variance 1 for independent uniform rows; infinite where it is too large for a float.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> import torch
        >>> from align_uniform import uniform_loss
        >>> from align_uniform.sphere import null_z
        >>> corners = torch.cat([torch.eye(8), -torch.eye(8)])  # more even than chance
        >>> round(null_z(uniform_loss(corners).item(), 16, 8), 2)
        -4.31

    Note:
        Do not read it as a normal deviate. Under the null law exp(L) is a degenerate U-statistic, a weighted
        sum of centred chi-squares, skewed to the right. Its 95% and 99% points, by simulation at t = 2:

        ====  ====  =====  =====
        m     n     95%    99%
        ====  ====  =====  =====
        2     64    1.87   3.28
        16    256   1.78   2.70
        128   256   1.70   2.48
        ====  ====  =====  =====

        For features of a real encoder z is astronomical and says only that they are not uniform, which is no
        news; the gap `L - uniform_optimum(m)` and `equivalent_dim` say by how much.

    Reference:
        Serfling, 1980, section 5.5.2 (the limit law of a degenerate U-statistic).
    """
    gap = _check_uniform(uniform) - uniform_optimum(dim, t)
    log_deviation = _log_relative_variance(n, dim, t) / 2
    # expm1(gap) / deviation, with the factor exp(gap) of a positive gap taken out, as it may overflow on its
    # own.
    share = math.copysign(math.expm1(-abs(gap)), gap)
    exponent = max(gap, 0) - log_deviation
    return share * (math.exp(exponent) if exponent < 709 else math.inf)


def equivalent_dim(uniform: float, t: float = 2) -> float:
    r"""Return the number of dimensions that the features fill evenly.

    It is the dimension m whose uniform law on S^{m-1} has this uniformity:

    .. math:: m_{eff} = \{ m : L^*(m, t) = L \} \approx 2 t^2 / (L + 2t)

    for real m, the approximation being for large m. It is exactly k for a uniform law on a k-dimensional
    great sphere, so that dimensional collapse, which moves L in its third decimal, is seen at once. A
    dimension of 1 is two opposite points, equally likely. No sphere has a uniformity above their value, but
    two opposite points of probabilities p and 1 - p do:

    .. math:: m_{eff} = 4 p (1 - p) = 2 (1 - e^{L}) / (1 - e^{-4t}),

    which continues from 1 down to 0, a constant.

    Args:
        uniform: L, a value of `uniform_loss` for unit rows. Their number of features is not needed.
        t: inverse squared width of the Gaussian, the one that L was computed with.

    Returns:
        A number that falls with L, from infinity where L <= -2t (a sample may lie there, a law cannot) to 0
        where L >= 0. The relative error equals that of L + 2t, up to an error of 1e-12 in solving for m.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> from align_uniform import uniform_optimum
        >>> from align_uniform.sphere import equivalent_dim
        >>> round(equivalent_dim(uniform_optimum(64)), 6)
        64.0
        >>> round(equivalent_dim(-2.85), 2)
        6.11

    Note:
        It is one number for two failings: a cone of many dimensions and a great sphere of few may have the
        same. Look at the mean cosine and at a rank too. For large m it magnifies noise: an error d of L
        becomes one of about d m^2 / (2 t^2), so near the optimum report `equivalent_dim_slope` times the
        standard error of L with it.

    Reference:
        A quantity of this package, from the value of Wang & Isola, ICML 2020, proposition 1.
    """
    uniform, t = _check_uniform(uniform), checks.check_positive("t", t)
    if uniform >= 0:
        return 0.0
    if uniform <= -2 * t:
        return math.inf
    if uniform >= uniform_optimum(1, t):
        return 2 * math.expm1(uniform) / math.expm1(-4 * t)
    return _solve_dim(uniform + 2 * t, t)


def equivalent_dim_slope(uniform: float, t: float = 2) -> float:
    r"""Return the derivative of `equivalent_dim`, for the delta method: se(m_eff) = abs(slope) se(L).

    .. math:: \frac{d m_{eff}}{d L} = 1 \Big/ \frac{\partial L^*}{\partial m} \approx -\frac{m^2}{2 t^2}

    Args:
        uniform: L, a value of `uniform_loss` for unit rows.
        t: inverse squared width of the Gaussian, the one that L was computed with.

    Returns:
        A number below 0; minus infinity where L <= -2t, where the dimension is infinite. The slope jumps
        where the dimension is 1; where L >= 0 it is the slope from below.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> from align_uniform import uniform_optimum
        >>> from align_uniform.sphere import equivalent_dim_slope
        >>> # an error of .001 in the value is one of half a dimension
        >>> round(equivalent_dim_slope(uniform_optimum(64)))
        -515

    Note:
        The interval that it gives is symmetric, while the law of m_eff is not where se(L) is no longer small
        against L + 2t. There, map the ends of the interval of L through `equivalent_dim` instead.
    """
    dim = equivalent_dim(uniform, t)
    if math.isinf(dim):
        return -math.inf
    if dim > 1:
        return 1 / _log_0f1(dim, t)[1]
    return 2 * math.exp(min(uniform, 0)) / math.expm1(-4 * t)


def cosine_log_density(cosine: Tensor, dim: int) -> Tensor:
    r"""Return the log density of the cosine s = u.v of two independent uniform rows on S^{m-1}.

    .. math:: \log p(s) = \log \frac{\Gamma(m/2)}{\sqrt{\pi}\, \Gamma((m-1)/2)}
              + \frac{m - 3}{2} \log (1 - s^2)

    This is the curve to draw over a histogram of cosines. Its mean is 0 and its variance 1/m.

    Args:
        cosine: s, of any shape. Half precision is computed in float32.
        dim: m, the number of features, at least 2.

    Returns:
        The log density, of the shape of `cosine`, float32 or float64, differentiable for -1 < s < 1. At its
        ends it is infinite for m = 2, log(1/2) for m = 3, minus infinity above; beyond, minus infinity. The
        normaliser is a difference of two log-gammas and keeps 9 digits at m = 10^5.

    Raises:
        ValueError: `cosine` is not a floating-point tensor, or `dim` not as above.

    Example:
        >>> import torch
        >>> from align_uniform.sphere import cosine_log_density
        >>> cosine_log_density(torch.tensor([-1.0, 0.0, 0.5]), dim=3).exp()  # even, in three dimensions
        tensor([0.5000, 0.5000, 0.5000])

    Reference:
        Cho, 2009, "Inner product of random vectors", IJPAM 56(2); it is the law of a coordinate of a uniform
        row.
    """
    if not (isinstance(cosine, Tensor) and cosine.is_floating_point()):
        raise ValueError(
            f"cosine must be a floating-point tensor, got {cosine!r}; use torch.tensor(cosine).float()."
        )
    _check_dim(dim, 2)
    cosine = cosine.to(torch.promote_types(cosine.dtype, torch.float32))
    log_normaliser = math.lgamma(dim / 2) - math.lgamma((dim - 1) / 2) - math.log(math.pi) / 2
    inside = cosine.clamp(-1, 1)
    power = (dim - 3) / 2
    # log(1 - s^2) as a sum keeps its digits near the ends; xlog1py is 0 there for a power of 0.
    log_density: Tensor = (
        torch.special.xlog1py(power, inside) + torch.special.xlog1py(power, -inside) + log_normaliser
    )
    return log_density.masked_fill(cosine.abs() > 1, -math.inf)


@functools.lru_cache(maxsize=256)  # a measurement asks for few of these, many times
def _log_0f1(dim: float, t: float) -> tuple[float, float]:
    """Return `log 0F1(; dim/2; t^2)` and its derivative with respect to dim, for any real dim above 0.

    Both keep their relative accuracy where they are near 0, that is for a large dim or a small t.
    """
    # The terms t^2n / ((m/2)_n n!) rise to the n where n (n + m/2 - 1) = t^2; from 2n on each is less than
    # half of the last.
    half = (dim / 2 - 1) / 2
    peak = int(math.sqrt(half**2 + t**2) - half)
    orders = range(2 * peak + 60)
    log_terms = list(
        itertools.accumulate(math.log(t / (n + 1)) + math.log(t / (dim / 2 + n)) for n in orders)
    )
    term_slopes = itertools.accumulate(-0.5 / (dim / 2 + n) for n in orders)
    largest = max(0.0, *log_terms)
    weights = [math.exp(term - largest) for term in log_terms]
    # The sum of all terms is exp(largest) (1 + rest): the first one is 1.
    rest = math.fsum(weights) + math.expm1(-largest)
    slope = math.fsum(weight * slope for weight, slope in zip(weights, term_slopes, strict=True)) / (1 + rest)
    return largest + math.log1p(rest), slope


def _solve_dim(log_value: float, t: float) -> float:
    """Return the dim, at least 1, where `log 0F1(; dim/2; t^2)` has this value.

    Newton's method needs no safeguard. Each log-term of the series is convex in dim, hence so is the log of
    their sum; and below the root of a falling convex function the iterates rise to it. The series up to its
    second term, `1 + 2t^2/dim`, gives the start below the root.
    """
    dim = max(1.0, 2 * t**2 / math.expm1(min(log_value, 700)))
    for _ in range(100):  # far from the root a step doubles dim, near it the number of digits
        value, slope = _log_0f1(dim, t)
        step = (log_value - value) / slope
        dim += step
        if step <= 1e-13 * dim:
            break
    return max(1.0, dim)


def _log_relative_variance(n: int, dim: int, t: float) -> float:
    """Return the log of `null_variance / c(m, t)^2`.

    It uses `c(m, 2t) - c(m, t)^2 = c(m, t)^2 expm1(log c(m, 2t) - 2 log c(m, t))`, where the terms -4t of the
    two logs cancel and are left out. While the difference of the two series is small, no more than half of it
    cancels, as they grow with t^2; so it is accurate at either end.
    """
    _check_whole("n", n, 2, "the number of rows")
    difference = _log_0f1(dim, 2 * t)[0] - 2 * _log_0f1(dim, t)[0]
    log_expm1 = difference + math.log(-math.expm1(-difference))
    return math.log(2 / (n * (n - 1))) + log_expm1


def _check_dim(dim: int, least: int) -> None:
    _check_whole("dim", dim, least, "the number of features")


def _check_whole(name: str, value: int, least: int, meaning: str) -> None:
    if not (math.isfinite(value) and value == int(value) and value >= least):
        raise ValueError(f"{name} must be a whole number of at least {least}, {meaning}, got {value}.")


def _check_uniform(uniform: float) -> float:
    """Return a value of `uniform_loss`; it is minus infinity for rows whose potentials underflow."""
    if isinstance(uniform, Tensor):
        raise ValueError(
            "uniform must be a Python number, got a tensor: no gradient flows to it; use uniform.item()."
        )
    if math.isnan(uniform):
        raise ValueError(
            "uniform must be a number, got nan; look for NaN among the features it was computed from."
        )
    return float(uniform)
