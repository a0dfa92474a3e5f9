"""The align-uniform plane: the paths that training runs take through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from align_uniform._messages import counted
from align_uniform.figures._names import place_names
from align_uniform.figures._style import FAINT, PAPER, PLANE, RAMP, Array, mark_optimum, styled_figure
from align_uniform.figures.curves import Curve


@dataclass(frozen=True)
class Trajectory:
    """The alignment and uniformity of an encoder in the course of training.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures, uniform_optimum
        >>> steps, uniform = np.array([0, 100, 200]), np.array([-0.5, -2.9, -3.2])
        >>> run = figures.Trajectory("run", steps, np.array([0.1, 0.4, 0.3]), uniform)
        >>> figure = figures.trajectory_figure([run], uniform_optimum(64))
    """

    name: str
    steps: NDArray[np.number[Any]]
    """The steps, rising, [S]."""
    align: Array
    """The alignment at each step, [S]."""
    uniform: Array
    """The uniformity at each step, [S]."""
    curves: tuple[Curve, ...] = ()
    """Other numbers in the course of training, such as the loss."""


def trajectory_figure(runs: Sequence[Trajectory], optimum: float, step_name: str = "step") -> Figure:
    """Draw the paths of training runs in the align-uniform plane, coloured by step, from a ring to a dot.

    Alignment alone leads to the upper left corner, a constant; uniformity alone leads down and right.
    Training with both shows which comes first and at what price.

    The figure misleads where the values come from training batches: they belong to another encoder at every
    step, and to augmented images that were trained on. Measure checkpoints on the same test rows.

    Args:
        runs: training runs of encoders of one output dimension.
        optimum: the least uniformity there is, `uniform_optimum(dim, t)`, drawn as a line.
        step_name: the label of the colours.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures, uniform_optimum
        >>> run = figures.Trajectory("run", np.array([0, 100]), np.array([0.1, 0.3]), np.array([-0.5, -3.2]))
        >>> figure = figures.trajectory_figure([run], uniform_optimum(64))
        >>> figure.axes[0].get_xlabel()
        'alignment of positive pairs (smaller is better)'

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 5.
    """
    for run in runs:
        if not len(run.steps) == len(run.align) == len(run.uniform) >= 1:
            raise ValueError(
                f"{run.name} must have as many steps as values, and at least one, got "
                f"{counted(len(run.steps), 'step')}, {counted(len(run.align), 'alignment')} and "
                f"{counted(len(run.uniform), 'uniformity', 'uniformities')}."
            )
    if not runs:
        raise ValueError("runs must have at least one trajectory, got none.")
    every = np.concatenate([run.steps for run in runs])
    scale = Normalize(float(every.min()), float(every.max()))
    with styled_figure(PLANE) as figure:
        axes = figure.add_subplot()
        for run in runs:
            _draw_run(axes, run, scale)
        axes.margins(0.1, 0.14)
        axes.set(
            xlabel="alignment of positive pairs (smaller is better)", ylabel="uniformity (smaller is better)"
        )
        mark_optimum(axes, optimum)
        figure.colorbar(axes.collections[0], label=step_name, fraction=0.05).outline.set_visible(False)
        ends = {run.name: (float(run.align[-1]), float(run.uniform[-1])) for run in runs}
        place_names(
            figure,
            axes,
            ends,
            [(x, y, x, y) for run in runs for x, y in zip(run.align, run.uniform, strict=True)],
        )
    return figure


def _draw_run(axes: Axes, run: Trajectory, scale: Normalize) -> None:
    """Draw segments coloured by the step in their middle, dots at the steps, and a ring at the start."""
    way = np.stack([run.align, run.uniform], axis=1)
    steps = np.asarray(run.steps, dtype=np.float64)
    pieces = LineCollection(
        list(np.stack([way[:-1], way[1:]], axis=1)), cmap=RAMP, norm=scale, linewidths=2, capstyle="round"
    )
    pieces.set_array((steps[:-1] + steps[1:]) / 2)
    axes.add_collection(pieces)
    axes.scatter(way[:, 0], way[:, 1], c=steps, cmap=RAMP, norm=scale, s=9, zorder=3)
    axes.scatter(way[0, 0], way[0, 1], s=60, facecolors=PAPER, edgecolors=FAINT, linewidths=1.4, zorder=4)
    axes.scatter(
        way[-1, 0], way[-1, 1], s=80, c=[steps[-1]], cmap=RAMP, norm=scale, edgecolors=PAPER, zorder=4
    )
