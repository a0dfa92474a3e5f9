"""The tables that name rows: the worst pairs and the most crowded rows, with their texts and pictures."""

from __future__ import annotations

import base64
import io
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from PIL import Image

from align_uniform._messages import counted
from align_uniform.files.pictures import read_picture
from align_uniform.measuring.answers import Classes
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.results_of_rows import Hubs

Item = TypeVar("Item", covariant=True)


class Indexed(Protocol[Item]):
    """Anything that has a number of items, each of which is read when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


Pictures = Indexed[Path | Image.Image]
"""The paths of pictures, or the pictures."""

Values = TypeVar("Values")

Sides: TypeAlias = Values | tuple[Values | None, Values | None] | None
"""The contents of the rows of features, or those of both views or towers."""

LONGEST_TEXT = 240
"""The number of characters of a text that are shown."""

THUMBNAIL = 112
"""The pixels of the longer side of a picture."""


@dataclass(frozen=True)
class Cell:
    """A number, or the number of a row with its text and picture."""

    text: str
    order: float
    """The number that its column is sorted by."""
    note: str = ""
    picture: str = ""
    """The picture as a data: URI."""

    @property
    def is_in_note(self) -> bool:
        """Whether the text begins with the number, which is then shown once."""
        number = rf"0*{self.text.replace(',', '')}"
        alone, after_a_word = rf"{number}\W*(?:[^\w\s]|$)(?!\d)", rf"(?:row|item|text|no\.?|#)\s*{number}\b"
        return bool(self.text) and bool(re.match(f"{alone}|{after_a_word}", self.note, re.IGNORECASE))


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column, and is sorted by one of them, the largest first."""

    title: str
    caption: str
    columns: Sequence[str]
    sorted_by: int
    rows: Sequence[Sequence[Cell]]


class Contents:
    """The texts and pictures of rows; `cell` puts them next to the row's number.

    Args:
        texts: those of the first view or tower, or a tuple of those of both.
        images: the same for pictures, or their paths.
        measurement: the measurement whose rows they are of.

    Raises:
        ValueError: there is not one for each row.
    """

    def __init__(
        self,
        texts: Sides[Sequence[str]],
        images: Sides[Pictures],
        measurement: Measurement,
    ) -> None:
        self.texts = _sides("texts", texts, measurement)
        self.images = _sides("images", images, measurement)

    @property
    def differ(self) -> bool:
        """Whether the rows of the second view have contents of their own."""
        return self.texts[0] is not self.texts[-1] or self.images[0] is not self.images[-1]

    def cell(self, population: int, row: int, *, picture: bool = True) -> Cell:
        """Return the cell of a row of a view or tower, with its picture unless that is not wanted."""
        texts, images = (values[min(population, len(values) - 1)] for values in (self.texts, self.images))
        image = None if images is None or not picture else images[row]
        small = "" if image is None else thumbnail(image)
        note = "" if texts is None else shortened(str(texts[row]))
        if image is not None and not small:
            note = f"{os.fspath(image)} cannot be read. {note}".strip()
        return Cell(f"{row:,}", row, note, small)


def _sides(name: str, values: Any, measurement: Measurement) -> tuple[Sequence[Any] | None, ...]:
    """Return the values of each view or tower; views of one item have the same unless both are given."""
    is_both = isinstance(values, tuple) and len(values) == 2 and not isinstance(values[0], str | os.PathLike)
    sides = values if is_both else (values, None) if measurement.towers is not None else (values,)
    for side, count in zip(sides, _counts(measurement, len(sides)), strict=True):
        if side is not None and count is not None and len(side) != count:
            raise ValueError(
                f"{name} must be one for each of the {counted(count, 'row')}, got {len(side):,}; pass all of "
                "them in the order of the rows."
            )
    return tuple(sides)


def _counts(measurement: Measurement, sides: int) -> list[int | None]:
    """Return the number of rows of each view or tower; None where an old measurement does not say it."""
    sources = measurement.provenance.get("sources", [])
    shapes = [source.get("shape", []) for source in sources[:sides]]
    found = [shape[-2] if len(shape) > 1 else None for shape in shapes]
    return [*found, *[None] * (sides - len(found))]


def shortened(text: str) -> str:
    """Return the beginning of a text as one line, without characters that move or hide others."""
    plain = "".join(character if character.isprintable() else " " for character in text[: 2 * LONGEST_TEXT])
    words = " ".join(plain.split())
    return words if len(words) <= LONGEST_TEXT else words[:LONGEST_TEXT] + "…"


def thumbnail(image: Path | Image.Image) -> str:
    """Return a small version of a picture as a data: URI, or nothing if its file cannot be read."""
    try:
        picture = (
            image if isinstance(image, Image.Image) else read_picture(image, draft=(THUMBNAIL, THUMBNAIL))
        )
    except ValueError:
        return ""
    upright = picture.convert("RGBA")
    upright.thumbnail((THUMBNAIL, THUMBNAIL))
    if 0 < (longer := max(upright.size)) <= THUMBNAIL // 2:  # of 16 pixels nothing would be seen
        times = THUMBNAIL // longer
        upright = upright.resize((times * upright.width, times * upright.height), Image.Resampling.NEAREST)
    flat = Image.new("RGB", upright.size, "white")
    flat.paste(upright, mask=upright)
    file = io.BytesIO()
    flat.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


