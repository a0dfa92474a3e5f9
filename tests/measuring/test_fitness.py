"""Whether an embedding is fit for search."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from align_uniform import measure
from tests import rows


@pytest.mark.parametrize("count", [10, 200])
def test_a_search_that_finds_any_row_of_a_place_is_not_fit_however_few_the_candidates(count: int) -> None:
    """Rows of two places: the first ten candidates are all there are, or ten of a hundred alike."""
    places = rows.unit(2, 16)[torch.arange(count) % 2]
    x, y = (normalize(places + 0.05 * rows.normal(count, 16, seed=seed), dim=1) for seed in (1, 2))
    assert measure(x, y).fitness.answer == "not fit for search"


def test_few_candidates_are_fit_where_partners_come_first() -> None:
    x = rows.unit(20, 16)
    assert measure(x, x + 0.05 * rows.normal(20, 16, seed=1)).fitness.answer == "fit for search"
