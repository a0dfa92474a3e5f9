"""Tests of the distribution gap of two towers, and of the distance of queries to a corpus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from align_uniform.measuring import between_towers
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.results import Towers
from align_uniform.measuring.subject import subject
from tests import oracle, rows

ONE_TO_ONE = [[i, i] for i in range(80)]


def towers_of(x: Tensor, y: Tensor, pairs: Any = None, **options: Any) -> Towers:
    found = measure(x, y, pairs=pairs or [[0, 0], [1, 1]], **options).towers
    assert found is not None
    return found


def relative(x: Tensor, y: Tensor, *, paired: bool) -> float:
    """Return the squared MMD of centred rows over the potentials within, in numpy, less the bias of means."""
    a, b = (oracle.numbers(z) for z in (x, y))
    halves = [squared_mmd(a[k::2], b[k::2], paired=paired) for k in (0, 1)]
    within = [np.exp(oracle.uniform(less_mean(z))) for z in (a, b)]
    return float((2 * squared_mmd(a, b, paired=paired) - np.mean(halves)) / sum(within))


def squared_mmd(a: oracle.Array, b: oracle.Array, *, paired: bool) -> float:
    return oracle.squared_mmd(less_mean(a), less_mean(b), paired=paired)


def less_mean(z: oracle.Array) -> oracle.Array:
    centred = z - z.mean(0)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def test_the_gap_is_the_squared_mmd_of_the_centred_towers_over_the_potentials_within() -> None:
    x, y = rows.cone(80, 6), normalize(rows.unit(80, 6, seed=1) * torch.linspace(1, 3, 6), dim=-1)
    assert towers_of(x, y).distribution_gap == pytest.approx(relative(x, y, paired=False), rel=1e-9)
    assert towers_of(x, y[:50]).distribution_gap == pytest.approx(relative(x, y[:50], paired=False), rel=1e-9)
    paired = towers_of(x, y, ONE_TO_ONE).distribution_gap
    assert paired == pytest.approx(relative(x, y, paired=True), rel=1e-9)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    shuffled = [[int(order[i]), i] for i in range(80)]
    assert towers_of(x, y[order], [[i, j] for j, i in shuffled]).distribution_gap is not None
    assert towers_of(x, x[order], shuffled).distribution_gap == pytest.approx(0, abs=1e-12)


def test_a_shift_of_the_mean_is_in_the_modality_gap_alone() -> None:
    x = rows.unit(400, 16)
    y = rows.unit(400, 16, seed=1)
    plain, shifted = (
        towers_of(x, normalize(y + far * rows.unit(1, 16, seed=2), dim=-1)) for far in (0.0, 3.0)
    )
    assert shifted.modality_gap > 0.8 > plain.modality_gap
    assert shifted.distribution_gap is not None
    assert shifted.distribution_gap_null is not None
    assert plain.distribution_gap is not None
    assert abs(plain.distribution_gap) < 4 * shifted.distribution_gap_null
    flat = towers_of(x, normalize(y * (torch.arange(16) < 8), dim=-1))
    assert flat.distribution_gap is not None
    assert flat.distribution_gap_null is not None
    assert flat.distribution_gap > 10 * flat.distribution_gap_null


def test_the_null_is_the_deviation_over_towers_of_one_distribution() -> None:
    found = [towers_of(rows.unit(120, 8, seed=2 * i), rows.unit(90, 8, seed=2 * i + 1)) for i in range(25)]
    gaps = np.array([each.distribution_gap for each in found])
    nulls = np.array([each.distribution_gap_null for each in found])
    assert gaps.std() == pytest.approx(nulls.mean(), rel=0.3)
    assert abs(gaps.mean()) < nulls.mean() / 2


def test_queries_and_rows_of_the_corpus_are_compared_with_their_nearest_rows() -> None:
    x, y = rows.unit(60, 5), torch.cat([rows.cone(70, 5), rows.cone(70, 5)[:1]])
    found = towers_of(x, y)
    a, b = oracle.numbers(x), oracle.numbers(y)
    across = np.linalg.norm(a[:, None] - b, axis=2)
    within = np.linalg.norm(b[:, None] - b, axis=2)
    np.fill_diagonal(within, np.inf)
    assert found.query_distance == pytest.approx(across.min(1).mean(), rel=1e-9)
    assert found.corpus_distance == pytest.approx(within.min(1).mean(), rel=1e-9)


def test_errors_of_nearest_distances_hold_in_repeated_samples() -> None:
    """Rows that are each other's nearest are not independent: errors of a mean hold in 82 to 87%."""

    choice = PairChoice([[0, 0], [1, 1]], None, None, True)

    def found(seed: int) -> dict[str, float]:
        x, y = rows.normal(150, 16, seed=seed), rows.normal(250, 16, seed=4000 + seed) + 0.3
        asked = subject(x, y, choice, ids=None, normalize=True, device=None, name=None)
        return between_towers._nearest(asked, seed)

    measured = [found(seed) for seed in range(300)]
    for name in ("query_distance", "corpus_distance"):
        values = torch.tensor([each[name] for each in measured], dtype=torch.float64)
        errors = torch.tensor([each[f"{name}_stderr"] for each in measured], dtype=torch.float64)
        assert 0.92 < float(errors.mean() / values.std()) < 1.25
        assert float(((values - values.mean()).abs() <= 1.96 * errors).double().mean()) > 0.92


