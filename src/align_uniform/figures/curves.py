"""Numbers in the course of training: one panel below the other, over the same epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from align_uniform._messages import counted
from align_uniform.figures._style import ACCENT, PLANE, Array, styled_figure


@dataclass(frozen=True)
class Curve:
    """A number in the course of training.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> accuracy = figures.Curve("accuracy", np.arange(3), np.array([0.1, 0.7, 0.8]), is_share=True)
        >>> figures.curves_figure([accuracy]).axes[0].get_xlabel()
        'epochs done'
    """

    label: str
    """The name of the number, for the axis."""
    epochs: Array
    """The epochs that are done at each value, rising, [S]; parts of epochs count."""
    values: Array
    """The values, [S]."""
    is_share: bool = False
    """Whether the values are shares of 1, which are written in per cent."""


def curves_figure(curves: Sequence[Curve]) -> Figure:
    """Draw each number over the epochs in a panel of its own, with a dot at each value if there are few.

    The figure misleads where a loss is the mean over training batches: each of them is of another encoder,
    and of images that are trained on.

    Args:
        curves: the numbers, from top to bottom; at least one.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> loss = figures.Curve("loss", np.array([1, 2, 3]), np.array([-1.2, -2.0, -2.3]))
        >>> figures.curves_figure([loss]).axes[0].get_ylabel()
        'loss'
    """
    if not curves:
        raise ValueError("curves must have at least one number, got none.")
    for curve in curves:
        if not len(curve.epochs) == len(curve.values) >= 1:
            raise ValueError(
                f"{curve.label} must have as many epochs as values, and at least one, got "
                f"{counted(len(curve.epochs), 'epoch')} and {counted(len(curve.values), 'value')}."
            )
    with styled_figure(PLANE) as figure:
        panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for axes, curve in zip(panels, curves, strict=True):
            marker = "o" if len(curve.values) <= 40 else ""
            axes.plot(curve.epochs, curve.values, color=ACCENT, linewidth=1.6, marker=marker, markersize=4)
            axes.set_ylabel(curve.label)
            axes.yaxis.set_major_locator(MaxNLocator(5))
            if curve.is_share:
                axes.yaxis.set_major_formatter(PercentFormatter(1))
        panels[-1].set(xlabel="epochs done", xlim=(0, None))
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
