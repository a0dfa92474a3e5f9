"""Two accuracies on the same items, and how sure their difference is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align_uniform.measuring.results import NORMAL_95
from align_uniform.measuring.significance import mcnemar_p, normal_p, text_of_p


@dataclass(frozen=True)
class AccuracyDifference:
    """The accuracy of one encoder less that of another, on the same items.

    Example:
        >>> from align_uniform import compare_accuracies
        >>> hits = [1, 1, 1, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0, 0, 0]
        >>> found = compare_accuracies(*hits, names=("new", "old"))
        >>> low, high = found.interval
        >>> print(f"{found.value:+.3f}, from {low:+.3f} to {high:+.3f}; p = {found.p:.3f} ({found.test})")
        +0.625, from +0.084 to +0.916; p = 0.062 (McNemar, exact)
    """

    names: tuple[str, str]
    """The names of the two encoders."""
    n: int
    """The number of items."""
    accuracies: tuple[float, float]
    """The mean score of the items, of each encoder."""
    value: float
    """The first accuracy less the second."""
    stderr: float
    """The standard error of `value`, from the items' own differences."""
    interval: tuple[float, float]
    """The 95% interval of `value`."""
    only_one: tuple[int, int] | None
    """The number of items that the first encoder alone gets right, and that the second alone gets right; None
    where an item can be right in part.
    """
    p: float
    """The two-sided probability of a difference at least as large if the encoders were equally good."""

    @property
    def test(self) -> str:
        """The test that `p` comes from."""
        return "paired error" if self.only_one is None else "McNemar, exact"

    def __str__(self) -> str:
        """Return the difference in percentage points, and its p, in one line."""
        counts = "" if self.only_one is None else "; right in one alone: {:,} and {:,}".format(*self.only_one)
        low, high = (100 * bound for bound in self.interval)
        return (
            f"{self.names[0]} − {self.names[1]}: {100 * self.value:+.2f} ± {100 * self.stderr:.2f} "
            f"percentage points, 95% interval {low:+.2f} to {high:+.2f}{counts}; "
            f"{text_of_p(self.p)} ({self.test})"
        )


def compare_accuracies(
    first: Any, second: Any, *, names: tuple[str, str] = ("first", "second")
) -> AccuracyDifference:
    r"""Compare the accuracies of two encoders on the same items.

    Two encoders that are judged by the same items are not two independent samples: most items are easy or
    hard for both. Only the b + c items that one of them alone gets right tell them apart, and `p` is that of
    McNemar's exact test (`significance.mcnemar_p`). The interval is that of Bonett and Price,

    .. math:: d \pm 1.96 \sqrt{\frac{(b + 1) + (c + 1)}{(n + 2)^2} - \frac{d^2}{n + 2}},
              \quad d = \frac{b - c}{n + 2},

    which is of use for few such items too. Where an item can be right in part (a hit that ties share, a
    reciprocal rank, the mean over several seeds), interval and p are those of the mean of the differences.
    Test the two directions of a retrieval separately: their items are not independent.

    Args:
        first: [N] scores of the items, from 0 to 1: whether an item is right, or to which part. The scores of
            S seeds, [S, N], are averaged per item.
        second: the scores of the same items, in the same order; the number of seeds may differ.
        names: the names of the two encoders.

    Returns:
        An `AccuracyDifference`: print it.

    Raises:
        ValueError: the numbers of items differ, there are fewer than 2, or a score is not from 0 to 1.

    Example:
        >>> from align_uniform import compare_accuracies
        >>> result = compare_accuracies([1, 1, 1, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0, 0, 0])
        >>> result.value, result.only_one, result.p
        (0.625, (5, 0), 0.0625)

    Reference:
        McNemar, Psychometrika 12, 1947. Bonett & Price, Journal of Educational and Behavioral Statistics 37,
        2012.
    """
    scores = tuple(_scores(name, given) for name, given in (("first", first), ("second", second)))
    if len(scores[0]) != len(scores[1]):
        raise ValueError(
            "first and second must be scores of the same items, got "
            f"{len(scores[0])} and {len(scores[1])}; score both encoders on the same items."
        )
    a, b = scores
    count, differences = len(a), a - b
    value, stderr = float(differences.mean()), float(differences.std()) / math.sqrt(count)
    only_one, p = None, normal_p(value, stderr)
    interval = value - NORMAL_95 * stderr, value + NORMAL_95 * stderr
    if bool(((a == 0) | (a == 1)).all()) and bool(((b == 0) | (b == 1)).all()):
        only_one = int((differences > 0).sum()), int((differences < 0).sum())
        p, interval = mcnemar_p(*only_one), _bonett_price(*only_one, count)
    assert p is not None
    return AccuracyDifference(
        names, count, (float(a.mean()), float(b.mean())), value, stderr, interval, only_one, p
    )


def _scores(name: str, given: Any) -> Tensor:
    """Return the score of each item, averaged over seeds, [N] float64."""
    scores = torch.as_tensor(given, dtype=torch.float64, device="cpu")
    if scores.dim() not in (1, 2) or scores.shape[-1] < 2 or not len(scores):
        raise ValueError(
            f"{name} must be scores of at least 2 items, [N], or [S, N] of S seeds, got shape "
            f"{list(scores.shape)}."
        )
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        raise ValueError(
            f"{name} must be scores from 0 to 1, got {float(scores.min()):g} to {float(scores.max()):g}; "
            "divide them by their largest possible value."
        )
    return scores if scores.dim() == 1 else scores.mean(0)


def _bonett_price(only_first: int, only_second: int, count: int) -> tuple[float, float]:
    size = count + 2
    centre = (only_first - only_second) / size
    half = NORMAL_95 * math.sqrt(((only_first + only_second + 2) / size - centre**2) / size)
    return max(-1.0, centre - half), min(1.0, centre + half)
