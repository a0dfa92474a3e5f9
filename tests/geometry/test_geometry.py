"""The measures of geometry against golden tables, strangers in numpy, samples of known laws, and their own
laws.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import linalg, spatial  # type: ignore[import-untyped]  # it has no annotations
from torch import Tensor

from align_uniform import align_loss, geometry, uniform_loss, uniform_optimum
from align_uniform.geometry import (
    ClassSums,
    Moments,
    class_alignment,
    cross_mean_squared_distance,
    koleo,
    mean_cosine,
    modality_gap,
    nearest_neighbours,
    participation_ratio,
    rankme,
    singular_values,
    spectrum,
    tolerance,
    tolerance_stderr,
    w2_floor,
    w2_uniformity,
    within_class_products,
)
from align_uniform.sphere import equivalent_dim
from tests import rows
from tests.oracle import Array, numbers

MEASURES: dict[str, Callable[[Moments], Any]] = {
    "mean cosine": mean_cosine,
    "spectrum": spectrum,
    "singular values": singular_values,
    "RankMe": rankme,
    "participation ratio": participation_ratio,
    "W2": w2_uniformity,
}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def rotation(dim: int) -> Tensor:
    q, _ = torch.linalg.qr(rows.normal(dim, dim, seed=99))
    return torch.as_tensor(q)


def great_sphere(n: int, k: int, dim: int) -> Tensor:
    """Rows uniform on the unit sphere of a k-dimensional subspace."""
    return rows.unit(n, k) @ rotation(dim)[:k]


def cone(n: int, dim: int, share: float = 0.6) -> Tensor:
    """Unit rows around a common direction."""
    return torch.nn.functional.normalize(rows.unit(n, dim) + share * rows.unit(1, dim, seed=7), dim=-1)


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry._rows, "BLOCK_NUMBERS", 10)
    monkeypatch.setattr(geometry.neighbours, "TILE_ROWS", 4)


# ----------------------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize(
    ("k", "uniform", "gap", "w2", "rank", "participation"),
    [
        (256, -3.9689, -0.0001, 0.125, 254, 241),
        (128, -3.9376, 0.0312, 0.769, 127.5, 124),
        (64, -3.8752, 0.0935, 1.001, 63.9, 63),
        (16, -3.5129, 0.456, 1.225, 16.0, 15.9),
    ],
)
def test_great_spheres_have_the_golden_measures(
    k: int, uniform: float, gap: float, w2: float, rank: float, participation: float
) -> None:
    z = great_sphere(4096, k, 256)
    moments = Moments.of(z)
    loss = uniform_loss(z.float()).item()
    assert loss == pytest.approx(uniform, abs=5e-4)
    assert loss - uniform_optimum(256) == pytest.approx(gap, abs=6e-4)
    assert w2_uniformity(moments) == pytest.approx(w2, abs=2e-3)
    assert rankme(moments) == pytest.approx(rank, abs=0.1)
    assert participation_ratio(moments) == pytest.approx(participation, abs=0.3)
    assert int((spectrum(moments) > 0).sum()) == k  # rounding does not count
    assert equivalent_dim(loss) == pytest.approx(k, rel=0.02)


def test_a_cone_is_seen_by_uniformity_and_by_the_cosine_but_not_by_centred_rank() -> None:
    z = cone(2000, 128)
    moments, spread = Moments.of(z), Moments.of(rows.unit(2000, 128))
    assert mean_cosine(moments) == pytest.approx(0.36 / 1.36, abs=0.02)
    assert uniform_loss(z) > uniform_optimum(128) + 0.8
    assert participation_ratio(moments) > 0.95 * participation_ratio(spread)


# ----------------------------------------------------------------------------------------- strangers in numpy


def w2_of_normal_laws(z: Array) -> float:
    """The Wasserstein distance of N(mean, Sigma) from N(0, I/m), by matrix square roots."""
    covariance, target = np.cov(z.T, bias=True), np.eye(z.shape[1]) / z.shape[1]
    root = linalg.sqrtm(target)
    cross = linalg.sqrtm(root @ covariance @ root).real
    return float(np.sqrt((z.mean(0) ** 2).sum() + np.trace(covariance + target - 2 * cross)))


def rankme_of(z: Array) -> float:
    sigma = np.linalg.svd(z, compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize(
    "z", [rows.unit(50, 6), cone(50, 6), 3 + rows.normal(50, 6)], ids=["sphere", "cone", "normal"]
)
def test_the_measures_of_moments_equal_their_definitions(z: Tensor) -> None:
    moments, x = Moments.of(z), numbers(z)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    products = [x[i] @ x[j] for i in range(50) for j in range(50) if i != j]
    assert mean_cosine(moments) == pytest.approx(np.mean(products), rel=1e-12)
    np.testing.assert_allclose(spectrum(moments), eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(singular_values(moments), np.linalg.svd(x, compute_uv=False), rtol=1e-10)
    assert rankme(moments) == pytest.approx(rankme_of(x), rel=1e-10)
    assert participation_ratio(moments) == pytest.approx(
        eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-10
    )
    assert w2_uniformity(moments) == pytest.approx(w2_of_normal_laws(x), rel=1e-8)


def test_fewer_rows_than_features_have_as_many_singular_values() -> None:
    z = rows.unit(5, 12)
    moments = Moments.of(z)
    np.testing.assert_allclose(
        singular_values(moments), np.linalg.svd(numbers(z), compute_uv=False), rtol=1e-10
    )
    assert rankme(moments) == pytest.approx(rankme_of(numbers(z)), rel=1e-10)
    assert int((spectrum(moments) > 0).sum()) == 4  # the mean is taken off


def test_two_sets_are_compared_by_all_their_pairs() -> None:
    x, y = cone(20, 5), 2 * rows.normal(30, 5, seed=1)
    a, b = Moments.of(x), Moments.of(y)
    expected = spatial.distance.cdist(numbers(x), numbers(y), "sqeuclidean").mean()
    assert cross_mean_squared_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert modality_gap(a, b) == pytest.approx(
        np.linalg.norm(numbers(x).mean(0) - numbers(y).mean(0)), rel=1e-12
    )


def test_the_pairs_that_are_not_positive_follow_from_all_pairs() -> None:
    x, y = rows.unit(20, 5), rows.unit(20, 5, seed=1)
    squared = spatial.distance.cdist(numbers(x), numbers(y), "sqeuclidean")
    everyone = cross_mean_squared_distance(Moments.of(x), Moments.of(y))
    others = (20 * everyone - align_loss(x, y).item()) / 19
    assert others == pytest.approx(squared[~np.eye(20, dtype=bool)].mean(), rel=1e-12)


# ------------------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 2**20))
def test_moments_of_parts_give_the_measures_of_the_whole(
    measure: Callable[[Moments], Any], cuts: list[int], seed: int
) -> None:
    z = 0.3 + rows.normal(40, 5, seed=seed)
    first, *others = z.tensor_split(sorted(cuts))
    moments = Moments.of(first)
    for part in others:
        moments = Moments.of(part) + moments
    assert moments.count == 40
    torch.testing.assert_close(measure(moments), measure(Moments.of(z)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@given(seed=st.integers(0, 2**20))
def test_the_measures_of_moments_do_not_change_under_rotation(
    measure: Callable[[Moments], Any], seed: int
) -> None:
    z = cone(30, 6) + 0.1 * rows.normal(30, 6, seed=seed)
    torch.testing.assert_close(
        measure(Moments.of(z @ rotation(6))), measure(Moments.of(z)), rtol=1e-9, atol=1e-9
    )


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_summed_in_float64(dtype: torch.dtype, device: str) -> None:
    z = rows.unit(300, 8).to(device, dtype).requires_grad_()
    narrow, wide = Moments.of(z), Moments.of(z.detach().cpu().double())
    assert narrow.sum.dtype == narrow.second.dtype == torch.float64
    assert not narrow.second.requires_grad
    torch.testing.assert_close(narrow.second.cpu(), wide.second, rtol=1e-14, atol=1e-14)
    for measure in MEASURES.values():
        assert np.allclose(torch.as_tensor(measure(narrow)).cpu(), torch.as_tensor(measure(wide)), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 1000, 200_000])
def test_a_constant_is_at_the_end_of_every_scale(n: int) -> None:
    constant = Moments.of(rows.unit(1, 16).expand(n, 16))
    assert spectrum(constant).count_nonzero() == 0
    assert participation_ratio(constant) == 0
    assert rankme(constant) == pytest.approx(1, abs=1e-4)
    assert w2_uniformity(constant) == pytest.approx(math.sqrt(2), rel=1e-6)
    assert n == 1 or mean_cosine(constant) == pytest.approx(1, rel=1e-10)
    assert int((singular_values(constant) > 0).sum()) == 1


def test_corners_have_the_moments_of_the_uniform_law() -> None:
    corners = Moments.of(torch.cat([torch.eye(16), -torch.eye(16)]))
    assert w2_uniformity(corners) == pytest.approx(0, abs=1e-7)
    assert participation_ratio(corners) == pytest.approx(16)
    assert rankme(corners) == pytest.approx(16, abs=1e-4)


def test_rows_of_zeros_have_no_rank() -> None:
    nothing = Moments.of(torch.zeros(3, 4))
    assert rankme(nothing) == participation_ratio(nothing) == 0


@pytest.mark.parametrize(
    ("n", "dim", "tolerance"),
    [(16, 2, 0.03), (1000, 2, 0.03), (64, 16, 0.01), (300, 100, 0.004), (16, 256, 0.002)],
)
def test_the_floor_of_w2_is_what_uniform_samples_have(n: int, dim: int, tolerance: float) -> None:
    samples = rows.unit(min(1000, 10**6 // (n * dim)), n, dim)
    squares = [w2_uniformity(Moments.of(z)) ** 2 for z in samples]
    error = np.std(squares) / np.mean(squares) / math.sqrt(len(squares))
    assert w2_floor(n, dim) == pytest.approx(math.sqrt(np.mean(squares)), rel=tolerance + float(error))


def test_the_floor_of_w2_at_both_ends_of_the_ratio() -> None:
    assert w2_floor(10**7, 1000) == pytest.approx(math.sqrt(1000 / 1e7) / 2, rel=3e-3)
    assert w2_floor(1001, 1001) == pytest.approx(w2_floor(1001, 1002), rel=1e-3)
    assert w2_floor(2, 10**6) == pytest.approx(math.sqrt(2), rel=1e-3)
    assert w2_floor(1, 8) == math.sqrt(2)
    assert w2_floor(10_000, 1) == pytest.approx(1 / 100, rel=1e-3)  # what the mean of so many signs is


# ---------------------------------------------------------------------------------------------------- classes

LABELS = torch.tensor([0, 2, 0, 5, 2, 2, 0, 3, 0, 5, 2, 2])  # class 3 has one row; 1 and 4 have none


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
    before, after = ClassSums.of(z, LABELS), ClassSums.of(z @ rotation(4), (7 - LABELS).to(torch.int16))
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
        covered += abs(tolerance(sums) - truth) <= 1.96 * error
    assert 0.92 <= covered / 600 <= most


# ----------------------------------------------------------------------------------------- nearest neighbours


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


# ----------------------------------------------------------------------------------------------------- errors

EYE = torch.eye(3)
SUMS = ClassSums.of(EYE, torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Moments.of(torch.zeros(2, 3, 4)),
            "z must be [N, m], got shape [2, 3, 4]; use z.flatten(0, -2)",
        ),
        (lambda: Moments.of(torch.zeros(2, 3).long()), "z must be real floating point, got torch.int64"),
        (lambda: Moments.of(EYE / 0), "z must be finite, got NaN or infinity; leave those rows out"),
        (
            lambda: Moments.of(EYE) + Moments.of(EYE[:, :2]),
            "both must have the same number of features, got 3 and 2",
        ),
        (lambda: mean_cosine(Moments.of(EYE[:1])), "moments must be of at least 2 rows, got 1"),
        *[
            (lambda f=f: f(Moments.of(EYE[:0])), "moments must be of at least 1 rows, got 0")
            for f in (spectrum, rankme, participation_ratio, w2_uniformity)
        ],
        (
            lambda: modality_gap(Moments.of(EYE), Moments.of(EYE[:0])),
            "moments must be of at least 1 rows, got 0",
        ),
        (
            lambda: cross_mean_squared_distance(Moments.of(EYE), Moments.of(EYE[:, :2])),
            "the same number of features",
        ),
        (lambda: w2_floor(0, 8), "n must be a whole number of at least 1, got 0"),
        (lambda: w2_floor(8, 1.5), "dim must be a whole number of at least 1, got 1.5"),  # type: ignore[arg-type]
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
        (lambda: nearest_neighbours(EYE[:1]), "x must have at least 2 rows, got 1"),
        (lambda: nearest_neighbours(EYE[:0], EYE), "x must have at least 1 rows, got 0"),
        (
            lambda: nearest_neighbours(EYE, EYE[:, :2]),
            "queries must have the 3 features of x, got shape [3, 2]",
        ),
        (lambda: koleo(torch.zeros(0)), "at least one distance, [N], got torch.float32 of shape [0]"),
        (lambda: koleo(torch.ones(2), eps=0), "eps must be a finite number above 0, got 0"),
    ],
)
def test_a_wrong_argument_is_told_with_its_value_and_a_remedy(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_only_moments_are_added_to_moments() -> None:
    with pytest.raises(TypeError):
        Moments.of(EYE) + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        SUMS + Moments.of(EYE)  # type: ignore[operator]


def test_no_rows_are_a_part_like_any_other() -> None:
    assert torch.equal((Moments.of(EYE[:0]) + Moments.of(EYE)).second, Moments.of(EYE).second)
    empty = ClassSums.of(EYE[:0], torch.arange(0))
    assert torch.equal((empty + SUMS).sums, SUMS.sums)
    assert within_class_products(EYE[:0], torch.arange(0), SUMS).shape == (0,)
