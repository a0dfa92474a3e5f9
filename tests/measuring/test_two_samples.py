"""The permutation test: its statistic and p against the definition, its size under equality, its power."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from align_uniform.measuring.two_samples import TwoSamples
from tests import oracle, rows

PAIRED = pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])


def nothing(_: int) -> None:
    pass


def two(n: int, seed: int = 0, *, paired: bool, dim: int = 4) -> tuple[Tensor, Tensor]:
    """Return two samples of one distribution, a cone; paired rows are two noisy views of an item."""
    drawn = rows.normal(3, n, dim, seed=seed) + 0.7
    x, y = (drawn[0] + 0.3 * drawn[1], drawn[0] + 0.3 * drawn[2]) if paired else (drawn[1], drawn[2])
    return torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y, dim=1)


@PAIRED
@pytest.mark.parametrize("t", [2.0, 0.5, 60.0])
def test_the_statistic_is_the_definitions(paired: bool, t: float) -> None:
    x, y = two(9, paired=paired)
    y = y if paired else y[:6]
    expected = oracle.squared_mmd(oracle.numbers(x), oracle.numbers(y), t, paired=paired)
    assert TwoSamples(x, y, t, paired=paired).squared_mmd == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_potentials_that_underflow_are_compared_all_the_same() -> None:
    x, y = 10000 * rows.normal(30, 3), 10000 * rows.normal(30, 3, seed=1)
    x[1] = x[0] + 60  # the nearest rows, which random sides separate in half of all cases
    found = TwoSamples(x, y, 2.0, paired=False).test(99, 0, nothing)
    assert found.squared_mmd == 0
    assert 0.3 < found.p < 0.7


@PAIRED
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_p_is_that_of_all_exchanges(paired: bool, shift: float) -> None:
    x, y = two(7, seed=3, paired=paired)
    y = (y if paired else y[:5]) + shift * torch.eye(4, dtype=torch.float64)[0]
    expected = oracle.permutation_p(oracle.numbers(x), oracle.numbers(y), paired=paired)
    found = TwoSamples(x, y, 2.0, paired=paired).test(4999, 0, nothing)
    assert abs(found.p - expected) < 4 * math.sqrt(expected * (1 - expected) / 4999) + 1e-3
    assert found.p >= 1 / 5000


@PAIRED
def test_equal_samples_have_p_1_whatever_is_exchanged(paired: bool) -> None:
    x, _ = two(20, paired=paired)
    found = TwoSamples(x, x.clone(), 2.0, paired=paired).test(99, 0, nothing)
    if paired:
        assert (found.p, found.squared_mmd, found.null_sd, found.effect) == (1, 0, 0, 0)
    else:  # each row lies on its twin, which exchanges take apart
        assert found.p == 1
        assert found.squared_mmd < 0


def p_values(paired: bool, *, told: bool, runs: int = 400) -> Tensor:
    """Return p under equality, with the exchange that the data have, or with the other one."""
    found = []
    for seed in range(runs):
        x, y = two(24, seed, paired=paired)
        found.append(TwoSamples(x, y, 2.0, paired=told).test(99, seed, nothing).p)
    return torch.tensor(found)


@PAIRED
def test_the_test_rejects_equality_as_often_as_it_says(paired: bool) -> None:
    """Of 400 runs a level of 5% has a standard error of 1.1 points, one of 20% 2 points."""
    p = p_values(paired, told=paired)
    assert 0.02 < float((p <= 0.05).double().mean()) < 0.09
    assert 0.14 < float((p <= 0.20).double().mean()) < 0.26


def test_items_that_are_relabelled_as_if_they_were_different_are_hardly_ever_told_apart() -> None:
    """The i = i terms make the squared MMD smaller, and an exchange of labels takes them apart."""
    p = p_values(True, told=False)
    assert float((p <= 0.20).double().mean()) < 0.02


@PAIRED
def test_the_squared_mmd_is_0_on_average_under_equality(paired: bool) -> None:
    values = torch.tensor(
        [TwoSamples(*two(16, seed, paired=paired), 2.0, paired=paired).squared_mmd for seed in range(400)]
    )
    assert abs(float(values.mean())) < 4 * float(values.std()) / 20
    with_items = torch.tensor(  # the i = i terms would be seen
        [TwoSamples(*two(16, seed, paired=paired), 2.0, paired=False).squared_mmd for seed in range(400)]
    )
    assert (float(with_items.mean()) < -4 * float(with_items.std()) / 20) == paired


@PAIRED
def test_the_spread_of_the_exchanges_is_that_of_samples_under_equality(paired: bool) -> None:
    found = [
        (two_samples.test(49, seed, nothing), two_samples.degenerate_variance((40, 40)))
        for seed in range(200)
        for two_samples in [TwoSamples(*two(40, seed, paired=paired), 2.0, paired=paired)]
    ]
    spread = float(torch.tensor([test.squared_mmd for test, _ in found]).std())
    assert 0.85 < sum(test.null_sd for test, _ in found) / len(found) / spread < 1.15
    assert 0.85 < math.sqrt(sum(variance for _, variance in found) / len(found)) / spread < 1.15


@PAIRED
def test_a_shift_of_the_mean_is_all_of_the_change_and_a_change_of_spread_none(paired: bool) -> None:
    x, y = (rows.normal(300, 4, seed=seed) / 4 for seed in (0, 1))
    y = x + y / 4 if paired else y
    shifted = TwoSamples(x, y + 0.4, 2.0, paired=paired).mean_share()
    wider = TwoSamples(x, 2 * (y - y.mean(0)) + x.mean(0), 2.0, paired=paired).mean_share()
    both = TwoSamples(x, 2 * y + 0.3, 2.0, paired=paired).mean_share()
    assert shifted is not None
    assert wider is not None
    assert both is not None
    assert shifted > 0.95
    assert wider < 0.05
    assert 0.2 < both < 0.95


def test_no_share_of_nothing_is_the_means() -> None:
    x, _ = two(20, paired=True)
    assert TwoSamples(x, x, 2.0, paired=True).mean_share() is None


@given(st.integers(0, 10**6), st.booleans(), st.floats(0.1, 8))
def test_order_side_and_axes_do_not_matter(seed: int, paired: bool, t: float) -> None:
    x, y = two(8, seed, paired=paired)
    y = y if paired else y[:6]
    value = TwoSamples(x, y, t, paired=paired)
    orders = [torch.randperm(len(side), generator=torch.Generator().manual_seed(seed)) for side in (x, y)]
    turned = rows.rotation(4)
    for a, b in (
        (x[orders[0]], y[orders[1]]),
        (y, x),
        (x @ turned + 3, y @ turned + 3),
    ):
        other = TwoSamples(a, b, t, paired=paired)
        assert other.squared_mmd == pytest.approx(value.squared_mmd, rel=1e-6, abs=1e-12)
        sizes = (10, 10) if paired else (10, 9)
        assert other.degenerate_variance(sizes) == pytest.approx(
            value.degenerate_variance(sizes[::-1] if a is y else sizes), rel=1e-6
        )


def test_an_exchange_of_sides_is_as_likely_from_either_side() -> None:
    x, y = two(30, paired=True)
    y = y + 0.05
    there, back = (TwoSamples(*sides, 2.0, paired=True).test(99, 0, nothing) for sides in ((x, y), (y, x)))
    assert there.p == back.p
    assert there.effect == pytest.approx(back.effect)


def test_the_joint_potentials_are_the_definitions() -> None:
    x, y = two(9, paired=True)
    found = TwoSamples(x, y, 2.0, paired=True).joint()
    apart = ~torch.eye(9, dtype=torch.bool)
    a, b = ((-2 * torch.cdist(side, side).square()).exp()[apart] for side in (x, y))
    a, b = a / a.mean() - 1, b / b.mean() - 1
    assert found is not None
    assert vars(found) == pytest.approx(
        {"first": float((a * a).mean()), "second": float((b * b).mean()), "product": float((a * b).mean())}
    )
    assert TwoSamples(x, y[:5], 2.0, paired=False).joint() is None


def test_progress_counts_the_exchanges() -> None:
    counted: list[int] = []
    TwoSamples(*two(8, paired=True), 2.0, paired=True).test(120, 0, counted.append)
    assert sum(counted) == 120
