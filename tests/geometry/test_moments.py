"""Moments of one set or of two, against all pairs of rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import spatial  # type: ignore[import-untyped]  # it has no annotations

from align_uniform import align_loss
from align_uniform.geometry import Moments, cross_mean_squared_distance, mean_cosine, modality_gap
from tests import rows
from tests.oracle import numbers

EYE = torch.eye(3)


def test_two_sets_are_compared_by_all_their_pairs() -> None:
    x, y = rows.cone(20, 5), 2 * rows.normal(30, 5, seed=1)
    a, b = Moments.of(x), Moments.of(y)
    expected = spatial.distance.cdist(numbers(x), numbers(y), "sqeuclidean").mean()
    assert cross_mean_squared_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert modality_gap(a, b) == pytest.approx(
        np.linalg.norm(numbers(x).mean(0) - numbers(y).mean(0)), rel=1e-12
    )


def test_the_pairs_that_are_not_positive_follow_from_all_pairs() -> None:
    x, y = rows.unit(20, 5), rows.unit(20, 5, seed=1)
    squared = spatial.distance.cdist(numbers(x), numbers(y), "sqeuclidean")
    everyone = cross_mean_squared_distance(Moments.of(x), Moments.of(y))
    others = (20 * everyone - align_loss(x, y).item()) / 19
    assert others == pytest.approx(squared[~np.eye(20, dtype=bool)].mean(), rel=1e-12)


def test_only_moments_are_added_to_moments() -> None:
    with pytest.raises(TypeError):
        Moments.of(EYE) + 1  # type: ignore[operator]


def test_no_rows_are_a_part_like_any_other() -> None:
    assert torch.equal((Moments.of(EYE[:0]) + Moments.of(EYE)).second, Moments.of(EYE).second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Moments.of(torch.zeros(2, 3, 4)),
            "z must be [N, m], got shape [2, 3, 4]; use z.flatten(0, -2)",
        ),
        (lambda: Moments.of(torch.zeros(2, 3).long()), "z must be real floating point, got torch.int64"),
        (lambda: Moments.of(EYE / 0), "z must be finite, got NaN or infinity; leave those rows out"),
        (
            lambda: Moments.of(EYE) + Moments.of(EYE[:, :2]),
            "both must have the same number of features, got 3 and 2",
        ),
        (lambda: mean_cosine(Moments.of(EYE[:1])), "moments must be of at least 2 rows, got 1"),
        (
            lambda: modality_gap(Moments.of(EYE), Moments.of(EYE[:0])),
            "moments must be of at least 1 row, got 0",
        ),
        (
            lambda: cross_mean_squared_distance(Moments.of(EYE), Moments.of(EYE[:, :2])),
            "the same number of features",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_a_remedy(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
