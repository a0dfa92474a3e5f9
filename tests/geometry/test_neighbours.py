"""Nearest neighbours against a search tree and against all distances, and KoLeo."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy import spatial, stats  # type: ignore[import-untyped]  # it has no annotations

from align_uniform.geometry import koleo, nearest_neighbours, occurrences, skewness
from align_uniform.geometry.neighbours import majority, nearest_in_blocks
from tests import rows
from tests.oracle import numbers

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
EYE = torch.eye(3)


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 4, 5, 13])
def test_nearest_neighbours_equal_a_search_tree(n: int, dtype: torch.dtype, device: str) -> None:
    x = (5 + rows.normal(n, 3)).to(device, dtype)
    queries = (5 + rows.normal(6, 3, seed=1)).to(device, dtype)
    tree = spatial.cKDTree(numbers(x))
    for found, (distances, indices) in (
        (nearest_neighbours(x), [part[:, 1] for part in tree.query(numbers(x), k=2)]),
        (nearest_neighbours(x, queries), tree.query(numbers(queries))),
    ):
        np.testing.assert_allclose(numbers(found[0]), distances, rtol=1e-12 if device != "mps" else 1e-5)
        assert found[1].tolist() == indices.tolist()


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_near_duplicates_keep_the_digits_of_their_distance(offset: float) -> None:
    x = rows.unit(3000, 32) + offset
    x[2500] = x[3]
    x[2501] = x[4]
    x[2501, 0] += 2**-20
    distances, neighbours = nearest_neighbours(x)
    assert distances[[3, 2500]].tolist() == [0, 0]
    assert neighbours[[3, 2500, 4, 2501]].tolist() == [2500, 3, 2501, 4]
    assert distances[4].item() == pytest.approx(2**-20, rel=1e-6)


@pytest.mark.parametrize("by", ["distance", "product"])
@pytest.mark.parametrize("size", [1, 4, 30])
@pytest.mark.parametrize("k", [1, 3, 29])
def test_the_k_nearest_come_in_order_whatever_the_blocks(
    by: Literal["distance", "product"], size: int, k: int
) -> None:
    z, queries = 2 + rows.normal(30, 4), torch.tensor([7, 0, 29, 11])
    x, q = numbers(z), numbers(z[queries])[:, None]
    near = -((q - x) ** 2).sum(2) if by == "distance" else (q * x).sum(2)
    order = np.argsort(-near, kind="stable")
    blocks = [(start, z[start : start + size]) for start in range(0, 30, size)]
    proximities, found = nearest_in_blocks(z[queries], blocks, k, by=by)
    assert found.tolist() == order[:, :k].tolist()
    lifted = proximities if by == "product" else 2 * proximities - z[queries].square().sum(1, keepdim=True)
    np.testing.assert_allclose(lifted.numpy(), np.take_along_axis(near, order[:, :k], 1), atol=1e-12)
    _, found = nearest_in_blocks(z[queries], blocks, k, by=by, own=queries)
    others = zip(queries.tolist(), order.tolist(), strict=True)
    assert found.tolist() == [[row for row in line if row != query][:k] for query, line in others]


def test_a_block_is_searched_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    x, queries = rows.normal(100, 8), rows.normal(10, 8, seed=1)
    whole = nearest_in_blocks(queries, [(0, x)], 5)
    monkeypatch.setattr("align_uniform.geometry.rows.COLUMNS", 7)
    for blocks in ([(0, x)], [(0, x[:50]), (50, x[50:])]):
        proximities, numbers = nearest_in_blocks(queries, blocks, 5)
        assert torch.equal(numbers, whole[1])
        torch.testing.assert_close(proximities, whole[0])


def test_of_equally_near_rows_the_first_is_the_nearest() -> None:
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    for size in (1, 2, 4):
        blocks = [(start, z[start : start + size]) for start in range(0, 4, size)]
        assert nearest_in_blocks(z[1:2], blocks)[1].tolist() == [[1]]
        assert nearest_in_blocks(z[1:2], blocks, own=torch.tensor([1]))[1].tolist() == [[2]]


def test_koleo_is_the_mean_log_distance_with_a_floor_for_duplicates() -> None:
    z = rows.unit(200, 8)
    distances = spatial.distance.cdist(numbers(z), numbers(z))
    np.fill_diagonal(distances, np.inf)
    assert koleo(nearest_neighbours(z)[0]) == pytest.approx(-np.log(distances.min(1)).mean(), rel=1e-10)
    assert koleo(torch.tensor([0.0, 1.0]), eps=1e-4) == pytest.approx(-math.log(1e-4) / 2)
    assert koleo(torch.tensor([0.5], dtype=torch.float16)) == pytest.approx(math.log(2))


def test_koleo_of_uniform_rows_rises_with_their_number_as_documented() -> None:
    few, many = (koleo(nearest_neighbours(rows.unit(n, 3))[0]) for n in (250, 2000))
    assert many - few == pytest.approx(math.log(8) / 2, abs=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest_neighbours(EYE[:1]), "x must have at least 2 rows, got 1"),
        (lambda: nearest_neighbours(EYE[:0], EYE), "x must have at least 1 row, got 0"),
        (
            lambda: nearest_neighbours(EYE, EYE[:, :2]),
            "queries must have the 3 features of x, got shape [3, 2]",
        ),
        (lambda: koleo(torch.zeros(0)), "at least one distance, [N], got torch.float32 of shape [0]"),
        (lambda: koleo(torch.ones(2), eps=0), "eps must be a finite number above 0, got 0"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_a_remedy(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


# ----------------------------------------------------------------------------------------------------- hubs


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 4])
def test_occurrences_count_the_neighbours_that_a_search_tree_finds(k: int, dtype: torch.dtype) -> None:
    x = (5 + rows.normal(40, 3)).to(dtype)
    found = spatial.cKDTree(numbers(x)).query(numbers(x), k=k + 1)[1][:, 1:]
    assert occurrences(x, k).tolist() == np.bincount(found.ravel(), minlength=40).tolist()


def test_rows_that_are_equally_near_share_the_places() -> None:
    assert occurrences(torch.eye(12), 10).tolist() == pytest.approx([10] * 12)
    x = torch.tensor([[0.0], [1.0], [-1.0], [9.0]])
    assert occurrences(x, 1).tolist() == [2, 1.5, 0.5, 0]
    same = torch.cat([torch.zeros(6, 2), torch.ones(6, 2)])
    assert occurrences(same, 2).tolist() == pytest.approx([2] * 12)


def test_the_skewness_is_that_of_scipy() -> None:
    values = rows.normal(50).exp()
    assert skewness(values) == pytest.approx(stats.skew(values.numpy()))
    assert skewness(torch.ones(5)) == 0


def test_hubs_need_more_rows_than_neighbours() -> None:
    with pytest.raises(ValueError, match="a row needs 10 others to have 10 neighbours"):
        occurrences(torch.eye(10))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        occurrences(torch.eye(3), 0)


def test_the_commonest_label_wins_and_the_first_of_equals() -> None:
    labels = torch.tensor([[1, 2, 2, 0, 0], [3, 1, 1, 2, 1], [5, -1, -1, -1, -1], [-1, -1, -1, -1, -1]])
    assert majority(labels).tolist() == [2, 1, 5, -1]


def test_queries_do_not_find_rows_of_their_group() -> None:
    x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    groups = torch.tensor([0, 0, 1, 1])
    blocks = ((start, x[start : start + 3]) for start in (0, 3))
    proximities, numbers = nearest_in_blocks(x, blocks, 3, groups=(groups, groups))
    assert numbers[:, :2].tolist() == [[2, 3], [2, 3], [1, 0], [1, 0]]
    assert bool((proximities[:, 2] == -torch.inf).all())
