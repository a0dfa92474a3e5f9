"""The way of a training run through the plane."""

from __future__ import annotations

import numpy as np
import pytest

from align_uniform import figures


def test_a_trajectory_is_coloured_by_step_and_marked_at_both_ends() -> None:
    runs = [
        figures.Trajectory(name, np.arange(0, 30, 10), np.array([0.0, 0.1, 0.3]), np.array([0.0, -1, -2]))
        for name in "ab"
    ]
    figure = figures.trajectory_figure(runs, -3.9)
    way, dots, start, end = figure.axes[0].collections[:4]
    assert np.asarray(way.get_array()).tolist() == [5, 15]
    assert np.asarray(dots.get_array()).tolist() == [0, 10, 20]
    assert np.asarray(start.get_offsets()).tolist() == [[0, 0]]
    assert np.asarray(end.get_offsets()).tolist() == [[0.3, -2]]
    assert [text.get_text() for text in figure.axes[0].texts][1:] == ["a", "b"]


def test_a_trajectory_of_a_single_step_can_be_drawn_and_one_of_unequal_lengths_is_refused() -> None:
    one = np.zeros(1)
    figures.trajectory_figure([figures.Trajectory("run", one, one, one)], -3.9)
    with pytest.raises(ValueError, match="run must have as many steps as values"):
        figures.trajectory_figure([figures.Trajectory("run", np.zeros(2), one, one)], -3.9)
