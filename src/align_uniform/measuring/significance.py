"""Probabilities of results by chance alone, and their adjustment for several comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence


def normal_p(value: float, stderr: float | None) -> float | None:
    """Return the two-sided p of a value that is normal around 0 with this standard error.

    It is None without a standard error, and 1 for a value of 0 whose error is 0 too.

    Example:
        >>> round(normal_p(1.96, 1.0), 4)
        0.05
    """
    if stderr is None or not math.isfinite(stderr):
        return None
    if stderr == 0:
        return 1.0 if value == 0 else 0.0
    return math.erfc(abs(value) / stderr / math.sqrt(2))


def mcnemar_p(only_first: int, only_second: int) -> float:
    r"""Return the two-sided p of McNemar's exact test.

    .. math:: p = \min\Bigl(1, 2 \sum_{k=0}^{\min(b, c)} \binom{b+c}{k} 2^{-(b+c)}\Bigr)

    Of the b + c items that only one of two encoders gets right, either encoder has each with probability one
    half if the two are equally good. Items that both get right, or neither, say nothing about the difference.

    Args:
        only_first: number b of items that the first alone gets right, at least 0.
        only_second: number c of items that the second alone gets right, at least 0.

    Raises:
        ValueError: a number is negative.

    Example:
        >>> round(mcnemar_p(1, 9), 4)
        0.0215

    Reference:
        McNemar, Psychometrika 12, 1947; the exact binomial form.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts must be at least 0, got {only_first} and {only_second}.")
    count, fewer = only_first + only_second, min(only_first, only_second)
    # In logarithms, since the binomial coefficients of thousands of items exceed a float.
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2)
        for k in range(fewer + 1)
    ]
    largest = max(logs)
    return min(1.0, 2 * math.exp(largest) * math.fsum(math.exp(log - largest) for log in logs))


def holm(ps: Sequence[float | None]) -> tuple[float | None, ...]:
    r"""Return the p of several comparisons, adjusted so that any false one is as rare as p says.

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min(1, (K - j + 1)\, p_{(j)})

    for the K values in rising order. A comparison whose adjusted p is at most 0.05 is significant at 5% for
    the whole family: at most 5% of such families have a false one among them, however the values depend on
    each other. A p that is None stays None, and is no part of the family.

    Args:
        ps: the p of each comparison, from 0 to 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)

    Reference:
        Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return tuple(adjusted)


def text_of_p(p: float) -> str:
    """Return p with two digits, and very small ones as a bound.

    Example:
        >>> text_of_p(0.0312), text_of_p(3e-9)
        ('p = 0.031', 'p < 0.0001')
    """
    if p < 1e-4:
        return "p < 0.0001"
    digits = 2 if p >= 0.1 else 1 - math.floor(math.log10(p))
    return f"p = {p:.{digits}f}"
