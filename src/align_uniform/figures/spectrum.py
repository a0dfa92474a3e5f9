"""The spectrum of the covariance: how many dimensions the features use."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from align_uniform.figures._style import ACCENT, INK, LINE, PANEL, Array, draw_key, finite, styled_figure

SHARE = 0.9
SMALLEST = 1e-7
"""The smallest eigenvalue that is drawn, as a fraction of the largest; smaller ones are rounding."""


def spectrum_figure(eigenvalues: Array, rankme: float, participation_ratio: float) -> Figure:
    """Draw the eigenvalues of the covariance, largest first, with two counts of the dimensions in use.

    Both scales are logarithmic. RankMe and the participation ratio stand on the axis of dimensions, as does
    the number that holds 90% of the variance. The dashed line is the same variance spread evenly. A cliff is
    dimensional collapse: nothing beyond it is used.

    The figure misleads for fewer rows than features: the spectrum ends at the number of rows whatever the
    encoder does, and sampling spreads even equal eigenvalues. The covariance is centred, and so blind to a
    cone; RankMe is not.

    Args:
        eigenvalues: [m], the eigenvalues of the covariance of the rows.
        rankme: the RankMe of the rows.
        participation_ratio: the participation ratio of the eigenvalues.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> figure = figures.spectrum_figure(np.array([0.5, 0.3, 0.2]), rankme=2.8, participation_ratio=2.6)
        >>> len(figure.axes)
        1

    Reference:
        Garrido et al., ICML 2023, arXiv 2210.02885 (RankMe); Jing et al., ICLR 2022, arXiv 2110.09348 (the
        figure).
    """
    values = np.sort(np.maximum(finite("eigenvalues", eigenvalues), 0))[::-1]
    ranks = np.arange(1, len(values) + 1)
    total = float(values.sum())
    with styled_figure(PANEL) as figure:
        axes = figure.add_subplot()
        axes.set(
            xscale="log",
            yscale="log",
            xlim=(0.9, len(values) * 1.12),
            xlabel="dimension, by variance",
            ylabel="variance",
        )
        axes.axvline(rankme, color=INK, linewidth=1.2, label=f"RankMe {rankme:,.1f}")
        axes.axvline(
            participation_ratio,
            color=INK,
            linewidth=1.2,
            linestyle=":",
            label=f"participation ratio {participation_ratio:,.1f}",
        )
        if total > 0:
            shown = values > SMALLEST * values[0]
            floor, ceiling = values[shown].min() / 2, values[0] * 2
            axes.set_ylim(floor, ceiling)
            axes.fill_between(ranks[shown], values[shown], floor, color=ACCENT, alpha=0.2, linewidth=0)
            axes.plot(ranks[shown], values[shown], color=ACCENT, linewidth=1.6)
            axes.hlines(total / len(values), 1, len(values), colors=LINE, linestyles="--", linewidth=1)
            _mark_share(axes, values)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power_of_ten(value)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        draw_key(axes, columns=2)
    return figure


def _mark_share(axes: Axes, values: Array) -> None:
    """Mark the first dimensions that together hold most of the variance."""
    count = int(np.searchsorted(np.cumsum(values) / values.sum(), SHARE)) + 1
    label = f"{SHARE:.0%} of the variance: {count:,}"
    axes.plot(count, values[count - 1], marker="o", linestyle="none", color=ACCENT, markersize=6, label=label)


def _power_of_ten(value: float) -> str:
    """Write a power of ten as 10⁻³; matplotlib would set it as mathematics, which this look leaves out."""
    return "10" + f"{round(math.log10(value))}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
