"""The optimum of uniformity against its golden table, 60 digits of 0F1, and its limits."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath  # type: ignore[import-untyped]  # it has no annotations
import pytest

from align_uniform import uniform_optimum

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


@pytest.mark.parametrize(("dim", "golden"), GOLDEN.items())
def test_the_optimum_has_the_golden_values(dim: int, golden: tuple[float, float]) -> None:
    assert uniform_optimum(dim) == pytest.approx(golden[0], abs=5.001e-5)
    assert uniform_optimum(dim, t=3) == pytest.approx(golden[1], abs=5.001e-5)


@pytest.mark.parametrize("t", [1e-3, 0.5, 2, 3, 30, 400, 1000])
@pytest.mark.parametrize("dim", [1, 2, 3, 8, 129, 1000, 100_000])
def test_the_optimum_equals_0f1_in_60_digits_where_float64_functions_overflow(dim: int, t: float) -> None:
    with mpmath.workdps(60):
        expected = float(-2 * mpmath.mpf(t) + mpmath.log(mpmath.hyp0f1(mpmath.mpf(dim) / 2, mpmath.mpf(t) ** 2)))
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
