"""Histograms of distances, cosines and crowding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from align_uniform import figures, uniform_optimum
from tests.figures.samples import keys, random


def test_distances_of_pairs_are_drawn_as_shares_beside_those_of_random_pairs() -> None:
    axes = figures.pair_distance_figure(np.array([0.1, 0.1, 0.4]), np.full(70, 1.0)).axes[0]
    positive, other = (patch for patch in axes.patches if isinstance(patch, StepPatch))
    assert positive.get_data()[0].sum() == pytest.approx(1)
    assert other.get_data()[0].max() == pytest.approx(1)
    assert keys(axes) == ["positive pairs", "random pairs", "mean 0.200"]


def test_distances_that_are_all_zero_can_be_drawn() -> None:
    assert "mean 0.000" in keys(figures.pair_distance_figure(np.zeros(4)).axes[0])


@pytest.mark.parametrize("dim", [2, 3, 16, 768])
def test_the_curve_over_the_cosines_is_the_density_of_the_uniform_law(dim: int) -> None:
    rows = random(200, dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows @ rows.T)[np.triu_indices(200, 1)]
    axes = figures.cosine_figure(cosines, dim).axes[0]
    cosine, density = map(np.asarray, axes.lines[0].get_data())
    if dim > 2:  # on the circle the density is infinite at both ends
        assert np.trapezoid(density, cosine) == pytest.approx(1, abs=2e-3)
    heights, edges, _ = next(patch for patch in axes.patches if isinstance(patch, StepPatch)).get_data()
    middles = (edges[1:] + edges[:-1]) / 2
    inner = np.abs(middles) < 0.9 * min(1, 2 / dim**0.5)
    assert heights[inner] == pytest.approx(np.interp(middles, cosine, density)[inner], rel=0.35)


def test_a_narrow_density_does_not_hide_the_cosines() -> None:
    axes = figures.cosine_figure(np.linspace(-1, 1, 999), 4096).axes[0]
    assert axes.get_ylim()[1] < 2


def test_crowding_is_drawn_as_each_rows_own_uniformity() -> None:
    optimum = uniform_optimum(8)
    axes = figures.crowding_figure(
        [np.exp([-2.0, -2.0]), np.exp([-1.0])], 2, optimum, ["images", "texts"]
    ).axes[0]
    assert keys(axes) == ["images", "texts", f"optimum −{-optimum:.3f}", "uniformity −1.500"]
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx([optimum, -1.5])  # type: ignore[index]


def test_crowding_of_rows_that_underflow_or_are_alike_can_be_drawn() -> None:
    figures.crowding_figure([np.zeros(3)], 1000, -600)
    figures.crowding_figure([np.full(3, np.exp(-2.0))], 2, -2.0)


@pytest.mark.parametrize("bad", [np.array([]), np.array([1, np.nan])])
def test_histograms_of_nothing_or_of_nan_are_refused(bad: figures.Array) -> None:
    draws: list[Callable[[], Figure]] = [
        lambda: figures.pair_distance_figure(bad),
        lambda: figures.cosine_figure(bad, 8),
        lambda: figures.crowding_figure([bad], 2, -3),
        lambda: figures.spectrum_figure(bad, 1, 1),
    ]
    for draw in draws:
        with pytest.raises(ValueError, match="must"):
            draw()
