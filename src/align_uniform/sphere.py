"""What the theory of the unit sphere S^{m-1} says about uniformity."""

from __future__ import annotations

import itertools
import math

from align_uniform import _checks as checks


def uniform_optimum(dim: int, t: float = 2) -> float:
    r"""The uniformity of the uniform distribution on the sphere: the least value there is.

    .. math:: L^*(m, t) = \log E\, e^{-t \lVert u - v \rVert^2} = -2t + \log {}_0F_1(; m/2; t^2)

    for independent u, v, uniform on S^{m-1}. It falls with the dimension m, from log((1 + exp(-4t)) / 2) at m = 1 towards -2t.
    Subtract it to compare uniformities across dimensions: `uniform_loss(z, t) - uniform_optimum(m, t)`. The mean over all N^2
    pairs never lies below it; the mean over distinct pairs, which `uniform_loss` takes, can for a finite sample.

    Args:
        dim: m, the number of features, at least 1.
        t: inverse squared width of the Gaussian, above 0.

    Returns:
        A number between -2t and 0, to 12 digits or more: the series of 0F1 is summed in log space, where neither a
        dimension of 10^5 nor a t of 10^3 overflows.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> from align_uniform import uniform_optimum
        >>> round(uniform_optimum(128), 4)
        -3.9375
        >>> round(uniform_optimum(2), 4)  # on the circle
        -1.575

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, proposition 1; its value is the mean of exp(2t s) over the cosine s.
    """
    if not (math.isfinite(dim) and dim == int(dim) and dim >= 1):
        raise ValueError(f"dim must be a whole number of at least 1, the number of features, got {dim}.")
    t = checks.check_positive("t", t)
    # The terms t^2n / ((m/2)_n n!) rise to the n where n (n + m/2 - 1) = t^2; from 2n on each is less than half of the last.
    half = (dim / 2 - 1) / 2
    peak = int(math.sqrt(half**2 + t**2) - half)
    log_ratios = (math.log(t / n) + math.log(t / (dim / 2 + n - 1)) for n in range(1, 2 * peak + 60))
    log_terms = list(itertools.accumulate(log_ratios, initial=0.0))
    largest = max(log_terms)
    return -2 * t + largest + math.log(math.fsum(math.exp(term - largest) for term in log_terms))
