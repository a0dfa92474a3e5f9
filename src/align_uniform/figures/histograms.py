"""Histograms of the parts of a measurement: distances of pairs, cosines, and the crowding of each row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from align_uniform._messages import counted
from align_uniform.figures._style import (
    ACCENT,
    INK,
    LINE,
    OPTIMUM,
    PANEL,
    SECOND,
    SHADE,
    Array,
    decimal,
    draw_key,
    finite,
    hide_heights,
    styled_figure,
)
from align_uniform.sphere import cosine_log_density

BINS = 50


def pair_distance_figure(distances: Array, random: Array | None = None) -> Figure:
    """Draw the distances of positive pairs, with their mean; behind them, those of rows paired at random.

    Alignment with alpha = 1 is the mean; with alpha = 2 far pairs count more. Where the two histograms
    overlap, pairs cannot be told from chance.

    The figure misleads without the random pairs: in a cone all distances are small.

    Args:
        distances: [P], ||x - y|| of positive pairs.
        random: distances of random pairs of rows.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> figure = figures.pair_distance_figure(np.array([0.2, 0.3, 0.4]), np.array([1.3, 1.4, 1.5]))
        >>> figure.axes[0].get_xlabel()
        'distance of a pair'

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, figure 3, left column.
    """
    distances = finite("distances", distances)
    others = None if random is None else finite("random", random)
    largest = max(float(distances.max()), 0.0 if others is None else float(others.max())) or 1.0
    bins = np.linspace(0, largest * 1.02, BINS + 1)
    with styled_figure(PANEL) as figure:
        axes = figure.add_subplot()
        axes.set(xlim=(0, bins[-1]), xlabel="distance of a pair")
        _draw_shares(axes, distances, bins, "positive pairs", edge=ACCENT, face=ACCENT)
        if others is not None:
            _draw_shares(axes, others, bins, "random pairs", edge=LINE, face=SHADE, behind=True)
        _draw_line(axes, float(distances.mean()), "mean")
        _finish(axes)
    return figure


def cosine_figure(cosines: Array, dim: int, mean: float | None = None) -> Figure:
    """Draw the cosines of random distinct pairs of rows against the exact density of the uniform law.

    A shift to the right is a cone: the rows have a mean. A wider shape is fewer dimensions than there are
    features. A bump near 1 is duplicates or tight clusters.

    The figure misleads for few rows: all pairs of n rows are many, and not independent.

    Args:
        cosines: the cosines of pairs of different rows.
        dim: m, the number of features, at least 2; the uniform law is that on S^{m-1}.
        mean: the mean over all pairs, to mark; by default that of these cosines.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> figure = figures.cosine_figure(np.array([0.1, 0.2, 0.3]), dim=16)
        >>> figure.axes[0].get_xlabel()
        'cosine of two rows'

    Reference:
        The density is `sphere.cosine_log_density`, proportional to (1 - s^2)^((m - 3) / 2).
    """
    cosines = np.clip(finite("cosines", cosines), -1, 1)
    spread = 4.5 / np.sqrt(dim)
    low, high = max(-1.0, min(-spread, float(cosines.min()))), min(1.0, max(spread, float(cosines.max())))
    bins = np.linspace(low, high, BINS + 1)
    heights, _ = np.histogram(cosines, bins, density=True)
    inside = np.linspace(max(low, -1 + 1e-4), min(high, 1 - 1e-4), 400)
    density = cosine_log_density(torch.from_numpy(inside), dim).exp().numpy()
    with styled_figure(PANEL) as figure:
        axes = figure.add_subplot()
        axes.stairs(
            heights,
            bins,
            fill=True,
            facecolor=(ACCENT, 0.7),
            edgecolor=ACCENT,
            linewidth=1,
            label="these rows",
        )
        axes.plot(
            inside,
            density,
            color=OPTIMUM,
            linewidth=1.4,
            linestyle="--",
            label=f"uniform in {counted(dim, 'dimension')}",
        )
        _draw_line(axes, float(cosines.mean()) if mean is None else mean, "mean")
        axes.set(xlim=(low, high), xlabel="cosine of two rows")
        _finish(axes)
        # A narrow density would leave nothing to see of the rows; it goes on above the edge.
        axes.set_ylim(
            0, 1.06 * max(float(heights.max()), min(float(density.max()), 3 * float(heights.max())))
        )
    return figure


def crowding_figure(
    row_means: Sequence[Array],
    t: float,
    optimum: float,
    names: Sequence[str] = (),
    uniform: float | None = None,
) -> Figure:
    r"""Draw which rows sit in a crowd: the log of each row's mean potential with all others.

    .. math:: \log h_i, \quad h_i = \frac{1}{N-1} \sum_{j \neq i} e^{-t \lVert x_i - x_j \rVert^2}

    This is the uniformity as seen from one row; the log of the mean of h_i is the uniformity of all. A row to
    the right has many others near. A tail there is near-duplicates or tight clusters, a shift of all is a
    cone.

    The figure misleads where a few rows carry the mean: those to the far right weigh exponentially more than
    they look.

    Args:
        row_means: h_i, [N] for each view or tower.
        t: inverse squared width of the potential.
        optimum: `uniform_optimum(dim, t)`, the value of every row under the uniform law.
        names: the names of the views or towers.
        uniform: the uniformity of all rows, to mark; by default that of these row means, averaged over views
            or towers.

    Example:
        >>> import torch
        >>> from align_uniform import figures, measure, uniform_optimum
        >>> details = measure(torch.eye(8)).details
        >>> figure = figures.crowding_figure(details.row_means, 2.0, uniform_optimum(8))
        >>> len(figure.axes)
        1

    Reference:
        The terms of Wang & Isola, ICML 2020, arXiv 2005.10242, equation 5.
    """
    populations = [np.log(np.maximum(finite("row_means", part), np.finfo(float).tiny)) for part in row_means]
    everything = np.concatenate([*populations, [optimum]])
    margin = 0.04 * float(np.ptp(everything)) or 0.1
    bins = np.linspace(everything.min() - margin, everything.max() + margin, BINS + 1)
    with styled_figure(PANEL) as figure:
        axes = figure.add_subplot()
        axes.set(
            xlim=(bins[0], bins[-1]), xlabel=f"log mean potential of a row (t = {t:g}); to the right: crowded"
        )
        for number, values in enumerate(populations):
            name = names[number] if names else "rows"
            _draw_shares(
                axes,
                values,
                bins,
                name,
                edge=[ACCENT, SECOND, LINE][number % 3],
                face=None if number else ACCENT,
            )
        _draw_line(axes, optimum, "optimum", colour=OPTIMUM, style="--")
        own = float(np.mean([np.log(np.exp(part).mean()) for part in populations]))
        _draw_line(axes, own if uniform is None else uniform, "uniformity")
        _finish(axes)
    return figure


def _draw_shares(
    axes: Axes, values: Array, bins: Array, name: str, *, edge: str, face: str | None, behind: bool = False
) -> None:
    """Draw the share of values in each bin."""
    shares = np.histogram(values, bins)[0] / len(values)
    order = 0.9 if behind else 1
    if face is None:
        axes.stairs(shares, bins, color=edge, linewidth=1.2, label=name)
    else:
        axes.stairs(
            shares,
            bins,
            fill=True,
            facecolor=(face, 0.7),
            edgecolor=edge,
            linewidth=1,
            zorder=order,
            label=name,
        )


def _draw_line(axes: Axes, value: float, name: str, *, colour: str = INK, style: str = "-") -> None:
    axes.axvline(value, color=colour, linewidth=1.2, linestyle=style, label=f"{name} {decimal(value)}")


def _finish(axes: Axes) -> None:
    """Add the key, and hide the heights: they depend on the bins, and only the shape counts."""
    hide_heights(axes)
    axes.set_ylim(0, axes.dataLim.ymax * 1.06)
    draw_key(axes, columns=3 if len(axes.get_legend_handles_labels()[0]) <= 3 else 2)
