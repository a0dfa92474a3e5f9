"""Tests of the theory of the sphere against golden tables, 60 digits of 0F1, samples, and limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import mpmath  # type: ignore[import-untyped]  # it has no annotations
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import integrate, stats  # type: ignore[import-untyped]  # it has no annotations

from align_uniform import uniform_loss, uniform_optimum
from align_uniform.sphere import (
    cosine_log_density,
    equivalent_dim,
    equivalent_dim_slope,
    null_variance,
    null_z,
    squared_mmd,
    v_statistic,
)
from tests import oracle, rows

GOLDEN = {  # dimension: the optimum at t=2 and at t=3
    2: (-1.5750, -1.7918),
    3: (-2.0798, -2.4849),
    8: (-3.0825, -4.0979),
    16: (-3.5130, -4.9365),
    32: (-3.7518, -5.4464),
    64: (-3.8752, -5.7199),
    128: (-3.9375, -5.8595),
    256: (-3.9688, -5.9297),
    512: (-3.9844, -5.9648),
    768: (-3.9896, -5.9766),
    1024: (-3.9922, -5.9824),
    2048: (-3.9961, -5.9912),
}


WIDTHS = [1e-3, 0.5, 2, 3, 30, 400, 1000]
DIMS = [1, 2, 3, 8, 129, 1000, 100_000]


def exact_potential(dim: Any, t: float) -> Any:
    """Return c(m, t), the mean potential under the uniform law, in the digits that mpmath works with."""
    return mpmath.exp(-2 * mpmath.mpf(t)) * mpmath.hyp0f1(mpmath.mpf(dim) / 2, mpmath.mpf(t) ** 2)


def exact_null_variance(n: int, dim: int, t: float) -> Any:
    return 2 * (exact_potential(dim, 2 * t) - exact_potential(dim, t) ** 2) / (n * (n - 1))


# ------------------------------------------------------------------------------------------------ the optimum


@pytest.mark.parametrize(("dim", "golden"), GOLDEN.items())
def test_the_optimum_has_the_golden_values(dim: int, golden: tuple[float, float]) -> None:
    assert uniform_optimum(dim) == pytest.approx(golden[0], abs=5.001e-5)
    assert uniform_optimum(dim, t=3) == pytest.approx(golden[1], abs=5.001e-5)


@pytest.mark.parametrize("t", WIDTHS)
@pytest.mark.parametrize("dim", DIMS)
def test_the_optimum_equals_0f1_in_60_digits_where_float64_functions_overflow(dim: int, t: float) -> None:
    with mpmath.workdps(60):
        expected = float(mpmath.log(exact_potential(dim, t)))
    assert uniform_optimum(dim, t) == pytest.approx(expected, rel=1e-11)


def test_two_points_are_the_sphere_in_one_dimension() -> None:
    for t in (0.5, 2, 3):
        assert uniform_optimum(1, t) == pytest.approx(math.log((1 + math.exp(-4 * t)) / 2), rel=1e-13)


def test_the_optimum_falls_with_the_dimension_towards_minus_2t() -> None:
    for t in (0.5, 2, 100):
        optima = [uniform_optimum(dim, t) for dim in (1, 2, 3, 4, 7, 50, 1000, 10**5, 10**6)]
        assert all(after < before for before, after in pairwise(optima))
        assert -2 * t < optima[-1] < -2 * t + 3 * t**2 / 10**6


def test_a_whole_number_may_come_as_a_float() -> None:
    assert uniform_optimum(128.0) == uniform_optimum(128)  # type: ignore[arg-type]  # 128.0 is whole


# ------------------------------------------------------------------------------ the distance from the optimum


@pytest.mark.parametrize("t", WIDTHS)
@pytest.mark.parametrize("dim", DIMS)
def test_the_null_variance_and_z_have_10_digits_at_any_dimension_and_width(dim: int, t: float) -> None:
    uniform = 0.9 * uniform_optimum(dim, t)
    with mpmath.workdps(60):
        variance = exact_null_variance(64, dim, t)
        z = float((mpmath.exp(mpmath.mpf(uniform)) - exact_potential(dim, t)) / mpmath.sqrt(variance))
    assert null_variance(64, dim, t) == pytest.approx(float(variance), rel=1e-10, abs=1e-300)
    assert null_z(uniform, 64, dim, t) == pytest.approx(z, rel=1e-10)


@pytest.mark.parametrize(("dim", "n", "golden"), [(16, 64, 7.8e-4), (128, 256, 4.0e-5), (512, 1024, 4.4e-6)])
def test_the_null_deviation_is_that_of_the_golden_simulation(dim: int, n: int, golden: float) -> None:
    assert math.sqrt(null_variance(n, dim)) == pytest.approx(golden, rel=0.05)


def potentials_of_uniform_samples(dim: int, n: int, samples: int) -> torch.Tensor:
    """Return exp(L) of this many samples of n uniform rows."""
    return uniform_loss(rows.unit(samples, n, dim, seed=dim)).exp()


@pytest.mark.parametrize(("dim", "n"), [(2, 64), (16, 64), (128, 100)])
def test_the_null_mean_and_variance_are_those_of_samples(dim: int, n: int) -> None:
    potentials = potentials_of_uniform_samples(dim, n, samples=2000)
    deviation = math.sqrt(null_variance(n, dim))
    assert potentials.mean().item() == pytest.approx(
        math.exp(uniform_optimum(dim)), abs=4 * deviation / math.sqrt(2000)
    )
    assert potentials.std().item() == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize(("dim", "n", "q95", "q99"), [(2, 64, 1.87, 3.28), (16, 128, 1.78, 2.70)])
def test_the_null_z_is_skewed_to_the_right_with_the_documented_quantiles(
    dim: int, n: int, q95: float, q99: float
) -> None:
    losses = potentials_of_uniform_samples(dim, n, samples=3000).log()
    z = np.array([null_z(loss, n, dim) for loss in losses.tolist()])
    assert np.quantile(z, 0.95) == pytest.approx(q95, abs=0.2)
    assert np.quantile(z, 0.99) == pytest.approx(q99, abs=0.5)
    assert stats.skew(z) > 0.3


def test_z_is_infinite_only_where_a_float_cannot_hold_it() -> None:
    assert null_z(0.0, 64, 1000, t=1000) > 1e260  # exp of either value underflows
    assert null_z(0.0, 10**6, 10**4, t=3000) == math.inf
    assert null_z(uniform_optimum(8), 64, 8) == 0
    assert null_z(-math.inf, 64, 8) == pytest.approx(
        -math.exp(uniform_optimum(8)) / math.sqrt(null_variance(64, 8))
    )


@given(st.integers(1, 2000), st.floats(0.01, 20), st.floats(-0.5, 2))
def test_z_times_the_deviation_is_the_squared_mmd(dim: int, t: float, gap: float) -> None:
    uniform = uniform_optimum(dim, t) + gap
    expected = squared_mmd(uniform, dim, t)
    tolerance = 1e-14 * math.exp(uniform)
    assert null_z(uniform, 50, dim, t) * math.sqrt(null_variance(50, dim, t)) == pytest.approx(
        expected, 1e-8, tolerance
    )


def test_the_squared_mmd_of_all_pairs_is_the_kernel_distance_to_a_large_uniform_sample() -> None:
    x, reference = rows.unit(40, 3) + torch.tensor([1.0, 0, 0]), rows.unit(4000, 3, seed=1)
    x = torch.nn.functional.normalize(x, dim=-1)
    means = [
        torch.exp(-2 * torch.cdist(a, b).square()).mean()
        for a, b in ((x, x), (x, reference), (reference, reference))
    ]
    within, across, among = (mean.item() for mean in means)
    assert squared_mmd(math.log(within), 3) == pytest.approx(within - 2 * across + among, abs=0.01)
    assert squared_mmd(-math.inf, 3) == -math.exp(uniform_optimum(3))


# ----------------------------------------------------------------------------------- the equivalent dimension


@pytest.mark.parametrize("t", [0.5, 2, 3, 30, 1000])
@pytest.mark.parametrize("dim", [*range(1, 20), 64, 129, 256, 768, 1000, 4096, 30_000, 100_000])
def test_the_equivalent_dimension_of_an_optimum_is_its_dimension(dim: int, t: float) -> None:
    assert equivalent_dim(uniform_optimum(dim, t), t) == pytest.approx(dim, rel=1e-10)


@given(st.floats(1, 1e5), st.floats(0.5, 30))
def test_any_real_dimension_is_found_again(dim: float, t: float) -> None:
    with mpmath.workdps(40):
        uniform = float(mpmath.log(exact_potential(dim, t)))
    assert equivalent_dim(uniform, t) == pytest.approx(dim, rel=1e-10)


@pytest.mark.parametrize("t", [1e-3, 0.5, 2, 100])
def test_the_equivalent_dimension_falls_from_infinity_to_0_without_a_jump(t: float) -> None:
    assert equivalent_dim(-2 * t, t) == equivalent_dim(-math.inf, t) == math.inf
    assert equivalent_dim(0.0, t) == equivalent_dim(1e-9, t) == 0
    values = [equivalent_dim(-2 * t * (1 - share), t) for share in np.linspace(1e-6, 1 - 1e-9, 400)]
    assert all(after < before for before, after in pairwise(values))
    assert values[-1] == pytest.approx(0, abs=1e-6)
    at_one = uniform_optimum(1, t)
    assert equivalent_dim(math.nextafter(at_one, -9e9), t) == pytest.approx(
        equivalent_dim(at_one, t), abs=1e-9
    )


def test_between_a_constant_and_two_opposite_points_it_counts_how_even_they_are() -> None:
    for p in (0.5, 0.8, 0.99):
        uniform = math.log(p**2 + (1 - p) ** 2 + 2 * p * (1 - p) * math.exp(-8))
        assert equivalent_dim(uniform) == pytest.approx(4 * p * (1 - p), rel=1e-12)


@pytest.mark.parametrize("k", [3, 16, 64])
def test_rows_of_a_great_sphere_have_its_dimension_within_three_standard_errors(k: int) -> None:
    z = torch.nn.functional.pad(rows.unit(2000, k), (0, 256 - k))
    uniform = uniform_loss(z).item()
    error = math.sqrt(null_variance(2000, k)) / math.exp(uniform) * abs(equivalent_dim_slope(uniform))
    assert equivalent_dim(uniform) == pytest.approx(k, abs=3 * error)


@pytest.mark.parametrize("t", [1e-3, 2, 30, 400])
@pytest.mark.parametrize("dim", [2, 7, 129, 100_000])
def test_the_slope_is_the_derivative_of_the_series_in_60_digits(dim: int, t: float) -> None:
    with mpmath.workdps(60):
        slope = float(1 / mpmath.diff(lambda m: mpmath.log(exact_potential(m, t)), dim))
    condition = 1e-15 * t / (uniform_optimum(dim, t) + 2 * t)  # what rounding of the value alone does
    assert equivalent_dim_slope(uniform_optimum(dim, t), t) == pytest.approx(
        slope, rel=1e-10 + 10 * condition
    )


@given(st.floats(-3.99, -1e-3))
def test_the_slope_is_the_limit_of_differences(uniform: float) -> None:
    step = 1e-6 * min(-uniform, uniform + 4)
    difference = (equivalent_dim(uniform + step) - equivalent_dim(uniform - step)) / (2 * step)
    assert equivalent_dim_slope(uniform) == pytest.approx(difference, rel=1e-5)


def test_the_slope_at_the_ends() -> None:
    assert equivalent_dim_slope(-4) == -math.inf
    assert (
        equivalent_dim_slope(0.0)
        == equivalent_dim_slope(1e-9)
        == pytest.approx(-2 / (1 - math.exp(-8)), rel=1e-12)
    )


# ------------------------------------------------------------------------------------ the density of a cosine


@pytest.mark.parametrize("dim", [2, 3, 16, 1000, 100_000])
def test_the_density_of_a_cosine_integrates_to_1_with_variance_1_over_m(dim: int) -> None:
    def moment(angle: float, power: int) -> float:
        cosine = torch.tensor(math.cos(angle), dtype=torch.float64)
        return math.sin(angle) * cosine_log_density(cosine, dim).exp().item() * math.cos(angle) ** power

    width = min(
        math.pi / 2 - 1e-9, 12 / math.sqrt(dim)
    )  # at a pole the density of the circle is infinite, times a sine of 0
    for power, expected in ((0, 1), (1, 0), (2, 1 / dim)):
        ends = (math.pi / 2 - width, math.pi / 2 + width)
        integral = integrate.quad(moment, *ends, (power,), epsabs=1e-12, epsrel=1e-10)[0]
        assert integral == pytest.approx(expected, rel=2e-9, abs=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 4, 50])
def test_the_density_of_a_cosine_is_a_beta_law(dim: int) -> None:
    cosine = torch.linspace(-0.999, 0.999, 41, dtype=torch.float64)
    expected = stats.beta((dim - 1) / 2, (dim - 1) / 2, loc=-1, scale=2).logpdf(cosine.numpy())
    np.testing.assert_allclose(cosine_log_density(cosine, dim).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_the_density_at_and_beyond_the_ends() -> None:
    ends = torch.tensor([-1.5, -1.0, 1.0, 1.5])
    inf = math.inf
    assert cosine_log_density(ends, 2).tolist() == [-inf, inf, inf, -inf]
    assert cosine_log_density(ends, 3).exp().tolist() == pytest.approx([0, 0.5, 0.5, 0])
    assert cosine_log_density(ends, 4).tolist() == [-inf, -inf, -inf, -inf]
    assert cosine_log_density(torch.tensor(math.nan), 4).isnan()


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_the_density_has_derivatives_and_keeps_a_wide_dtype(dim: int) -> None:
    cosine = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: cosine_log_density(s, dim), cosine)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        narrow = cosine.detach().to(dtype)
        density = cosine_log_density(narrow, dim)
        assert density.dtype == torch.float32
        torch.testing.assert_close(
            density.double(), cosine_log_density(narrow.double(), dim), rtol=1e-5, atol=1e-5
        )


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: uniform_optimum(0),
            "dim must be a whole number of at least 1, the number of features, got 0",
        ),
        (lambda: uniform_optimum(2.5), "dim must be a whole number"),  # type: ignore[arg-type]
        (lambda: null_variance(1, 8), "n must be a whole number of at least 2, the number of rows, got 1"),
        (lambda: null_z(-1.0, 8, 8, t=0), "t must be a finite number above 0, got 0"),
        (lambda: null_z(math.nan, 8, 8), "uniform must be a number, got nan"),
        (lambda: squared_mmd(torch.tensor(-1.0), 8), "uniform.item()"),  # type: ignore[arg-type]
        (lambda: equivalent_dim(math.nan), "uniform must be a number, got nan"),
        (lambda: equivalent_dim_slope(-1.0, t=-2), "t must be a finite number above 0, got -2"),
        (lambda: cosine_log_density(torch.zeros(2), 1), "dim must be a whole number of at least 2"),
        (lambda: cosine_log_density(torch.zeros(2).long(), 3), "cosine must be a floating-point tensor"),
        (lambda: cosine_log_density(0.5, 3), "cosine must be a floating-point tensor, got 0.5"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_told_with_its_value_and_a_remedy(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("t", [0.5, 2, 30])
def test_the_v_statistic_counts_self_pairs(t: float) -> None:
    z = oracle.numbers(rows.unit(40, 5))
    exponents = oracle.exponents_across(z, z, t)
    expected = oracle.log_sum_exp(exponents) - math.log(len(exponents))
    assert v_statistic(oracle.uniform(z, t), 40) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="n must be at least 2 rows, got 1"):
        v_statistic(-1.0, 1)
