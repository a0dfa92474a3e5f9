"""The plane of alignment and uniformity: every point, its interval, the optimum."""

from __future__ import annotations

import numpy as np
import pytest

from align_uniform import figures
from tests.figures.samples import POINTS, keys


def test_the_plane_shows_every_point_and_the_optimum() -> None:
    axes = figures.plane_figure(POINTS, optimum=-3.9).axes[0]
    drawn = np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections])
    assert sorted(map(tuple, drawn.tolist())) == [(0.1, -2), (0.2, -3), (0.3, -1)]
    assert np.asarray(axes.lines[-1].get_ydata()).tolist() == [-3.9, -3.9]
    assert axes.get_ylim()[0] < -3.9


def test_the_plane_writes_few_names_beside_the_points_and_many_in_a_legend() -> None:
    few = figures.plane_figure(POINTS, -3.9).axes[0]
    assert [text.get_text() for text in few.texts][1:] == ["a", "b"]
    assert few.get_legend() is None
    many = figures.plane_figure(
        [figures.PlanePoint(f"encoder {k}", k / 20, -k / 5) for k in range(12)], -3.9
    ).axes[0]
    assert keys(many) == [f"encoder {k}" for k in range(12)]
    scattered = [figures.PlanePoint("one objective", k / 20, -k / 5) for k in range(6)]
    assert keys(figures.plane_figure(scattered, -3.9).axes[0]) == ["one objective"]


def test_the_plane_draws_95_percent_intervals() -> None:
    axes = figures.plane_figure([figures.PlanePoint("a", 0.5, -2, None, 0.01, 0.1)], -3.9).axes[0]
    across, along = axes.lines[:2]
    assert np.ptp(np.asarray(across.get_xdata())) == pytest.approx(0.02 * 1.96, rel=1e-4)
    assert np.ptp(np.asarray(along.get_ydata())) == pytest.approx(0.2 * 1.96, rel=1e-4)


def test_a_plane_without_accuracies_has_no_scale_of_colours_and_one_with_some_has() -> None:
    bare = [figures.PlanePoint("a", 0.1, -2), figures.PlanePoint("b", 0.2, -1)]
    assert len(figures.plane_figure(bare, -3.9).axes) == 1
    assert len(figures.plane_figure([*bare, POINTS[0]], -3.9).axes) == 2


def test_an_empty_plane_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        figures.plane_figure([], -3.9)
    with pytest.raises(ValueError, match="at least one"):
        figures.trajectory_figure([], -3.9)
