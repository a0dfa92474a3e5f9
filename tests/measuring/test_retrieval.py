"""Recall and reciprocal ranks of a measurement, against a search that looks at one query at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align_uniform import Measurement, measure
from align_uniform.measuring import retrieval as module
from align_uniform.measuring.answers import Ranking
from tests import oracle, rows


def found(
    queries: np.ndarray, candidates: np.ndarray, pairs: list[tuple[int, int]], out: set[tuple[int, int]]
) -> list[int]:
    """Return the place of the partner of each pair, from 1, among the candidates that are not left out."""
    places = []
    for x, y in pairs:
        distances = np.linalg.norm(candidates - queries[x], axis=1)
        others = [c for c in range(len(candidates)) if c != y and (x, c) not in out]
        places.append(1 + sum(distances[c] < distances[y] for c in others))
    return places


def agrees(ranking: Ranking, places: list[int], candidates: int) -> None:
    assert (ranking.queries, ranking.candidates) == (len(places), candidates)
    for depth in (1, 5, 10):
        share = np.mean([place <= depth for place in places])
        assert getattr(ranking, f"recall_{depth}") == pytest.approx(share)
    assert ranking.mrr == pytest.approx(np.mean([1 / place for place in places]))


def unit(count: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    z = rows.unit(count, 6, seed=seed)
    return z, oracle.numbers(z)


def test_views_are_searched_in_both_directions() -> None:
    (x, wide_x), (y, wide_y) = unit(60), unit(60, seed=1)
    y = torch.nn.functional.normalize(x + y, dim=1)
    wide_y = oracle.numbers(y)
    result = measure(x, y).retrieval
    assert result is not None
    pairs = [(row, row) for row in range(60)]
    agrees(result.forward, found(wide_x, wide_y, pairs, set()), 60)
    agrees(result.backward, found(wide_y, wide_x, pairs, set()), 60)


def test_other_partners_of_a_query_are_no_candidates() -> None:
    """Of a user who clicked ten items, each is looked for without the other nine."""
    (users, wide_users), (items, wide_items) = unit(20), unit(30, seed=1)
    generator = torch.Generator().manual_seed(0)
    pairs = torch.stack(
        [torch.randint(20, (90,), generator=generator), torch.randint(30, (90,), generator=generator)], 1
    )
    listed = [(x, y) for x, y in pairs.tolist()]
    result = measure(users, items, pairs=pairs).retrieval
    assert result is not None
    agrees(result.forward, found(wide_users, wide_items, listed, set(listed)), 30)
    back = [(y, x) for x, y in listed]
    agrees(result.backward, found(wide_items, wide_users, back, set(back)), 20)


def test_pairs_of_one_population_leave_out_the_row_itself_and_both_sides_of_pairs() -> None:
    x, wide = unit(25)
    listed = [(0, 1), (2, 3), (3, 0), (7, 3), (20, 21)]
    out = {pair for x, y in listed for pair in ((x, y), (y, x), (x, x), (y, y))}
    result = measure(x, pairs=listed).retrieval
    assert result is not None
    agrees(result.forward, found(wide, wide, listed, out), 25)
    agrees(result.backward, found(wide, wide, [(y, x) for x, y in listed], out), 25)


def test_rows_of_a_querys_group_are_no_candidates() -> None:
    x, _ = unit(40)
    y = torch.nn.functional.normalize(x + 0.8 * unit(40, seed=1)[0], dim=1)
    groups = torch.arange(40) // 4
    out = {(a, b) for a in range(40) for b in range(40) if a // 4 == b // 4}
    result = measure(x, y, groups=groups).retrieval
    assert result is not None
    places = found(oracle.numbers(x), oracle.numbers(y), [(row, row) for row in range(40)], out)
    agrees(result.forward, places, 40)


def test_entities_are_searched_once() -> None:
    """With ids, the first row of an entity stands for it, on both sides."""
    (users, wide_users), (items, wide_items) = unit(30), unit(30, seed=1)
    user_ids, item_ids = torch.arange(30) // 3, torch.arange(30) % 6
    result = measure(users, items, ids=(user_ids, item_ids)).retrieval
    assert result is not None
    listed = list(zip(user_ids.tolist(), item_ids.tolist(), strict=True))
    agrees(result.forward, found(wide_users[::3], wide_items[:6], listed, set(listed)), 6)


def test_features_alone_and_classes_have_no_partners() -> None:
    x, _ = unit(20)
    assert measure(x).retrieval is None
    assert measure(x, labels=torch.arange(20) // 4).retrieval is None


def test_many_pairs_are_a_sample_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = unit(300)
    y = torch.nn.functional.normalize(x + 0.8 * unit(300, seed=1)[0], dim=1)
    exact = measure(x, y).retrieval
    monkeypatch.setattr(module, "PRODUCTS", 10_000)
    monkeypatch.setattr(module, "SAMPLE", 100)
    sampled = measure(x, y).retrieval
    assert exact is not None
    assert sampled is not None
    assert (sampled.forward.queries, sampled.forward.candidates) == (100, 300)
    assert sampled.forward.mrr_stderr is not None
    assert abs(sampled.forward.mrr - exact.forward.mrr) < 4 * sampled.forward.mrr_stderr


def test_the_error_of_a_perfect_recall_is_not_0() -> None:
    x, _ = unit(100)
    result = measure(x, x + 0).retrieval
    assert result is not None
    assert result.forward.recall_1 == 1
    assert result.forward.recall_1_stderr == pytest.approx((102 * 2 / 104**3) ** 0.5)


def test_errors_are_the_deviation_over_samples() -> None:
    """The pairs are new in every sample; the candidates are the rows of its pairs."""

    def sample(seed: int) -> Measurement:
        x = rows.unit(120, 6, seed=seed)
        return measure(x, x + 0.35 * rows.normal(120, 6, seed=seed + 10**6), top=0)

    found = [result.forward for seed in range(300) if (result := sample(seed).retrieval)]
    for key in ("recall_1", "recall_5", "mrr"):
        values = np.array([getattr(each, key) for each in found])
        errors = np.array([getattr(each, f"{key}_stderr") for each in found])
        assert 0.8 < errors.mean() / values.std(ddof=1) < 1.25, key


def test_differences_are_paired() -> None:
    x, _ = unit(200)
    near, far = (torch.nn.functional.normalize(x + s * unit(200, seed=1)[0], dim=1) for s in (0.8, 0.9))
    a, b = measure(x, near), measure(x, far)
    apart, paired = a.difference(b, paired=False), a.difference(b, paired=True)
    assert apart.mrr_stderr is not None
    assert paired.mrr_stderr is not None
    assert 0 < paired.mrr_stderr < apart.mrr_stderr / 1.5
    assert apart.mrr == paired.mrr
