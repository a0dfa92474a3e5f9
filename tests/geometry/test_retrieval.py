"""Ranks of partners among candidates, against an order that is found row by row."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from align_uniform.geometry import partner_ranks
from align_uniform.geometry.retrieval import Ranks, ranks_in_blocks
from tests import oracle, rows


def expected(queries: Tensor, candidates: Tensor, partners: Tensor, out: set[tuple[int, int]]) -> Ranks:
    x, y = oracle.numbers(queries), oracle.numbers(candidates)
    nearer, tied = [], []
    for q, partner in enumerate(partners.tolist()):
        others = [c for c in range(len(y)) if c != partner and (q, c) not in out]
        own = np.sum((x[q] - y[partner]) ** 2)
        distances = [np.sum((x[q] - y[c]) ** 2) for c in others]
        nearer.append(sum(d < own and not np.isclose(d, own, rtol=1e-12) for d in distances))
        tied.append(sum(bool(np.isclose(d, own, rtol=1e-12)) for d in distances))
    return Ranks(torch.tensor(nearer), torch.tensor(tied))


@pytest.mark.parametrize("columns", [8192, 3])
@pytest.mark.parametrize("block", [1, 7, 40])
def test_ranks_are_those_of_all_distances(block: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With duplicates of a partner, other partners left out, and candidates in blocks of any size."""
    monkeypatch.setattr("align_uniform.geometry.rows.COLUMNS", columns)
    queries, candidates = rows.normal(23, 5) + 2, rows.normal(40, 5, seed=1) + 2
    candidates[11] = candidates[10]
    partners = torch.arange(23) + 3
    left_out = (torch.tensor([0, 0, 5, 22]), torch.tensor([39, 0, 10, 7]))
    out = set(zip(*(part.tolist() for part in left_out), strict=True))
    wanted = expected(queries, candidates, partners, out)
    found = partner_ranks(queries, candidates, partners, left_out=left_out)
    x, y = queries.double() - 2, candidates.double() - 2
    blocks = ((start, y[start : start + block]) for start in range(0, 40, block))
    by_blocks = ranks_in_blocks(x, y[partners], blocks, partners, left_out)
    for ranks in (found, by_blocks):
        assert ranks.nearer.tolist() == wanted.nearer.tolist()
        assert ranks.tied.tolist() == wanted.tied.tolist()
    assert found.tied.sum() == 2


@given(nearer=st.integers(0, 12), tied=st.integers(0, 5), k=st.integers(1, 15))
def test_ties_count_as_if_they_were_broken_at_random(nearer: int, tied: int, k: int) -> None:
    ranks = Ranks(torch.tensor([nearer]), torch.tensor([tied]))
    places = range(nearer + 1, nearer + tied + 2)
    assert ranks.recall(k).item() == pytest.approx(statistics.fmean(place <= k for place in places))
    assert ranks.reciprocal().item() == pytest.approx(statistics.fmean(1 / place for place in places))


def test_equal_candidates_share_the_first_place() -> None:
    same = torch.ones(4, 3)
    ranks = partner_ranks(same, same, torch.arange(4))
    assert ranks.tied.tolist() == [3] * 4
    assert ranks.recall(1).tolist() == [0.25] * 4


def test_rows_of_any_scale_and_place_are_ranked_alike() -> None:
    x, y = rows.normal(30, 4), rows.normal(30, 4, seed=1)
    one, *others = (
        partner_ranks(x * scale + shift, y * scale + shift, torch.arange(30)).nearer.tolist()
        for scale, shift in itertools.product((1.0, 1e-3), (0.0, 5.0))
    )
    assert others == [one] * 3


def test_what_cannot_be_ranked_is_refused() -> None:
    x = rows.normal(4, 3)
    with pytest.raises(ValueError, match="partners must be a number from 0 to 3"):
        partner_ranks(x, x, torch.tensor([0, 1, 2, 4]))
    with pytest.raises(ValueError, match="partners must be a number from 0 to 3"):
        partner_ranks(x, x, torch.arange(3))
    with pytest.raises(ValueError, match="queries must have the 3 features"):
        partner_ranks(x[:, :2], x, torch.arange(4))
    with pytest.raises(ValueError, match="k must be at least 1"):
        partner_ranks(x, x, torch.arange(4)).recall(0)
