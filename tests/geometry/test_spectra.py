"""The measures of spectra against golden tables, numpy, samples of known laws, and their own laws."""

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
from scipy import linalg  # type: ignore[import-untyped]  # it has no annotations
from torch import Tensor

from align_uniform import uniform_loss, uniform_optimum
from align_uniform.geometry import (
    Moments,
    isoscore,
    mean_cosine,
    participation_ratio,
    participation_ratio_of_uniform,
    rankme,
    rankme_of_uniform,
    singular_values,
    spectrum,
    w2_floor,
    w2_uniformity,
)
from align_uniform.sphere import equivalent_dim
from tests import rows
from tests.oracle import Array, numbers

EYE = torch.eye(3)
MEASURES: dict[str, Callable[[Moments], Any]] = {
    "mean cosine": mean_cosine,
    "spectrum": spectrum,
    "singular values": singular_values,
    "RankMe": rankme,
    "participation ratio": participation_ratio,
    "IsoScore": isoscore,
    "W2": w2_uniformity,
}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def great_sphere(n: int, k: int, dim: int) -> Tensor:
    """Rows uniform on the unit sphere of a k-dimensional subspace."""
    return rows.unit(n, k) @ rows.rotation(dim)[:k]


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
    z = rows.cone(2000, 128)
    moments, spread = Moments.of(z), Moments.of(rows.unit(2000, 128))
    assert mean_cosine(moments) == pytest.approx(0.36 / 1.36, abs=0.02)
    assert uniform_loss(z) > uniform_optimum(128) + 0.8
    assert participation_ratio(moments) > 0.95 * participation_ratio(spread)


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


def isoscore_of(z: Array) -> float:
    """IsoScore, step by step as in algorithm 1 of its paper: principal components first."""
    n = z.shape[1]
    _, _, axes = np.linalg.svd(z - z.mean(0), full_matrices=True)
    variances = np.diag(np.cov((z @ axes.T).T))
    normalized = np.sqrt(n) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(normalized - np.ones(n)) / np.sqrt(2 * (n - np.sqrt(n)))
    phi = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    return float((n * phi - 1) / (n - 1))


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize(
    "z", [rows.unit(50, 6), rows.cone(50, 6), 3 + rows.normal(50, 6)], ids=["sphere", "cone", "normal"]
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
    assert isoscore(moments) == pytest.approx(isoscore_of(x), rel=1e-9)


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (2, 1 / 15), (4, 3 / 15), (16, 1)])
def test_isoscore_is_the_share_of_the_directions_in_use(k: int, expected: float) -> None:
    moments = Moments.of(torch.cat([torch.eye(16)[:k], -torch.eye(16)[:k]]))
    assert isoscore(moments) == pytest.approx(expected, abs=1e-12)
    assert isoscore(Moments.of(rows.unit(1, 16).expand(9, 16))) == 0
    few = rows.unit(5, 12)
    assert isoscore(Moments.of(few)) == pytest.approx(isoscore_of(numbers(few)), rel=1e-9)


def test_fewer_rows_than_features_have_as_many_singular_values() -> None:
    z = rows.unit(5, 12)
    moments = Moments.of(z)
    np.testing.assert_allclose(
        singular_values(moments), np.linalg.svd(numbers(z), compute_uv=False), rtol=1e-10
    )
    assert rankme(moments) == pytest.approx(rankme_of(numbers(z)), rel=1e-10)
    assert int((spectrum(moments) > 0).sum()) == 4  # the mean is taken off


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
    z = rows.cone(30, 6) + 0.1 * rows.normal(30, 6, seed=seed)
    torch.testing.assert_close(
        measure(Moments.of(z @ rows.rotation(6))), measure(Moments.of(z)), rtol=1e-9, atol=1e-9
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *[
            (lambda f=f: f(Moments.of(EYE[:0])), "moments must be of at least 1 row, got 0")
            for f in (spectrum, rankme, participation_ratio, isoscore, w2_uniformity)
        ],
        (
            lambda: isoscore(Moments.of(EYE[:, :1])),
            "moments must be of at least 2 features for IsoScore, got 1",
        ),
        (lambda: w2_floor(0, 8), "n must be a whole number of at least 1, got 0"),
        (lambda: w2_floor(8, 1.5), "dim must be a whole number of at least 1, got 1.5"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_a_remedy(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("n", "dim", "expected"), [(1500, 384, 370.8), (128, 128, 102.9)])
def test_rankme_of_uniform_rows_has_the_known_values(n: int, dim: int, expected: float) -> None:
    assert rankme_of_uniform(n, dim) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("n", "dim"), [(40, 8), (64, 128), (20, 20), (200, 32)])
def test_references_are_the_means_over_uniform_samples(n: int, dim: int) -> None:
    moments = [Moments.of(rows.unit(n, dim, seed=seed)) for seed in range(60)]
    assert rankme_of_uniform(n, dim) == pytest.approx(np.mean([rankme(each) for each in moments]), rel=0.005)
    ratios = [participation_ratio(each) for each in moments]
    assert participation_ratio_of_uniform(n, dim) == pytest.approx(np.mean(ratios), rel=0.02)


def test_references_of_a_single_row_or_feature() -> None:
    assert rankme_of_uniform(1, 5) == rankme_of_uniform(5, 1) == 1
    assert (participation_ratio_of_uniform(1, 5), participation_ratio_of_uniform(2, 5)) == (0, 1)
    with pytest.raises(ValueError, match="n must be a whole number of at least 1, got 0"):
        rankme_of_uniform(0, 5)