def test_samples_estimate_what_all_rows_have(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows.cone(900, 6), rows.unit(1000, 6, seed=1)
    whole = towers_of(x, y)
    monkeypatch.setattr(between_towers, "NEAREST_ROWS", 300)
    monkeypatch.setattr(between_towers, "GAP_ROWS", 300)
    part = towers_of(x, y)
    for name in ("query_distance", "corpus_distance"):
        value, error = getattr(part, name), getattr(part, f"{name}_stderr")
        assert 0 < abs(value - getattr(whole, name)) < 4 * error
    assert part.distribution_gap_rows == 300
    assert part.distribution_gap is not None
    assert part.distribution_gap_null is not None
    assert abs(part.distribution_gap - float(whole.distribution_gap or 0)) < 4 * part.distribution_gap_null


def test_they_are_printed_with_their_references_and_read_again() -> None:
    result = measure(rows.unit(30, 4), rows.cone(40, 4), pairs=[[0, 0], [1, 3]])
    printed = str(result)
    for words in ("distribution gap", "queries to the corpus", "for two towers of one distribution"):
        assert words in printed
    assert Measurement.from_json(result.to_json()).towers == result.towers
    assert measure(rows.unit(30, 4)).towers is None


@pytest.mark.parametrize("matched", [True, False])
def test_the_modality_gap_of_equal_means_is_on_average_its_floor(matched: bool) -> None:
    gaps, floors = [], []
    for seed in range(60):
        x = rows.unit(150, 16, seed=seed)
        y = normalize(x + 0.05 * rows.normal(150, 16, seed=500 + seed), dim=1)
        y = y if matched else normalize(rows.normal(150, 16, seed=900 + seed), dim=1)
        pairs = torch.arange(150).unsqueeze(1).expand(-1, 2)
        if not matched:  # a row of x in two pairs: the towers are two samples
            pairs = torch.cat([pairs, pairs[:1] + torch.tensor([0, 1])])
        towers = measure(x, y, pairs=pairs).towers
        assert towers is not None
        assert towers.modality_gap_floor is not None
        gaps.append(towers.modality_gap**2)
        floors.append(towers.modality_gap_floor**2)
    expected = float(np.mean(floors))
    assert float(np.mean(gaps)) == pytest.approx(expected, rel=0.2)
    assert expected == pytest.approx(0.04 / 150 if matched else 2 / 149, rel=0.15)


def test_the_floor_of_towers_of_which_some_rows_are_matched_counts_these() -> None:
    x, y = rows.unit(30, 8), rows.unit(50, 8, seed=1)
    y[:20] = normalize(x[:20] + 0.1 * y[:20], dim=1)
    towers = measure(x, y, pairs=torch.arange(20).unsqueeze(1).expand(-1, 2)).towers
    assert towers is not None
    a, b = x - x.mean(0), y - y.mean(0)
    squares = a.square().sum() / (30 * 29) + b.square().sum() / (50 * 49)
    shared = (a[:20] * b[:20]).sum() / np.sqrt(30 * 29 * 50 * 49)
    assert towers.modality_gap_floor == pytest.approx(float(squares - 2 * shared) ** 0.5, rel=1e-5)
