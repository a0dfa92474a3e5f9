"""Features on the circle: densities that integrate to one, and a ring that shows where the points are."""

from __future__ import annotations

import numpy as np
import pytest

from align_uniform import figures
from tests.figures.samples import CLASSES, circle


def test_the_circle_figure_has_a_histogram_and_two_panels_for_all_and_for_each_class() -> None:
    figure = figures.circle_figure([circle(), circle()], CLASSES)
    assert len(figure.axes) == 2 * (1 + 2 * (1 + len(CLASSES)))
    titles = [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["encoder", "all images", "“cat”", "“dog”", "encoder"]


def test_the_density_of_angles_integrates_to_one() -> None:
    figure = figures.circle_figure([circle()], CLASSES)
    angles, density = figure.axes[2].lines[0].get_data()
    assert np.trapezoid(np.asarray(density), np.asarray(angles)) == pytest.approx(1, abs=1e-6)


def test_the_ring_shows_a_density_that_is_largest_where_the_points_are() -> None:
    points = figures.CircleFeatures(
        "one place", np.zeros(3), np.array([[0.0, 1.0]] * 3), np.zeros(3, dtype=int)
    )
    image = figures.circle_figure([points], ["only"]).axes[1].images[0]
    row, column = np.unravel_index(np.asarray(image.get_array()).argmax(), image.get_array().shape)  # type: ignore[union-attr]
    left, right, bottom, top = image.get_extent()
    assert left + (column + 0.5) / 120 * (right - left) == pytest.approx(0, abs=0.03)
    assert bottom + (row + 0.5) / 120 * (top - bottom) == pytest.approx(1, abs=0.03)


def test_a_picture_of_more_than_two_dimensions_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"\[N, 2\].*\[40, 3\].*projection"):
        figures.circle_figure([circle(dim=3)], CLASSES)
