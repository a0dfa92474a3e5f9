"""The spectrum of the covariance, and what holds most of the variance."""

from __future__ import annotations

import numpy as np

from align_uniform import figures
from tests.figures.samples import keys


def test_the_spectrum_marks_what_holds_most_of_the_variance() -> None:
    axes = figures.spectrum_figure(np.array([1.0, 8.0, 0.5, 0.5]), rankme=2.5, participation_ratio=1.25).axes[
        0
    ]
    assert keys(axes) == ["RankMe 2.5", "participation ratio 1.2", "90% of the variance: 2"]
    _, _, curve, dot = axes.lines
    assert np.asarray(curve.get_ydata()).tolist() == [8, 1, 0.5, 0.5]
    assert np.asarray(dot.get_data()).tolist() == [[2], [1]]


def test_a_spectrum_without_variance_can_be_drawn() -> None:
    figures.spectrum_figure(np.zeros(4), 1, 1).draw_without_rendering()


def test_a_spectrum_leaves_out_what_is_rounding() -> None:
    curve = figures.spectrum_figure(np.array([1.0, 0.5, 1e-16, 0.0, -1e-17]), 2, 2).axes[0].lines[2]
    assert np.asarray(curve.get_ydata()).tolist() == [1, 0.5]
