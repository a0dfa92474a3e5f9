"""Numbers in the course of training, as a figure."""

from __future__ import annotations

import numpy as np
import pytest

from align_uniform import figures


def test_each_number_has_a_panel_over_the_same_epochs() -> None:
    loss = figures.Curve("loss", np.array([0.5, 1.0, 1.5, 2.0]), np.array([-1.0, -1.5, -2.0, -2.2]))
    accuracy = figures.Curve("5-NN accuracy", np.array([1.0, 2.0]), np.array([0.5, 0.9]), is_share=True)
    top, bottom = figures.curves_figure([loss, accuracy]).axes
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("loss", "5-NN accuracy")
    assert np.array_equal(top.lines[0].get_ydata(), loss.values)
    assert bottom.lines[0].get_marker() == "o"
    assert top.get_xlim() == bottom.get_xlim()
    assert bottom.yaxis.get_major_formatter()(0.5, 0).startswith("50")


def test_no_number_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one number"):
        figures.curves_figure([])
    with pytest.raises(ValueError, match="loss must have as many epochs as values"):
        figures.curves_figure([figures.Curve("loss", np.zeros(2), np.zeros(1))])
