"""The numbers of rows that are cut to their first features, over the number of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from align_uniform._messages import counted
from align_uniform.figures._style import ACCENT, FAINT, PLANE, Array, styled_figure
from align_uniform.measuring.results import NORMAL_95

NEAR = 0.06
"""The distance of two marks on the axis, as a share of it, below which the smaller one has no number."""


@dataclass(frozen=True)
class PrefixCurve:
    """A number of the first features of rows.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> values = np.array([0.6, 0.8, 0.9])
        >>> recall = figures.PrefixCurve("recall@1", values, is_share=True, better="larger")
        >>> figures.prefix_figure([64, 128, 256], [recall]).axes[0].get_xlabel()
        'features kept (larger is better)'
    """

    label: str
    """The name of the number, for the title of its panel."""
    values: Array
    """The value for each number of features, [D]."""
    errors: Array | None = None
    """The standard error of each value, [D], NaN where it is not known; None if there are none."""
    is_share: bool = False
    """Whether the values are shares of 1, which are written in per cent."""
    better: str = ""
    """The better direction, "smaller" or "larger"; empty if neither is."""


def prefix_figure(dims: Sequence[int], curves: Sequence[PrefixCurve]) -> Figure:
    """Draw each number over the number of features that are kept, with 95% intervals, one panel for each.

    The axis of features is logarithmic, and the dotted line is the value for all features. A curve that
    reaches the line early says that the features after it are not needed for this number.

    The figure misleads where intervals of neighbouring points are compared: all points are of the same rows,
    so that their differences are known better than the points themselves.

    Args:
        dims: the numbers of features, rising, all features last, [D].
        curves: the numbers; at least one.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> curve = figures.PrefixCurve("gap", np.array([0.9, 0.6, 0.5]), np.array([0.02, 0.01, 0.01]))
        >>> len(figures.prefix_figure([16, 32, 64], [curve]).axes)
        1
    """
    if not curves:
        raise ValueError("curves must have at least one number, got none.")
    for curve in curves:
        sizes = {len(curve.values), len(dims) if curve.errors is None else len(curve.errors)}
        if sizes != {len(dims)} or not len(dims):
            raise ValueError(
                f"{curve.label} must have a value and an error for each of the "
                f"{counted(len(dims), 'number')} of features, and at least one, got "
                f"{' and '.join(map(str, sorted(sizes)))}."
            )
    rows = math.ceil(len(curves) / 2)
    with styled_figure((PLANE[0], 0.3 + 1.9 * rows)) as figure:
        panels = figure.subplots(rows, min(2, len(curves)), squeeze=False).ravel()
        for axes, curve in zip(panels, curves, strict=False):
            _draw(axes, np.asarray(dims, dtype=np.float64), curve)
        for axes in panels[len(curves) :]:
            axes.remove()
    return figure


def _draw(axes: Axes, dims: Array, curve: PrefixCurve) -> None:
    values = np.asarray(curve.values, dtype=np.float64)
    errors = None if curve.errors is None else NORMAL_95 * np.nan_to_num(np.asarray(curve.errors))
    if errors is not None and curve.is_share:  # no share lies beyond 0 or 1
        errors = np.stack([np.minimum(errors, values), np.minimum(errors, 1 - values)])
    axes.axhline(values[-1], color=FAINT, linewidth=1, linestyle=":")
    axes.errorbar(
        dims, values, yerr=errors, color=ACCENT, linewidth=1.6, marker="o", markersize=4, capsize=2,
        elinewidth=1.2,
    )  # fmt: skip
    direction = f" ({curve.better} is better)" if curve.better else ""
    axes.set_title(curve.label, loc="left")
    axes.set(xscale="log", xlabel=f"features kept{direction}")
    span = math.log(dims[-1] / dims[0]) or 1.0
    axes.set_xlim(dims[0] * math.exp(-0.06 * span), dims[-1] * math.exp(0.06 * span))
    axes.xaxis.set_major_locator(FixedLocator(_marks(dims, span)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if curve.is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1))


def _marks(dims: Array, span: float) -> list[float]:
    """Return the numbers of features that are written on the axis: the largest, and those with room."""
    found: list[float] = []
    for dim in reversed(dims.tolist()):
        if not found or math.log(found[-1] / dim) >= NEAR * span:
            found.append(dim)
    return found[::-1]
