"""Names of points do not cover each other."""

from __future__ import annotations

from align_uniform import figures
from tests.figures.samples import POINTS


def test_names_do_not_cover_each_other() -> None:
    points = [figures.PlanePoint(f"encoder {k}", 0.1 + 0.001 * k, -2 - 0.01 * k) for k in range(3)] + POINTS
    axes = figures.plane_figure(points, -3.9).axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])
