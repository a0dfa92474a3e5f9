"""Positive pairs that are chosen by a score."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align_uniform import align_loss, measure, uniform_loss
from tests.measuring.examples import X, close, mean_square


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
