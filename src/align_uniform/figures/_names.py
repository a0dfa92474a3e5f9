"""The placement of names next to points, where they cover least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from align_uniform.figures._style import INK

Place = tuple[float, float, str, str]
"""The offset of a text from its point, in points, and its two alignments."""

Line = tuple[float, float, float, float]
"""The x and y of one end of a line and of the other; for a point, both ends are the same."""

PLACES: tuple[Place, ...] = (
    (10, 0, "left", "center"),
    (-10, 0, "right", "center"),
    (0, 9, "center", "bottom"),
    (0, -9, "center", "top"),
    (8, 6, "left", "bottom"),
    (8, -6, "left", "top"),
    (-8, 6, "right", "bottom"),
    (-8, -6, "right", "top"),
)
"""The places to try, best first; a later one must cover less."""


def place_names(
    figure: Figure, axes: Axes, names: Mapping[str, tuple[float, float]], lines: Sequence[Line]
) -> None:
    """Write each name by its point, clear of lines, of other words and of the edge if possible.

    Call it when the limits of the axes are final.
    """
    figure.draw_without_rendering()  # the layout, and so what is where
    ends = axes.transData.transform(np.reshape(lines, (-1, 2))).reshape(-1, 4)
    taken = [Bbox.from_extents(*part).padded(6 * figure.dpi / 72) for part in ends]
    taken += [text.get_window_extent() for text in axes.texts]
    for name, point in names.items():
        label = axes.annotate(name, point, xytext=(0, 0), textcoords="offset points", color=INK)
        _move(label, min(PLACES, key=lambda place, label=label: _cost(label, place, axes, taken)))  # type: ignore[misc]
        taken.append(label.get_window_extent())


def _cost(label: Annotation, place: Place, axes: Axes, taken: Sequence[Bbox]) -> float:
    """Return the area that the label would cover there or take outside of the axes, in square pixels."""
    _move(label, place)
    box = label.get_window_extent()
    within = Bbox.intersection(box, axes.get_window_extent())
    outside = _area(box) - (_area(within) if within else 0)
    covered = (Bbox.intersection(box, other) for other in taken)
    return 4 * outside + sum(_area(part) for part in covered if part)


def _area(box: Bbox) -> float:
    return float(box.width * box.height)


def _move(label: Annotation, place: Place) -> None:
    x, y, horizontal, vertical = place
    label.set(position=(x, y), ha=horizontal, va=vertical)
