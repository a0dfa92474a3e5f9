"""Positive pairs that are chosen by a score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from align_uniform import align_loss, measure, uniform_loss
from tests.measuring.examples import X, close, mean_square
from tests.rows import normal, unit


@pytest.mark.parametrize(
    ("strict", "of", "expected"),
    [(True, "pairs with score > 4", [2]), (False, "pairs with score >= 4", [1, 2])],
)
def test_scored_pairs_count_above_a_threshold(strict: bool, of: str, expected: list[int]) -> None:
    pairs = np.array([[0, 1], [2, 3], [4, 9]])
    result = measure(X, pairs=pairs, scores=[1, 4, 5], threshold=4, strict=strict)
    assert result.align
    x, y = X[pairs[expected, 0]], X[pairs[expected, 1]]
    close(result.align.value, align_loss(x, y))
    assert (result.align.of, result.align.pairs) == (of, len(expected))
    is_pair = torch.eye(40, dtype=torch.bool)
    for i, j in pairs[expected].tolist():
        is_pair[i, j] = is_pair[j, i] = True
    close(result.align.relative, (x - y).square().sum(1).mean() / mean_square(X, X, is_pair))
    close(result.uniform.value, uniform_loss(X))


def test_without_any_pair_the_remedy_suits_what_was_passed() -> None:
    none = torch.empty(0, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="got none of pairs; pass the numbers of two rows"):
        measure(X, pairs=none)
    with pytest.raises(ValueError, match="got none of pairs with score > 9; lower the threshold"):
        measure(X, pairs=[[0, 1]], scores=[5], threshold=9)


def test_far_pairs_of_classes_are_compared_with_rows_of_different_classes() -> None:
    classes = torch.tensor([0] * 70 + [1] * 30)
    x = F.normalize(0.6 * normal(100, 32) + 4 * torch.eye(32, dtype=torch.float64)[classes], dim=1)
    pairs = torch.nonzero((classes[:, None] == classes).triu(1))
    found = measure(x, pairs=pairs)
    assert found.align
    assert found.align.far == 0
    assert "wrong pairs" not in {finding.name for finding in found.findings}
    of_one_class = measure(x[:70], pairs=torch.triu_indices(70, 70, 1).T)
    assert of_one_class.align
    assert of_one_class.align.far is None  # all rows are pairs


def test_far_pairs_of_groups_are_compared_with_rows_of_different_groups() -> None:
    """Crops of one image lie together: half of random rows, most of which are of one image, are near."""
    groups = (torch.arange(90) >= 80).long()
    images = 2 * torch.eye(32, dtype=torch.float64)[groups]
    x, y = (F.normalize(images + 0.3 * normal(90, 32, seed=seed), dim=1) for seed in (0, 1))
    found, alone = measure(x, y, groups=groups).align, measure(x, y).align
    assert found
    assert found.far == 0
    assert alone
    assert alone.far is not None
    assert alone.far > 0.2
    pairs = torch.stack([torch.arange(90), torch.arange(90).roll(1)])
    one_population = measure(x, pairs=pairs.T, groups=groups).align
    assert one_population
    assert one_population.far is not None
    assert one_population.far <= 2 / 90  # two pairs are of both images


@pytest.mark.parametrize("jitter", [0.0, 0.01])
def test_rows_of_an_entity_are_no_other_pairs(jitter: float) -> None:
    u = unit(5, 8)
    v = F.normalize(u + 0.2 * unit(5, 8, seed=1), dim=1)
    rows = torch.tensor([0] * 40 + [1, 2, 2, 3, 4])
    clicks = torch.stack([rows, rows.roll(1)], 1)
    x, y = u[rows] + jitter * normal(45, 8, seed=2), v[rows.roll(1)] + jitter * normal(45, 8, seed=3)
    expected = measure(u, v, pairs=clicks).align
    found = measure(x, y, ids=(rows, rows.roll(1))).align
    assert expected
    assert found
    assert found.relative == pytest.approx(expected.relative, rel=1e-9 if not jitter else 0.2)
    assert found.relative_stderr == pytest.approx(expected.relative_stderr, rel=1e-9 if not jitter else 0.2)


def test_two_rows_of_one_entity_are_no_pair_to_leave_out() -> None:
    u, ids = unit(6, 8), [0, 0, 1, 2, 3, 4, 5]
    found = measure(u[ids], pairs=[[0, 1], [2, 3]], ids=ids).align
    assert found
    apart = torch.cdist(u, u).square()
    others = (apart.triu(1).sum() - apart[1, 2]) / 14
    assert found.relative == pytest.approx(float(apart[1, 2] / 2 / others))
