"""The paper's figures: arrays in, a matplotlib Figure out, one look for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

INK = "#1f2430"
ACCENT = "#2a6f97"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#8a8f9c",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "svg.fonttype": "none",
    "svg.hashsalt": "align-uniform",
    "text.color": INK,
    "xtick.color": "#5a6070",
    "ytick.color": "#5a6070",
}


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg, each complete or not at all, and return the two paths."""
    paths = []
    for suffix in (".png", ".svg"):
        path = stem.with_suffix(suffix)
        partial = path.with_name(f".{path.name}.partial")
        with mpl.rc_context(STYLE):
            metadata = {"Date": None} if suffix == ".svg" else None
            figure.savefig(partial, format=suffix[1:], dpi=160, bbox_inches="tight", facecolor="white", metadata=metadata)
        partial.replace(path)
        paths.append(path)
    return paths


@dataclass(frozen=True)
class CircleFeatures:
    """What figure 3 shows of one encoder."""

    name: str
    pair_distances: Array
    """[N], ||x_i - y_i|| of positive pairs"""
    features: Array
    """[N, 2], of unit norm"""
    labels: NDArray[np.integer[Any]]
    """[N], from 0"""


def circle_figure(encoders: Sequence[CircleFeatures], classes: Sequence[str]) -> Figure:
    """Draw the paper's figure 3: alignment and uniformity of encoders whose outputs lie on the circle S^1.

    One row an encoder. First the distances of positive pairs, with their mean. Then the features, of all images and of each
    class: their density in the plane (a Gaussian kernel), and under it that of their angles (von Mises-Fisher, kappa 25).

    Args:
        encoders: the rows.
        classes: name of each label.

    Raises:
        ValueError: features are not 2-dimensional. A picture of more dimensions would be one of the projection.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, figure 3.
    """
    for encoder in encoders:
        if encoder.features.shape[1:] != (2,):
            raise ValueError(
                f"features must be [N, 2], points on the circle, got shape {list(encoder.features.shape)}: a picture of more "
                f"dimensions would be one of the projection; train an encoder with 2 outputs."
            )
    columns = 2 + len(classes)
    with _figure((2.6 + 1.28 * (columns - 1), 2.2 * len(encoders) + 0.5)) as figure:
        grid = figure.add_gridspec(
            2 * len(encoders), columns, width_ratios=[2.1, 1.25] + [1] * len(classes), height_ratios=[1.5, 0.62] * len(encoders)
        )
        colours = mpl.colormaps["tab10"](np.arange(len(classes)) % 10)
        for row, encoder in enumerate(encoders):
            _draw_pair_distances(figure.add_subplot(grid[2 * row : 2 * row + 2, 0]), encoder, is_last=row == len(encoders) - 1)
            groups = [("all", np.ones(len(encoder.labels), bool), mpl.colors.to_rgba(INK))]
            groups += [(name, encoder.labels == label, tuple(colours[label])) for label, name in enumerate(classes)]
            for column, (name, members, colour) in enumerate(groups, start=1):
                ring = figure.add_subplot(grid[2 * row, column])
                _draw_ring(ring, encoder.features[members], colour)
                if row == 0:
                    ring.set_title("all images" if name == "all" else f"“{name}”", color=colour)
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
    mean = float(distances.mean())
    axes.axvline(mean, color="#c1121f", linewidth=1.2)
    axes.annotate(f"mean {mean:.2f}", (mean, 0.96), (4, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                  color="#c1121f", va="top")  # fmt: skip
    axes.set(xlim=(0, 2), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.set_title(encoder.name, loc="left")
    if is_last:
        axes.set_xlabel("distance of positive pairs")


def _draw_ring(axes: Axes, points: Array, colour: tuple[float, ...]) -> None:
    """The density of the points in the plane, with a Gaussian kernel."""
    bandwidth, reach, pixels = 0.09, 1.3, 120
    ticks = np.linspace(-reach, reach, pixels)
    # The kernel is a product over the two axes, and so the density of a grid is a product of two matrices.
    along_x, along_y = (np.exp(-(((ticks[:, None] - points[None, :, axis]) / bandwidth) ** 2) / 2) for axis in (0, 1))
    density = along_y @ along_x.T / len(points) / (2 * np.pi * bandwidth**2)
    ramp = mpl.colors.LinearSegmentedColormap.from_list("ramp", [(*colour[:3], 0.0), (*colour[:3], 1.0)])
    axes.add_patch(mpl.patches.Circle((0, 0), 1, fill=False, color="#d5d8e0", linewidth=0.6))
    axes.imshow(density, extent=(-reach, reach, -reach, reach), origin="lower", cmap=ramp, vmin=0, vmax=float(density.max()))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)


def _draw_angles(axes: Axes, points: Array, colour: tuple[float, ...], kappa: float = 25) -> None:
    """The density of the angles, with a von Mises-Fisher kernel; the dotted line is the uniform one."""
    angles = np.linspace(-np.pi, np.pi, 181)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    density = np.exp(kappa * (points @ directions - 1)).mean(0) / (2 * np.pi * np.i0(kappa) * np.exp(-kappa))
    axes.fill_between(angles, density, color=colour, alpha=0.25, linewidth=0)
    axes.plot(angles, density, color=colour, linewidth=1)
    axes.axhline(1 / (2 * np.pi), color="#8a8f9c", linewidth=0.7, linestyle=":")
    axes.set(xlim=(-np.pi, np.pi), ylim=(0, max(1.5, float(density.max()) * 1.05)), yticks=[])
    axes.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"], fontsize=6)
    axes.tick_params(length=2, pad=1)
    axes.spines["left"].set_visible(False)


@dataclass(frozen=True)
class PlanePoint:
    """One encoder in the align-uniform plane."""

    name: str
    align: float
    uniform: float
    accuracy: float


def plane_figure(points: Sequence[PlanePoint], optimum: float, accuracy_name: str = "accuracy") -> Figure:
    """Draw encoders in the plane of alignment and uniformity, coloured by accuracy, as in the paper's figure 5.

    Args:
        points: encoders of one output dimension; those of one name share a marker.
        optimum: the least uniformity there is, `uniform_optimum(dim, t)`, drawn as a line.
        accuracy_name: what the colour means.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, figure 5.
    """
    markers: Mapping[str, str] = dict(zip(dict.fromkeys(point.name for point in points), "osD^vPX*<>" * 9, strict=False))
    accuracies = [point.accuracy for point in points]
    with _figure((6.2, 4.2)) as figure:
        axes = figure.add_subplot()
        axes.axhline(optimum, color="#c1121f", linewidth=1, linestyle="--")
        axes.annotate("optimum: uniform on the sphere", (0.99, optimum), (0, 4), xycoords=("axes fraction", "data"),
                      textcoords="offset points", color="#c1121f", ha="right")  # fmt: skip
        for name, marker in markers.items():
            members = [point for point in points if point.name == name]
            align, uniform, accuracy = zip(*((point.align, point.uniform, point.accuracy) for point in members), strict=True)
            dots = axes.scatter(
                align, uniform, c=accuracy,
                vmin=min(accuracies), vmax=max(accuracies), cmap="viridis", s=90, marker=marker, edgecolors="white", label=name,
            )  # fmt: skip
        axes.margins(0.12, 0.16)
        axes.set(xlabel="alignment of positive pairs (smaller is better)", ylabel="uniformity (smaller is better)")
        legend = axes.legend(frameon=False, loc="upper right")
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):  # the marker alone tells the name, the colour tells the accuracy
                handle.set_array(None)
                handle.set_facecolor(INK)
        figure.colorbar(dots, label=accuracy_name, fraction=0.05).outline.set_visible(False)
    return figure


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[Figure]:
    with mpl.rc_context(STYLE):
        yield Figure(figsize=size, layout="constrained")
