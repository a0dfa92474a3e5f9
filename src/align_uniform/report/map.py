"""The map of the report: rows as points in two dimensions, coloured in several ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from align_uniform._messages import counted
from align_uniform.figures import Array
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.results_of_rows import RowSample
from align_uniform.report.numbers import typeset
from align_uniform.report.places import HEIGHT, WIDTH, Method, places_of
from align_uniform.report.rows import Cell, Contents

PICTURES = 240
"""The most points that have a picture; the pictures of more would make the page too large."""

CLASSES = ("#3b7dd8", "#e07b00", "#2e9e5b", "#d43d51", "#8e5bd0", "#b8860b", "#c2559d", "#0f9aa8")
"""The colours of the largest classes, legible on white and on black."""

RAMP = ((0x2F, 0x7F, 0xE0), (0x9A, 0xA0, 0xAB), (0xE0, 0x5A, 0x00))
"""The colours of small, middling and large numbers, likewise."""

OTHERS = "#8a8f9c"
"""The colour of all other classes, and of rows without the number."""


@dataclass(frozen=True)
class Key:
    """One way to colour the points."""

    name: str
    """The name on the button."""
    entries: Sequence[tuple[str, str]]
    """The colours and what they mean, in the order in which they are shown."""


@dataclass(frozen=True)
class Point:
    """A row on the map."""

    x: float
    y: float
    colours: Sequence[str]
    """The colour by each key."""
    cell: Cell
    """The number of the row, with text and picture."""
    words: str
    """The class of the row and its numbers, in words."""


@dataclass(frozen=True)
class Map:
    """All points, and the ways to colour them."""

    caption: str
    title: str
    """The method by which the points were placed."""
    keys: Sequence[Key]
    points: Sequence[Point]
    width: int = WIDTH
    height: int = HEIGHT


def map_of(measurement: Measurement, contents: Contents, method: Method = "pca") -> Map | None:
    """Return the map of sampled rows; None for too few rows.

    Args:
        measurement: the measurement, whose details have the rows.
        contents: the texts and pictures of the rows.
        method: the way to place rows; UMAP takes the seed of the measurement.

    Raises:
        ModuleNotFoundError: umap-learn is missing, which "umap" needs.
    """
    samples = () if measurement.details is None else measurement.details.samples
    if sum(len(sample.rows) for sample in samples) < 3 or measurement.dim < 2:
        return None
    seed = int(measurement.provenance.get("seed") or 0)
    placed = places_of(torch.cat([sample.rows for sample in samples]), method, seed)
    keys, colours = _colours(measurement, samples)
    points: list[Point] = []
    for sample in samples:
        for row in range(len(sample.rows)):
            at = len(points)
            cell = contents.cell(sample.view, int(sample.numbers[row]), picture=at < PICTURES)
            x, y = placed.on_page[at].tolist()
            of_point = [column[at] for column in colours]
            points.append(Point(x, y, of_point, cell, _words(measurement, sample, row)))
    shown, total = len(points), sum(sample.total for sample in samples)
    rows = f"{counted(shown, 'random row')} of {total:,}" if shown < total else f"All {counted(total, 'row')}"
    return Map(f"{rows}, {placed.words}", placed.title, keys, points)


# ---------------------------------------------------------------------------------------------------- colours


def _colours(measurement: Measurement, samples: Sequence[RowSample]) -> tuple[list[Key], list[Sequence[str]]]:
    """Return the ways to colour the points, and the colour of each point by each of them."""
    found = list(_of_names(samples))
    t = measurement.uniform.t
    crowding = np.concatenate([np.log(np.maximum(sample.potentials.numpy(), 1e-300)) for sample in samples])
    few = f"few others near (log of the mean potential {{}}, t = {t:g})"
    found.append(_ramp("crowding", crowding, few, "many others near ({})"))
    if all(sample.distances is not None for sample in samples):
        distances = np.concatenate([np.asarray(sample.distances) for sample in samples])
        if np.isfinite(distances).any():
            found.append(_ramp("pair distance", distances, "partner near ({})", "partner far ({})"))
    return [key for key, _ in found], [colours for _, colours in found]


def _of_names(samples: Sequence[RowSample]) -> Iterator[tuple[Key, Sequence[str]]]:
    """Yield the colours by tower and by class, if there are any."""
    if len(samples) > 1:
        names = [f"tower {sample.view + 1}" for sample in samples for _ in sample.rows]
        yield _categories("tower", names)
    elif samples[0].classes is not None:
        yield _categories("class", samples[0].classes)


def _categories(name: str, values: Sequence[str]) -> tuple[Key, Sequence[str]]:
    order = [value for value, _ in Counter(values).most_common()]
    colours = dict(zip(order, CLASSES, strict=False))
    entries = [(colour, value) for value, colour in sorted(colours.items())]
    if len(order) > len(CLASSES):
        entries.append((OTHERS, counted(len(order) - len(CLASSES), "other class", "other classes")))
    return Key(name, entries), [colours.get(value, OTHERS) for value in values]


def _ramp(name: str, values: Array, low: str, high: str) -> tuple[Key, Sequence[str]]:
    """Colour numbers from the 2nd to the 98th percentile, so that a few extremes do not hide the rest."""
    known = values[np.isfinite(values)]
    ends = np.percentile(known, [2, 98])
    shares = np.clip((values - ends[0]) / max(ends[1] - ends[0], 1e-12), 0, 1)
    colours = [_hex(share) if np.isfinite(share) else OTHERS for share in shares]
    words = (typeset(text.format(f"{end:.3g}")) for text, end in zip((low, high), ends, strict=True))
    entries = list(zip((_hex(0.0), _hex(1.0)), words, strict=True))
    return Key(name, entries), colours


def _hex(share: float) -> str:
    first = min(int(2 * share), 1)
    within = 2 * float(share) - first
    mixed = (round(a + within * (b - a)) for a, b in zip(RAMP[first], RAMP[first + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _words(measurement: Measurement, sample: RowSample, row: int) -> str:
    parts = [f"tower {sample.view + 1}"] if measurement.towers else []
    if sample.classes is not None:
        parts.append(f"class {sample.classes[row]}")
    parts.append(f"mean potential {float(sample.potentials[row]):.3g}")
    if sample.distances is not None and bool(sample.distances[row].isfinite()):
        parts.append(f"pair distance {float(sample.distances[row]):.3f}")
    return ", ".join(parts)
