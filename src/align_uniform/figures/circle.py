"""The paper's figure 3: features on the circle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from align_uniform.figures._style import ACCENT, INK, LINE, OPTIMUM, SHADE, Array, hide_heights, styled_figure


@dataclass(frozen=True)
class CircleFeatures:
    """The data that figure 3 shows of one encoder.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 100)
        >>> rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> distances = np.linalg.norm(rows - np.roll(rows, 1, axis=0), axis=1)
        >>> encoder = figures.CircleFeatures("untrained", distances, rows, np.arange(100) % 2)
        >>> figure = figures.circle_figure([encoder], ["cat", "dog"])
    """

    name: str
    pair_distances: Array
    """The distances ||x_i - y_i|| of positive pairs, [N]."""
    features: Array
    """The features, of unit norm, [N, 2]."""
    labels: NDArray[np.integer[Any]]
    """The class of each row, from 0, [N]."""


def circle_figure(encoders: Sequence[CircleFeatures], classes: Sequence[str]) -> Figure:
    """Draw the paper's figure 3: alignment and uniformity of encoders whose outputs lie on the circle S^1.

    Each encoder has a row. First come the distances of positive pairs, with their mean. Then come the
    features, of all images and of each class: their density in the plane (a Gaussian kernel), and under it
    the density of their angles (von Mises-Fisher, kappa 25).

    Args:
        encoders: the rows.
        classes: name of each label.

    Raises:
        ValueError: features are not 2-dimensional. A picture of more dimensions would show a projection.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> angles = np.linspace(0, 6, 20)
        >>> rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> encoder = figures.CircleFeatures("encoder", np.full(20, 0.2), rows, np.arange(20) % 2)
        >>> len(figures.circle_figure([encoder], ["even", "odd"]).axes)
        7

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, figure 3.
    """
    for encoder in encoders:
        if encoder.features.shape[1:] != (2,):
            raise ValueError(
                f"features must be [N, 2], points on the circle, got shape {list(encoder.features.shape)}: a "
                "picture of more dimensions would be one of the projection; train an encoder with 2 outputs."
            )
    columns = 2 + len(classes)
    with styled_figure((2.6 + 1.28 * (columns - 1), 2.2 * len(encoders) + 0.5)) as figure:
        grid = figure.add_gridspec(
            2 * len(encoders),
            columns,
            width_ratios=[2.1, 1.25] + [1] * len(classes),
            height_ratios=[1.5, 0.62] * len(encoders),
        )
        colours = mpl.colormaps["tab10"](np.arange(len(classes)) % 10)
        for row, encoder in enumerate(encoders):
            _draw_pair_distances(
                figure.add_subplot(grid[2 * row : 2 * row + 2, 0]), encoder, is_last=row == len(encoders) - 1
            )
            groups = [("all images", np.ones(len(encoder.labels), bool), mpl.colors.to_rgba(INK))]
            groups += [
                (f"“{name}”", encoder.labels == label, tuple(colours[label]))
                for label, name in enumerate(classes)
            ]
            for column, (name, members, colour) in enumerate(groups, start=1):
                ring = figure.add_subplot(grid[2 * row, column])
                _draw_ring(ring, encoder.features[members], colour)
                if row == 0:
                    ring.set_title(name, color=colour)
                _draw_angles(figure.add_subplot(grid[2 * row + 1, column]), encoder.features[members], colour)
    return figure


def _draw_pair_distances(axes: Axes, encoder: CircleFeatures, *, is_last: bool) -> None:
    distances = encoder.pair_distances
    axes.hist(
        distances,
        bins=np.linspace(0, 2, 41).tolist(),
        color=ACCENT,
        alpha=0.8,
        weights=np.full(len(distances), 1 / len(distances)),
    )
    axes.set(xlim=(0, 2))
    mean = float(distances.mean())
    axes.axvline(mean, color=OPTIMUM, linewidth=1.2)
    side: Literal["left", "right"] = "left" if mean < 1 else "right"  # where there is more room
    axes.annotate(
        f"mean {mean:.2f}", (mean, 0.96), (4 if side == "left" else -4, 0),
        xycoords=("data", "axes fraction"), textcoords="offset points", color=OPTIMUM, ha=side, va="top",
    )  # fmt: skip
    hide_heights(axes)
    axes.set_title(encoder.name, loc="left")
    if is_last:
        axes.set_xlabel("distance of positive pairs")


def _draw_ring(axes: Axes, points: Array, colour: tuple[float, ...]) -> None:
    """Draw the density of the points in the plane, with a Gaussian kernel."""
    bandwidth, reach, pixels = 0.09, 1.3, 120
    ticks = np.linspace(-reach, reach, pixels)
    # The kernel is a product over the two axes, and so the density of a grid is a product of two matrices.
    along_x, along_y = (
        np.exp(-(((ticks[:, None] - points[None, :, axis]) / bandwidth) ** 2) / 2) for axis in (0, 1)
    )
    density = along_y @ along_x.T / len(points) / (2 * np.pi * bandwidth**2)
    ramp = mpl.colors.LinearSegmentedColormap.from_list("ramp", [(*colour[:3], 0.0), (*colour[:3], 1.0)])
    axes.add_patch(mpl.patches.Circle((0, 0), 1, fill=False, color=SHADE, linewidth=0.6))
    axes.imshow(
        density,
        extent=(-reach, reach, -reach, reach),
        origin="lower",
        cmap=ramp,
        vmin=0,
        vmax=float(density.max()),
    )
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)


def _draw_angles(axes: Axes, points: Array, colour: tuple[float, ...], kappa: float = 25) -> None:
    """Draw the density of the angles, with a von Mises-Fisher kernel; the dotted line is the uniform one."""
    angles = np.linspace(-np.pi, np.pi, 181)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    density = np.exp(kappa * (points @ directions - 1)).mean(0) / (2 * np.pi * np.i0(kappa) * np.exp(-kappa))
    axes.fill_between(angles, density, color=colour, alpha=0.25, linewidth=0)
    axes.plot(angles, density, color=colour, linewidth=1)
    axes.axhline(1 / (2 * np.pi), color=LINE, linewidth=0.7, linestyle=":")
    axes.set(xlim=(-np.pi, np.pi), ylim=(0, max(1.5, float(density.max()) * 1.05)), yticks=[])
    axes.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"], fontsize=6)
    axes.tick_params(length=2, pad=1)
    axes.spines["left"].set_visible(False)
