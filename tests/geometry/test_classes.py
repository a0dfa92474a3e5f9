"""Sums of classes against all pairs of rows of a class, and the error of tolerance."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from align_uniform.geometry import (
    ClassSums,
    Moments,
    class_alignment,
    explained_variance,
    permuted_tolerance,
    tolerance,
    tolerance_stderr,
    within_class_products,
)
from align_uniform.measuring.results import NORMAL_95
from tests import rows
from tests.oracle import Array, numbers

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LABELS = torch.tensor([0, 2, 0, 5, 2, 2, 0, 3, 0, 5, 2, 2])  # class 3 has one row; 1 and 4 have none
EYE = torch.eye(3)
SUMS = ClassSums.of(EYE, torch.tensor([0, 0, 1]))


def same_class_pairs(labels: Tensor) -> list[tuple[int, int]]:
    n = len(labels)
    return [(i, j) for i in range(n) for j in range(n) if i != j and labels[i] == labels[j]]


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("z", [rows.unit(12, 4), 2 + rows.normal(12, 4)], ids=["sphere", "normal"])
def test_the_measures_of_classes_are_means_over_pairs_of_a_class(z: Tensor) -> None:
    sums, x, pairs = ClassSums.of(z, LABELS), numbers(z), same_class_pairs(LABELS)
    assert (sums.pairs, sums.singletons) == (len(pairs), 1)
    assert tolerance(sums) == pytest.approx(np.mean([x[i] @ x[j] for i, j in pairs]), rel=1e-12)
    assert class_alignment(sums) == pytest.approx(
        np.mean([((x[i] - x[j]) ** 2).sum() for i, j in pairs]), rel=1e-12
    )
    expected = [sum(float(x[i] @ x[j]) for k, j in pairs if k == i) for i in range(12)]
    np.testing.assert_allclose(within_class_products(z, LABELS, sums), expected, rtol=1e-11, atol=1e-12)


def test_for_unit_rows_class_alignment_is_2_less_twice_the_tolerance() -> None:
    sums = ClassSums.of(rows.unit(12, 4), LABELS)
    assert class_alignment(sums) == pytest.approx(2 - 2 * tolerance(sums), rel=1e-12)


@given(cuts=st.lists(st.integers(0, 12), max_size=4), seed=st.integers(0, 2**20))
def test_class_sums_of_parts_give_the_measures_of_the_whole(cuts: list[int], seed: int) -> None:
    z = rows.normal(12, 4, seed=seed)
    parts = list(zip(z.tensor_split(sorted(cuts)), LABELS.tensor_split(sorted(cuts)), strict=True))
    whole = ClassSums.of(z, LABELS)
    sums = ClassSums.of(*parts[0])
    for part in parts[1:]:
        sums = ClassSums.of(*part) + sums
    assert torch.equal(sums.counts, whole.counts)
    torch.testing.assert_close(sums.sums, whole.sums)
    assert tolerance(sums) == pytest.approx(tolerance(whole), rel=1e-9, abs=1e-12)
    assert class_alignment(sums) == pytest.approx(class_alignment(whole), rel=1e-9)
    products = torch.cat([within_class_products(*part, sums) for part in parts])
    torch.testing.assert_close(products, within_class_products(z, LABELS, whole))


@given(seed=st.integers(0, 2**20))
def test_the_measures_of_classes_do_not_change_under_rotation_or_renaming(seed: int) -> None:
    z = rows.normal(12, 4, seed=seed)
    before, after = ClassSums.of(z, LABELS), ClassSums.of(z @ rows.rotation(4), (7 - LABELS).to(torch.int16))
    assert tolerance(after) == pytest.approx(tolerance(before), rel=1e-9, abs=1e-12)
    assert class_alignment(after) == pytest.approx(class_alignment(before), rel=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_class_sums_of_every_dtype_are_float64(dtype: torch.dtype, device: str) -> None:
    z, labels = rows.unit(12, 4).to(device, dtype), LABELS.to(device)
    sums, wide = ClassSums.of(z, labels), ClassSums.of(z.cpu().double(), LABELS)
    assert sums.sums.dtype == sums.squares.dtype == torch.float64
    assert tolerance(sums) == pytest.approx(tolerance(wide), rel=1e-12)
    assert within_class_products(z, labels, sums).dtype == torch.float64


def jackknife_stderr(x: Array, labels: Array) -> float:
    """Leave one row out at a time; each class mean keeps its weight in the pool."""
    variance, pairs = 0.0, 0
    for c in np.unique(labels):
        members = x[labels == c]
        n = len(members)
        pairs += n * (n - 1)
        if n < 3:
            continue
        gram = members @ members.T
        means = []
        for i in range(n):
            kept = np.delete(np.delete(gram, i, 0), i, 1)
            means.append((kept.sum() - np.trace(kept)) / ((n - 1) * (n - 2)))
        variance += (n * (n - 1)) ** 2 * (n - 1) / n * ((np.array(means) - np.mean(means)) ** 2).sum()
    return math.sqrt(variance) / pairs


def test_the_standard_error_of_tolerance_is_the_jackknife_of_each_class() -> None:
    z = rows.unit(12, 4)
    sums = ClassSums.of(z, LABELS)
    error = tolerance_stderr(within_class_products(z, LABELS, sums), LABELS, sums)
    assert error == pytest.approx(jackknife_stderr(numbers(z), LABELS.numpy()), rel=1e-10)


def test_classes_of_two_add_the_variance_of_their_cosines() -> None:
    z, labels = rows.unit(12, 4), torch.arange(6).repeat_interleave(2)
    sums = ClassSums.of(z, labels)
    cosines = (numbers(z)[::2] * numbers(z)[1::2]).sum(1)
    error = tolerance_stderr(within_class_products(z, labels, sums), labels, sums)
    assert error == pytest.approx(cosines.std(ddof=1) / math.sqrt(6), rel=1e-10)


@pytest.mark.parametrize(
    ("classes", "size", "most"), [(10, 10, 0.98), (10, 30, 0.98), (50, 2, 1), (20, 5, 1)]
)
def test_the_interval_of_tolerance_covers_the_truth(classes: int, size: int, most: float) -> None:
    """Arcs of the circle as classes: the mean of a uniform arc of half-width w has length sin(w)/w."""
    widths = torch.linspace(0.2, 2, classes, dtype=torch.float64)
    truth = (widths.sin() / widths).square().mean().item()
    labels = torch.arange(classes).repeat_interleave(size)
    noise = (
        2 * torch.rand(600, classes, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        - 1
    )
    angles = (torch.arange(classes)[:, None] + widths[:, None] * noise).flatten(1)
    covered = 0
    for z in torch.stack([angles.cos(), angles.sin()], -1):
        sums = ClassSums.of(z, labels)
        error = tolerance_stderr(within_class_products(z, labels, sums), labels, sums)
        covered += abs(tolerance(sums) - truth) <= NORMAL_95 * error
    assert 0.92 <= covered / 600 <= most


def test_only_class_sums_are_added_to_class_sums() -> None:
    with pytest.raises(TypeError):
        SUMS + Moments.of(EYE)  # type: ignore[operator]


def test_no_rows_are_a_part_like_any_other() -> None:
    empty = ClassSums.of(EYE[:0], torch.arange(0))
    assert torch.equal((empty + SUMS).sums, SUMS.sums)
    assert within_class_products(EYE[:0], torch.arange(0), SUMS).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ClassSums.of(EYE, torch.tensor([0, 1])),
            "labels must hold one class for each of the 3 rows",
        ),
        (lambda: ClassSums.of(EYE, torch.tensor([0, -1, 1])), "labels must be at least 0, got -1"),
        (
            lambda: ClassSums.of(EYE, torch.zeros(3)),
            "labels must be a tensor of whole numbers, got torch.float32",
        ),
        (lambda: ClassSums.of(EYE, [0, 1, 1]), "labels must be a tensor of whole numbers, got list"),  # type: ignore[arg-type]
        (
            lambda: SUMS + ClassSums.of(EYE[:, :2], torch.tensor([0, 0, 1])),
            "the same number of features, got 3 and 2",
        ),
        (lambda: tolerance(ClassSums.of(EYE, torch.arange(3))), "got 3 rows of which no two share a class"),
        (
            lambda: class_alignment(ClassSums.of(EYE[:0], torch.arange(0))),
            "got 0 rows of which no two share a class",
        ),
        (
            lambda: within_class_products(EYE, torch.tensor([0, 0, 2]), SUMS),
            "labels must be below the 2 classes",
        ),
        (
            lambda: within_class_products(EYE[:, :2], torch.tensor([0, 0, 1]), SUMS),
            "z must have the 3 features",
        ),
        (
            lambda: tolerance_stderr(torch.zeros(2), torch.tensor([0, 0]), SUMS),
            "products must hold one number for each",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_a_remedy(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


# ------------------------------------------------------------------------------------------- permuted labels


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 1, 2, 3], [0, 0, 0, 0, 0, 0, 1], [4, 1, 1, 4, 2, 2, 1]])
def test_permuted_tolerance_has_the_moments_over_all_permutations(labels: list[int]) -> None:
    z, classes = rows.cone(7, 3), torch.tensor(labels)
    orders = itertools.permutations(range(7))
    values = np.array([tolerance(ClassSums.of(z, classes[list(order)])) for order in orders])
    found = permuted_tolerance(ClassSums.of(z, classes), Moments.of(z))
    assert found == pytest.approx((values.mean(), values.std()), rel=1e-10)


def test_random_labels_are_not_told_from_permuted_ones_and_classes_are() -> None:
    labels = torch.arange(200) % 5
    z = rows.unit(200, 16)
    mean, deviation = permuted_tolerance(ClassSums.of(z, labels), Moments.of(z))
    orders = [torch.randperm(200, generator=torch.Generator().manual_seed(seed)) for seed in range(300)]
    scores = np.array([(tolerance(ClassSums.of(z, labels[order])) - mean) / deviation for order in orders])
    assert abs(scores.mean()) < 0.2
    assert 0.9 < scores.std() < 1.1
    assert (scores > 3).mean() < 0.03
    z = torch.nn.functional.normalize(rows.unit(5, 16, seed=2)[labels] + 3 * z, dim=1)
    mean, deviation = permuted_tolerance(ClassSums.of(z, labels), Moments.of(z))
    assert (tolerance(ClassSums.of(z, labels)) - mean) / deviation > 10


def test_permuted_labels_of_one_class_change_nothing() -> None:
    z = rows.unit(9, 4)
    of_one = ClassSums.of(z, torch.zeros(9, dtype=torch.int64))
    assert permuted_tolerance(of_one, Moments.of(z))[1] < 1e-7
    with pytest.raises(ValueError, match="both must be of the same rows, got 9 with a class and 8"):
        permuted_tolerance(ClassSums.of(z, LABELS[:9]), Moments.of(z[:8]))


def test_the_explained_variance_is_the_adjusted_correlation_ratio() -> None:
    z = rows.normal(12, 4)
    x, labels = numbers(z), LABELS.numpy()
    within = sum(((x[labels == c] - x[labels == c].mean(0)) ** 2).sum() for c in set(labels.tolist()))
    expected = 1 - (within / (12 - 4)) / (((x - x.mean(0)) ** 2).sum() / 11)
    assert explained_variance(ClassSums.of(z, LABELS)) == pytest.approx(expected)
    means = [
        explained_variance(ClassSums.of(rows.normal(60, 8, seed=seed), torch.arange(60) % 20))
        for seed in range(40)
    ]
    assert abs(sum(mean or 0 for mean in means) / 40) < 0.02  # not the 19/59 of chance
    assert explained_variance(ClassSums.of(z, torch.arange(12))) is None
    assert explained_variance(ClassSums.of(torch.ones(12, 4), LABELS)) is None