# ------------------------------------------------------------------------------------------------- the tables


def tables(measurement: Measurement, contents: Contents) -> Iterator[Table]:
    """Yield the tables that have rows."""
    if measurement.worst_pairs:
        yield _pairs_table(measurement, contents)
    if measurement.crowded:
        yield _crowded_table(measurement, contents)
    if measurement.hubs is not None and measurement.hubs.top:
        yield _hubs_table(measurement, measurement.hubs, contents)


def _pairs_table(measurement: Measurement, contents: Contents) -> Table:
    other = 1 if measurement.towers or contents.differ else 0
    pairs = measurement.worst_pairs
    are_views = measurement.towers is None and all(pair.x == pair.y for pair in pairs)
    if are_views and not contents.differ:  # both rows belong to one item, which is named once
        columns = ["item", "distance"]
        rows = [[contents.cell(0, pair.x), _number(pair.distance)] for pair in pairs]
    else:
        columns = ["x", "y", "distance"]
        rows = [
            [contents.cell(0, pair.x), contents.cell(other, pair.y), _number(pair.distance)] for pair in pairs
        ]
    caption = "The positive pairs that are farthest apart: wrong pairs, or what the encoder does not see."
    return Table("Worst pairs", caption, columns, len(columns) - 1, rows)


def _crowded_table(measurement: Measurement, contents: Contents) -> Table:
    mean = math.exp(measurement.uniform.value)
    kind = "tower" if measurement.towers else "view"
    are_several = len(measurement.uniform.by_population) > 1
    rows = []
    for crowded in measurement.crowded:
        row, neighbour = (contents.cell(crowded.view, number) for number in (crowded.row, crowded.neighbour))
        numbers = [_number(crowded.mean_potential), _number(crowded.mean_potential / mean)]
        view = [Cell(f"{crowded.view + 1}", crowded.view)] if are_several else []
        rows.append([row, *view, *numbers, neighbour, _number(crowded.distance)])
    columns = [
        "row",
        *([kind] if are_several else []),
        "mean potential",
        "times the mean",
        "nearest row",
        "its distance",
    ]
    caption = (
        "The rows with the most others near them, and the nearest other row: duplicates, boilerplate, blank "
        "inputs, tight clusters. The potential of two rows is exp(−t d²), the mean that with all others."
    )
    return Table("Most crowded rows", caption, columns, columns.index("mean potential"), rows)


def _hubs_table(measurement: Measurement, hubs: Hubs, contents: Contents) -> Table:
    kind = "tower" if measurement.towers else "view"
    are_several = len(measurement.uniform.by_population) > 1
    rows = []
    for hub in hubs.top:
        view = [Cell(f"{hub.view + 1}", hub.view)] if are_several else []
        share = Cell(f"{hub.occurrences / hubs.rows:.1%}", hub.occurrences)
        found = Cell(f"{hub.occurrences:.3g}", hub.occurrences)
        rows.append([contents.cell(hub.view, hub.row), *view, found, share])
    columns = ["row", *([kind] if are_several else []), "found by", "share of rows"]
    caption = (
        f"The rows that most others have among their ten nearest, of {counted(hubs.rows, 'row')}; on average "
        "a row is found by ten. What is found everywhere says nothing: general, short or empty inputs."
    )
    return Table("Hubs", caption, columns, columns.index("found by"), rows)


def class_table(classes: Classes) -> Table:
    """Return the table of the classes, sorted by the share of neighbours that are not of the class."""
    columns = ["class", "rows", "alignment", "uniformity", "foreign neighbours", "nearest class"]
    rows = []
    for place, line in enumerate(sorted(classes.table, key=lambda line: line.name)):
        foreign = None if line.own is None else 1 - line.own
        rows.append(
            [
                Cell("", place, note=line.name),
                Cell(f"{line.rows:,}", line.rows),
                _known(line.align),
                _known(line.uniform),
                Cell("–", -1) if foreign is None else Cell(f"{foreign:.1%}", foreign),
                Cell("", 0, note="–" if line.nearest is None else line.nearest),
            ]
        )
    rows.sort(key=lambda row: row[4].order, reverse=True)
    shown = f"{len(classes.table):,} of {classes.count:,}" if len(classes.table) < classes.count else "All"
    caption = (
        f"{shown} classes. Foreign neighbours are the share of the {classes.k} nearest rows that are of "
        "another class; the nearest class has the nearest mean. Alignment and uniformity are those of the "
        "rows of the class alone."
    )
    return Table("Classes", caption, columns, 4, rows)


def _known(value: float | None) -> Cell:
    return Cell("–", math.inf) if value is None else Cell(f"{value:.3f}", value)


def _number(value: float) -> Cell:
    return Cell(f"{value:#.4g}", value)
