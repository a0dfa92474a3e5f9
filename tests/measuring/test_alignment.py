"""Alignment of two views, of many, and within classes, against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from align_uniform import align_loss, measure, uniform_loss
from align_uniform.geometry import ClassSums, Moments, explained_variance, permuted_tolerance
from tests import oracle, rows
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


def test_far_pairs_are_farther_apart_than_half_of_all_pairs_of_random_rows() -> None:
    x = rows.unit(200, 16)
    y = F.normalize(x + 0.3 * rows.unit(200, 16, seed=1), dim=1)
    y[:60] = y[:60].roll(1, 0)
    align = measure(x, y).align
    assert align is not None
    apart = torch.cdist(x, y)[~torch.eye(200, dtype=torch.bool)].median()
    close(align.far, ((x - y).norm(dim=1) > apart).double().mean(), tolerance=0.1)
    assert align.far == pytest.approx(0.15, abs=0.03)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    shuffled = measure(x, pairs=torch.stack([order[:100], order[100:]], 1)).align
    assert shuffled is not None
    assert shuffled.far == pytest.approx(0.5, abs=0.12)
    alone = measure(x, pairs=[[3, 4]]).align
    assert alone is not None
    assert alone.far is None


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
    assert result.align.far is None
    codes = torch.tensor([0, 0, 1] * 13 + [2])
    sums = ClassSums.of(X, codes)
    mean, deviation = permuted_tolerance(sums, Moments.of(X))
    close(result.tolerance.z, (result.tolerance.value - mean) / deviation)
    close(result.tolerance.explained, explained_variance(sums) or 0)


def test_classes_have_no_alignment_of_another_alpha() -> None:
    labels = [number % 3 for number in range(40)]
    with pytest.raises(ValueError, match=r"alpha must be 2 for classes.*got 1; leave it out\."):
        measure(X, labels=labels, alpha=1)
    of_pairs = measure(X, X.roll(1, 0), labels=labels, alpha=1)  # alpha is of the pairs
    assert of_pairs.align is not None
    assert of_pairs.align.of == "two views"


def test_labels_of_one_class_and_rows_that_are_all_equal_have_no_z() -> None:
    for found in (
        measure(X, labels=["a"] * 40),
        measure(torch.ones(40, 6), labels=["a", "b"] * 20),
        measure(X, labels=["a", "b"] * 20, normalize=False),
    ):
        assert found.tolerance is not None
        assert found.tolerance.z is None


def test_labels_beside_views_leave_alignment_to_the_views() -> None:
    result = measure(X, Y, labels=np.arange(40) // 4)
    assert result.align
    assert result.align.of == "two views"
    assert result.tolerance


def test_the_distance_of_a_row_to_its_partners_is_averaged_over_all_other_views() -> None:
    views = torch.stack([X, Y, F.normalize(X + 2 * Y, dim=1)])
    found = measure(views)
    assert found.details is not None
    (sample,) = found.details.samples
    expected = ((views[0] - views[1]).norm(dim=1) + (views[0] - views[2]).norm(dim=1)) / 2
    torch.testing.assert_close(sample.distances, expected[sample.numbers])


def test_labels_of_dependent_rows_are_as_close_as_chance_where_they_are_drawn_for_whole_groups() -> None:
    """Crops of images, whose classes were drawn at random: each image has one class."""
    found = []
    for seed in range(40):
        images = rows.unit(80, 16, seed=seed).repeat_interleave(4, 0)
        crops = F.normalize(images + 0.1 * rows.normal(320, 16, seed=1000 + seed), dim=1)
        classes = torch.randint(5, (80,), generator=torch.Generator().manual_seed(seed))
        tolerance = measure(
            crops, labels=classes.repeat_interleave(4), groups=torch.arange(80).repeat_interleave(4)
        ).tolerance
        assert tolerance is not None
        assert tolerance.z is not None
        found.append(tolerance.z)
    z = torch.tensor(found)
    assert abs(float(z.mean())) < 0.6
    assert 0.7 < float(z.std()) < 1.4


def test_classes_of_groups_are_found_where_they_show() -> None:
    classes = torch.arange(60) % 3
    images = F.normalize(rows.unit(60, 16) + rows.unit(3, 16, seed=1)[classes], dim=1)
    crops = images.repeat_interleave(2, 0) + 0.05 * rows.normal(120, 16, seed=2)
    tolerance = measure(
        crops, labels=classes.repeat_interleave(2), groups=torch.arange(60).repeat_interleave(2)
    ).tolerance
    assert tolerance is not None
    assert tolerance.z is not None
    assert tolerance.z > 10


def test_groups_of_one_row_have_the_z_of_rows_and_groups_of_several_classes_have_none() -> None:
    labels, numbers = torch.arange(40) % 4, torch.arange(40)
    plain = measure(X, labels=labels).tolerance
    grouped, mixed = (
        measure(X, labels=labels, groups=groups).tolerance for groups in (numbers, numbers // 2)
    )
    repeated = measure(X, labels=labels, ids=numbers // 2).tolerance
    assert plain is not None
    assert grouped is not None
    assert plain.z == pytest.approx(grouped.z)
    assert mixed is not None
    assert repeated is not None
    assert mixed.z is repeated.z is None
