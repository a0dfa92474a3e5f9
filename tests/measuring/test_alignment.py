"""Alignment of two views, of many, and within classes, against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from align_uniform import align_loss, measure, uniform_loss
from tests import oracle
from tests.measuring.examples import X, Y, close, mean_square


@pytest.mark.parametrize("alpha", [1, 2, 3.5])
def test_two_views_are_pairs_row_by_row(alpha: float) -> None:
    result = measure(X, Y, alpha=alpha)
    assert result.align
    close(result.align.value, oracle.align(oracle.numbers(X), oracle.numbers(Y), alpha))
    distances = torch.linalg.vector_norm(X - Y, dim=1).pow(alpha)
    close(result.align.stderr, distances.std() / 40**0.5)
    close(
        result.align.relative,
        (X - Y).square().sum(1).mean() / mean_square(X, Y, torch.eye(40, dtype=torch.bool)),
    )
    close(result.uniform.value, (uniform_loss(X) + uniform_loss(Y)) / 2)
    assert result.uniform.by_population == pytest.approx((float(uniform_loss(X)), float(uniform_loss(Y))))
    assert (result.align.pairs, result.align.of) == (40, "two views")


def test_many_views_are_pairs_with_each_other() -> None:
    views = torch.stack([X, Y, F.normalize(X + Y, dim=1)])
    result = measure(views)
    assert result.align
    couples = [(views[0], views[1]), (views[0], views[2]), (views[1], views[2])]
    close(result.align.value, sum(align_loss(x, y) for x, y in couples) / 3)
    per_item = torch.stack([(x - y).square().sum(1) for x, y in couples]).mean(0)
    close(result.align.stderr, per_item.std() / 40**0.5)
    close(result.uniform.value, uniform_loss(views).mean())
    assert (result.align.pairs, result.align.of, result.n) == (120, "3 views", 40)


def test_labels_give_alignment_and_tolerance_within_classes() -> None:
    labels = [*"aab" * 13, "alone"]
    same = torch.tensor([[a == b for b in labels] for a in labels])
    pairs = same & ~torch.eye(40, dtype=torch.bool)
    result = measure(X, labels=labels)
    assert result.align
    assert result.tolerance
    close(result.align.value, torch.cdist(X, X).square()[pairs].mean())
    close(result.align.relative, result.align.value / mean_square(X, X, same))
    close(result.tolerance.value, (X @ X.T)[pairs].mean())
    assert (result.align.of, result.align.pairs) == ("same class", int(pairs.sum()) // 2)
    assert (result.tolerance.classes, result.tolerance.skipped) == (2, 1)
    assert measure(X, labels=labels, alpha=1).align is None  # no closed form: tolerance alone is given


def test_labels_beside_views_leave_alignment_to_the_views() -> None:
    result = measure(X, Y, labels=np.arange(40) // 4)
    assert result.align
    assert result.align.of == "two views"
    assert result.tolerance
