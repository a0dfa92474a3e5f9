"""The look that all figures share, and the way they are saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from align_uniform._writing import written_whole

Array = NDArray[np.floating[Any]]

PANEL = (4.8, 3.0)
"""The size, in inches, of figures that stand side by side."""
PLANE = (6.2, 4.2)

INK = "#1f2430"
FAINT = "#5a6070"
LINE = "#8a8f9c"
SHADE = "#d5d8e0"
ACCENT = "#2a6f97"
SECOND = "#b26500"
OPTIMUM = "#c1121f"
"""The colour of the value that a figure is to be compared with: the uniform law, the mean."""
PAPER = "#ffffff"
RAMP = mpl.colors.LinearSegmentedColormap.from_list("ramp", mpl.colormaps["viridis"](np.linspace(0, 0.9, 64)))
"""The colours of accuracy and steps; the ramp ends before yellow, which would not be seen on white."""

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "align-uniform",
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is a name
    "xtick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.color": LINE,
    "ytick.labelcolor": FAINT,
}


@contextmanager
def styled_figure(size: tuple[float, float]) -> Iterator[Figure]:
    """Yield an empty figure to draw on."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=size, layout="constrained")


def paths(stem: Path) -> list[Path]:
    """Return `stem`.png and `stem`.svg.

    Example:
        >>> from pathlib import Path
        >>> from align_uniform import figures
        >>> [path.as_posix() for path in figures.paths(Path("plots/plane"))]
        ['plots/plane.png', 'plots/plane.svg']
    """
    stem = stem.with_suffix("") if stem.suffix in (".png", ".svg") else stem
    return [stem.with_name(stem.name + suffix) for suffix in (".png", ".svg")]


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg, each complete or not at all, and return the two paths.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from align_uniform import figures
        >>> curve = figures.Curve("loss", [1, 2], [-1.0, -2.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in figures.save(figures.curves_figure([curve]), Path(folder, "loss"))]
        ['loss.png', 'loss.svg']
    """
    for path in paths(stem):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        with mpl.rc_context(STYLE), written_whole(path) as partial:
            figure.savefig(
                partial,
                format=path.suffix[1:],
                dpi=160,
                bbox_inches="tight",
                facecolor=PAPER,
                metadata=metadata,
            )
    return paths(stem)


def mark_optimum(axes: Axes, optimum: float) -> None:
    """Draw the line in the plane below which no uniformity lies; call it when all else is drawn."""
    bottom, top = axes.get_ylim()
    bottom = min(bottom, optimum)
    axes.set_ylim(min(bottom, optimum - 0.09 * (top - bottom)), top)
    left, right = axes.get_xlim()
    axes.set_xlim(max(left, -0.06 * right), right)  # no alignment lies below 0
    axes.axhline(optimum, color=OPTIMUM, linewidth=1, linestyle="--")
    axes.annotate(
        f"optimum {decimal(optimum)}: uniform on the sphere",
        (0.99, optimum),
        (0, -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=OPTIMUM,
        ha="right",
        va="top",
    )


def decimal(value: float, digits: int = 3) -> str:
    """Return a number as matplotlib writes it on an axis, with a true minus sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def draw_key(axes: Axes, columns: int = 3) -> None:
    """Draw the key to the colours above the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def hide_heights(axes: Axes) -> None:
    """Hide the heights of a histogram: they depend on its bins, and only its shape is shown."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def finite(name: str, values: Array) -> Array:
    """Return numbers as a flat float64 array; refuse none, and numbers that are not finite."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    if not len(flat):
        raise ValueError(f"{name} must be at least one number, got none.")
    if not np.isfinite(flat).all():
        raise ValueError(
            f"{name} must be finite, got {int((~np.isfinite(flat)).sum())} that are not; leave them out."
        )
    return flat
