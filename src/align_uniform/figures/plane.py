"""The align-uniform plane: encoders as points."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from align_uniform.figures._names import Line, place_names
from align_uniform.figures._style import ACCENT, INK, LINE, PAPER, PLANE, RAMP, mark_optimum, styled_figure
from align_uniform.measuring.results import NORMAL_95, Results

FEW = 10
"""The largest number of names that are written next to their points; more get a legend."""
SEEDS = 5
"""The largest number of points of one name for which the name stands next to them; more get a legend."""


@dataclass(frozen=True)
class PlanePoint:
    """One encoder in the align-uniform plane.

    Example:
        >>> from align_uniform import figures, uniform_optimum
        >>> seeds = [
        ...     figures.PlanePoint("ours", 0.31, -3.12, accuracy=0.81),
        ...     figures.PlanePoint("ours", 0.33, -3.15, accuracy=0.82),
        ... ]
        >>> figure = figures.plane_figure(seeds, uniform_optimum(64))
    """

    name: str
    align: float
    uniform: float
    accuracy: float | None = None
    align_stderr: float | None = None
    uniform_stderr: float | None = None


def plane_of_measurements(results: Sequence[Results], accuracy: Sequence[float] | None = None) -> Figure:
    """Draw measurements in the plane, those of different dimensions with their gaps to the optimum.

    Args:
        results: the measurements, each with an alignment.
        accuracy: the accuracy of each in some task.

    Raises:
        ValueError: a measurement has no alignment.

    Example:
        >>> import torch
        >>> from align_uniform import figures, measure
        >>> x, noise = torch.randn(2, 200, 16, generator=torch.Generator().manual_seed(0))
        >>> found = [measure(x, x + size * noise, name=f"noise {size}") for size in (0.3, 0.6)]
        >>> figures.plane_of_measurements(found).axes[0].get_ylabel()
        'uniformity (smaller is better)'
    """
    have_one_dim = len({result.dim for result in results}) == 1
    points = []
    for number, result in enumerate(results):
        if result.align is None:
            raise ValueError(f"results must have an alignment each, and {result.name} has none; give pairs.")
        uniform = result.uniform
        points.append(
            PlanePoint(
                name=result.name,
                align=result.align.value,
                uniform=uniform.value if have_one_dim else uniform.gap,
                accuracy=None if accuracy is None else accuracy[number],
                align_stderr=result.align.stderr,
                uniform_stderr=uniform.total_stderr,
            )
        )
    return plane_figure(points, results[0].uniform.optimum if have_one_dim else None)


def plane_figure(
    points: Sequence[PlanePoint], optimum: float | None, accuracy_name: str = "accuracy"
) -> Figure:
    """Draw encoders in the plane of alignment and uniformity, coloured by accuracy: the paper's figure 5.

    Bars are 95% intervals, where a point has standard errors. Better is left and down. Encoders of different
    dimensions have different optima: give their gaps in place of their uniformities, and no optimum.

    The figure misleads for pairs that were made by different augmentations, whose alignments measure
    different things; and as to which encoder is better where neither is better in both.

    Args:
        points: the encoders; those of one name (its seeds) share a marker.
        optimum: the least uniformity there is, `uniform_optimum(dim, t)`, drawn as a line; None if the points
            have gaps, the uniformity less its optimum, whose optimum is 0.
        accuracy_name: the label of the colours; without accuracies all points have one colour.

    Example:
        >>> from align_uniform import figures, uniform_optimum
        >>> points = [figures.PlanePoint("one", 0.3, -3.1), figures.PlanePoint("two", 0.5, -3.4)]
        >>> figure = figures.plane_figure(points, uniform_optimum(64))
        >>> len(figure.axes)
        1

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, figure 5.
    """
    if not points:
        raise ValueError("points must have at least one encoder, got none.")
    markers: Mapping[str, str] = dict(
        zip(dict.fromkeys(point.name for point in points), "osD^vPX*<>" * 99, strict=False)
    )
    accuracies = [point.accuracy for point in points if point.accuracy is not None]
    with styled_figure(PLANE) as figure:
        axes = figure.add_subplot()
        for x, y, other_x, other_y in (line for point in points for line in _intervals(point)):
            axes.plot([x, other_x], [y, other_y], color=LINE, linewidth=1.2, zorder=1)
        for name, marker in markers.items():
            members = [point for point in points if point.name == name]
            dots = axes.scatter(
                [point.align for point in members],
                [point.uniform for point in members],
                marker=marker, s=90, edgecolors=PAPER, label=name, zorder=3, **_colours(members, accuracies),
            )  # fmt: skip
        axes.margins(0.12, 0.16)
        measured = "uniformity" if optimum is not None else "gap of uniformity to its optimum"
        axes.set(
            xlabel="alignment of positive pairs (smaller is better)", ylabel=f"{measured} (smaller is better)"
        )
        mark_optimum(axes, 0.0 if optimum is None else optimum)
        if accuracies:
            figure.colorbar(dots, label=accuracy_name, fraction=0.05).outline.set_visible(False)
        most = max(sum(point.name == name for point in points) for name in markers)
        if len(markers) <= FEW and most <= SEEDS:
            middles = {name: _middle([point for point in points if point.name == name]) for name in markers}
            place_names(figure, axes, middles, [line for point in points for line in _intervals(point)])
        else:
            _draw_legend(axes)
    return figure


def _intervals(point: PlanePoint) -> list[Line]:
    """Return the 95% interval of either quantity; a line without length where there is no error."""
    align, uniform = (NORMAL_95 * (error or 0) for error in (point.align_stderr, point.uniform_stderr))
    return [
        (point.align - align, point.uniform, point.align + align, point.uniform),
        (point.align, point.uniform - uniform, point.align, point.uniform + uniform),
    ]


def _colours(members: Sequence[PlanePoint], accuracies: Sequence[float]) -> dict[str, Any]:
    """Colour by accuracy; a point without one is grey, and if all lack one they share one colour."""
    if not accuracies:
        return {"color": ACCENT}
    known = [np.nan if point.accuracy is None else point.accuracy for point in members]
    ramp = RAMP.with_extremes(bad=LINE)
    return {"c": known, "vmin": min(accuracies), "vmax": max(accuracies), "cmap": ramp, "plotnonfinite": True}


def _middle(points: Sequence[PlanePoint]) -> tuple[float, float]:
    return statistics.fmean(point.align for point in points), statistics.fmean(
        point.uniform for point in points
    )


def _draw_legend(axes: Axes) -> None:
    """Draw a legend in which the marker alone tells the name; the colour tells the accuracy."""
    for handle in axes.legend(frameon=False, loc="best", fontsize=8).legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_array(None)
            handle.set_facecolor(INK)
