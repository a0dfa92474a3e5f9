"""Milestones in proportion to the number of epochs."""

from __future__ import annotations

import pytest

from align_uniform.recipes.milestones import scaled


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(200, (155, 170, 185)), (400, (310, 340, 370)), (40, (31, 34, 37)), (5, (4,)), (1, ())],
)
def test_milestones_keep_their_place_in_a_run_of_any_length(epochs: int, expected: tuple[int, ...]) -> None:
    assert scaled((155, 170, 185), of=200, epochs=epochs) == expected
