"""The figures of the report, each with its title and caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from align_uniform import figures
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.results import Details


@dataclass(frozen=True)
class Drawing:
    """A figure with its title and caption."""

    title: str
    svg: str
    caption: str


def drawings(measurement: Measurement, runs: Sequence[figures.Trajectory] = ()) -> Iterator[Drawing]:
    """Yield the figures for which there are data."""
    if runs:
        yield drawing(
            "Training",
            figures.trajectory_figure(runs, measurement.uniform.optimum, "batch"),
            "Alignment and uniformity of the training batches, from the ring to the dot.",
        )
    for run in runs:
        if run.curves:
            labels = " and ".join(curve.label for curve in run.curves)
            yield drawing(
                "Course of training",
                figures.curves_figure(run.curves),
                f"{labels[:1].upper()}{labels[1:]} over the epochs.",
            )
    details = measurement.details
    if details is None:
        return
    if details.distances is not None:
        yield _pair_distances(details.distances, _random_distances(measurement))
    yield _crowding(measurement, details)
    if measurement.dim >= 2:
        yield drawing(
            "Cosines",
            figures.cosine_figure(_array(details.cosines), measurement.dim, _mean_cosine(measurement)),
            "Cosines of random rows. To the right of the dashed line: a cone. Wider: fewer dimensions in "
            "use.",
        )
    yield drawing(
        "Spectrum",
        figures.spectrum_figure(
            _array(details.spectrum), measurement.rankme, measurement.participation_ratio
        ),
        "Variance by dimension, the largest first; the dashed line is the same variance spread evenly. A "
        "cliff is dimensional collapse.",
    )


def _pair_distances(distances: Tensor, random: figures.Array | None) -> Drawing:
    caption = "The distance of the two rows of a positive pair."
    if random is not None:
        caption += " Pairs as far apart as random rows are wrong, or hard for the encoder."
    return drawing("Positive pairs", figures.pair_distance_figure(_array(distances), random), caption)


def _crowding(measurement: Measurement, details: Details) -> Drawing:
    populations = [_array(part) for part in details.row_means]
    kind = "tower" if measurement.towers else "view"
    names = [f"{kind} {number}" for number in range(1, len(populations) + 1)] if len(populations) > 1 else []
    uniform = measurement.uniform
    return drawing(
        "Crowding",
        figures.crowding_figure(populations, uniform.t, uniform.optimum, names, uniform.value),
        "Uniformity as seen from each row. A row on the right has many others near it; a tail there is "
        "clusters or near duplicates.",
    )


def _mean_cosine(measurement: Measurement) -> float | None:
    """Return the mean cosine that was measured; None for rows as they are, whose products are no cosines."""
    return measurement.mean_cosine if measurement.norms.normalized else None


def drawing(title: str, figure: Figure, caption: str) -> Drawing:
    """Return a figure as part of a page, with its legend in words for those who do not see it."""
    legends = [axes.get_legend() for axes in figure.axes]
    key = "; ".join(
        text.get_text() for legend in legends if legend is not None for text in legend.get_texts()
    )
    svg = figures.inline_svg(figure, prefix=title.lower().replace(" ", "-"), label=f"{title}: {key}.")
    return Drawing(title, svg, caption)


def _random_distances(measurement: Measurement) -> figures.Array | None:
    """Return the distances of random rows of one population, from their cosines.

    Two towers have none: their positive pairs are rows of different populations.
    """
    if measurement.details is None or measurement.towers is not None or not measurement.norms.normalized:
        return None
    return np.sqrt(np.maximum(0, 2 - 2 * _array(measurement.details.cosines)))


def _array(values: Tensor) -> figures.Array:
    return values.detach().cpu().double().numpy()
