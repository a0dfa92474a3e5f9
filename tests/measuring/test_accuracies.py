"""Tests of two accuracies on the same items, and of p."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]

from align_uniform import compare_accuracies
from align_uniform.measuring.significance import holm, mcnemar_p, normal_p, text_of_p


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (3, 3), (1, 9), (40, 20), (700, 800), (2000, 2600)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    expected = 1.0 if b + c == 0 else stats.binomtest(b, b + c).pvalue
    assert mcnemar_p(b, c) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(c, b) == mcnemar_p(b, c)


def test_counts_below_0_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1 and 2"):
        mcnemar_p(-1, 2)


def test_hits_are_compared_by_the_items_that_only_one_gets_right() -> None:
    first = torch.tensor([1] * 60 + [1] * 15 + [0] * 5 + [0] * 20)
    second = torch.tensor([1] * 60 + [0] * 15 + [1] * 5 + [0] * 20)
    result = compare_accuracies(first, second.bool(), names=("a", "b"))
    assert result.only_one == (15, 5)
    assert result.accuracies == (0.75, 0.65)
    assert result.value == pytest.approx(0.10)
    assert result.p == pytest.approx(stats.binomtest(5, 20).pvalue)
    assert result.stderr == pytest.approx(np.std((first - second).numpy(), ddof=1) / 10)
    assert str(result) == (
        "a − b: +10.00 ± 4.38 percentage points, 95% interval +0.99 to +18.61; right in one alone: 15 and 5; "
        "p = 0.041 (McNemar, exact)"
    )


def test_scores_in_part_are_compared_by_their_paired_error() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 200, generator=generator, dtype=torch.float64)
    result = compare_accuracies(first, second)
    assert result.only_one is None
    assert result.test == "paired error"
    expected = stats.ttest_rel(first.numpy(), second.numpy())
    assert result.value / result.stderr == pytest.approx(expected.statistic)
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(expected.statistic)))


def test_seeds_are_averaged_per_item() -> None:
    seeds = torch.tensor([[1.0, 0, 1, 0], [1, 1, 0, 0]])
    result = compare_accuracies(seeds, torch.tensor([0.0, 1, 1, 0]))
    assert result == compare_accuracies([1, 0.5, 0.5, 0], [0, 1, 1, 0])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 0, 1], [1, 0], "the same items, got 3 and 2"),
        ([1], [1], r"at least 2 items, \[N\], or \[S, N\] of S seeds, got shape \[1\]"),
        ([1, 0], [50.0, 0], "second must be scores from 0 to 1, got 0 to 50"),
        ([1, math.nan], [0, 0], "first must be scores from 0 to 1"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(first: object, second: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_accuracies(first, second)


@pytest.mark.parametrize(("items", "shared", "low"), [(300, 0.8, 0.935), (100, 0.7, 0.935)])
def test_intervals_hold_the_truth_and_equal_encoders_are_told_apart_rarely(
    items: int, shared: float, low: float
) -> None:
    """Most items are easy or hard for both; independent intervals would be much too wide."""
    generator = np.random.default_rng(0)
    held = found = 0
    runs = 2000
    for _ in range(runs):
        easy = generator.random(items) < 0.7
        is_shared = generator.random((2, items)) < shared
        first, second = np.where(is_shared, easy, generator.random((2, items)) < 0.5)
        result = compare_accuracies(first, second)
        held += result.interval[0] <= 0 <= result.interval[1]
        found += result.p <= 0.05
    assert low <= held / runs <= 0.985
    assert found / runs <= 0.05


def test_holm_adjusts_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, None, 0.9]) == (1.0, None, 1.0)
    assert holm([]) == ()


def test_p_of_a_normal_value() -> None:
    assert normal_p(-1.3, 0.7) == pytest.approx(2 * stats.norm.sf(1.3 / 0.7))
    assert normal_p(1.0, None) is None
    assert normal_p(1.0, math.nan) is None
    assert (normal_p(0.0, 0.0), normal_p(0.1, 0.0)) == (1.0, 0.0)
    assert text_of_p(0.5) == "p = 0.50"
    assert text_of_p(0.00012) == "p = 0.00012"
