"""Warnings about errors that little carries: each must come, and must not come where nothing is wrong."""

from __future__ import annotations

import pytest
import torch

from align_uniform import measure
from tests import rows


def tight_place(tight: int, count: int) -> torch.Tensor:
    """Uniform rows in 16 dimensions, a few of which lie at one place."""
    z = rows.unit(count, 16)
    z[:tight] = torch.eye(16)[0] + 0.005 * rows.normal(tight, 16)
    return z


@pytest.mark.parametrize("tight", [2, 3, 5, 10])
def test_a_rare_place_with_a_few_rows_is_warned_of(tight: int) -> None:
    """Another sample of the law that 2% of 256 rows lie at one place has 10 such rows, or none."""
    (warning,) = measure(tight_place(tight, 256)).warnings
    assert "the error of the uniformity of features" in warning
    assert "may be too small" in warning


@pytest.mark.parametrize(("tight", "count"), [(0, 256), (2, 4000)])
def test_rows_without_a_place_that_matters_are_not_warned_of(tight: int, count: int) -> None:
    """A single pair among 4,000 rows changes the mean by less than its error, whatever its place is."""
    assert measure(tight_place(tight, count)).warnings == ()


def test_rows_of_a_smooth_curve_have_no_rare_places() -> None:
    assert measure(rows.unit(300, 2)).warnings == ()


@pytest.mark.parametrize(
    ("sizes", "counts_as"),
    [
        ([5] * 50, "50"),
        ([2] * 25 + [8] * 25, "36.8"),
        ([1] * 100 + [50], "8.65"),
    ],
)
def test_few_or_unequal_groups_are_warned_of(sizes: list[int], counts_as: str) -> None:
    groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    warnings = measure(rows.unit(len(groups), 16), groups=groups).warnings
    assert f"all errors come from {len(sizes)} groups, which count as {counts_as} " in warnings[0]


def test_few_rows_are_warned_of() -> None:
    (warning,) = measure(rows.unit(99, 16)).warnings
    assert warning.startswith("all errors come from 99 rows or items, and may be too small by a tenth.")
    assert measure(rows.unit(100, 16)).warnings == ()


def test_groups_that_are_enough_are_not_warned_of() -> None:
    groups = torch.arange(100).repeat_interleave(2)
    assert measure(rows.unit(200, 16), groups=groups).warnings == ()


def test_views_share_a_warning() -> None:
    """Each of five views is uniform, and at t = 20 few pairs decide its uniformity."""
    views = torch.stack([rows.unit(256, 16, seed=seed) for seed in range(5)])
    (warning,) = measure(views, t=20).warnings
    assert warning.startswith(
        "at t = 20 the error of the uniformity of view 0, view 1 and 3 more rests on effectively"
    )
