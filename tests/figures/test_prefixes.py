"""The numbers of first features, as a figure."""

from __future__ import annotations

import numpy as np
import pytest

from align_uniform import figures

GAP = figures.PrefixCurve("gap", np.array([1.0, 0.5, 0.4]), np.array([0.1, np.nan, 0.05]), better="smaller")
RECALL = figures.PrefixCurve("recall@1", np.array([0.5, 0.8, 0.9]), is_share=True, better="larger")


def test_each_number_has_a_panel_with_its_intervals_over_the_same_features() -> None:
    left, right = figures.prefix_figure([16, 64, 256], [GAP, RECALL]).axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("gap", "recall@1")
    assert left.get_xlabel() == "features kept (smaller is better)"
    assert left.get_xscale() == "log"
    assert left.get_xlim() == right.get_xlim()
    assert left.get_xticks().tolist() == [16, 64, 256]
    assert left.lines[0].get_ydata() == [0.4, 0.4]
    assert np.array_equal(left.lines[1].get_ydata(), GAP.values)
    (bars,) = left.containers
    heights = [np.ptp(segment[:, 1]) for segment in bars[2][0].get_segments()]
    assert heights == pytest.approx([0.392, 0, 0.196], rel=1e-3)
    assert right.yaxis.get_major_formatter()(0.5, 0).startswith("50")


def test_one_number_of_features_and_an_odd_number_of_panels_are_drawn() -> None:
    (axes,) = figures.prefix_figure([8], [figures.PrefixCurve("gap", np.array([1.0]))]).axes
    assert axes.get_xlim()[0] < 8 < axes.get_xlim()[1]
    assert len(figures.prefix_figure([16, 64, 256], [GAP, RECALL, GAP]).axes) == 3


def test_intervals_of_shares_end_at_0_and_1() -> None:
    curve = figures.PrefixCurve("recall@1", np.array([0.01, 0.99]), np.array([0.1, 0.1]), is_share=True)
    (axes,) = figures.prefix_figure([2, 4], [curve]).axes
    low, high = (segment[:, 1] for segment in axes.containers[0][2][0].get_segments())
    assert [*low, *high] == pytest.approx([0, 0.206, 0.794, 1], abs=1e-3)


def test_numbers_on_the_axis_do_not_touch() -> None:
    dims = [2, 4, 254, 255, 256]
    (axes,) = figures.prefix_figure(dims, [figures.PrefixCurve("gap", np.ones(5))]).axes
    assert axes.get_xticks().tolist() == [2, 4, 256]


def test_no_number_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one number"):
        figures.prefix_figure([4], [])
    with pytest.raises(ValueError, match="gap must have a value and an error for each of the 2 numbers"):
        figures.prefix_figure([4, 8], [GAP])
