"""Known encoders and baselines as they were measured, and the place of a number among them.

`reference_points.json` was written by examples/reference_points.py; nothing in it was entered by hand.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from align_uniform._messages import counted
from align_uniform._options import check_choice
from align_uniform._unit_norm import LARGEST_DEVIATION
from align_uniform.measuring.plain import from_plain
from align_uniform.measuring.quantities import quantity
from align_uniform.measuring.quantities_of_rows import SAME_CLASS
from align_uniform.measuring.quantity import at, count, fixed, with_error
from align_uniform.measuring.results import Results

Kind = Literal["sentences", "images"]
"""The kind of the items that an encoder encodes."""

RECALL = "retrieval.forward.recall_1"
"""The number that depends on the number of candidates, and can be compared only where that is similar."""

COMPARABLE = ("align.relative", RECALL, "uniform.gap", "uniform.equivalent_dim", "mean_cosine")
"""The numbers that can be compared between embeddings of different dimensions."""

SHOWN = ("align.relative", RECALL, "uniform.equivalent_dim", "mean_cosine")
"""The few numbers whose places are printed; the gap and the equivalent dimension say the same."""

T = 2.0
"""The t at which all were measured."""

UNKNOWN = "all kinds (kind not known: see --kind)"
"""The words for the kind where nobody said what was encoded."""

WIDTH = 80
"""The number of columns of printed lines."""

FILE = Path(__file__).with_suffix(".json")
"""The recorded measurements."""


@dataclass(frozen=True)
class ReferencePoint:
    """An encoder or a baseline, as it was measured.

    Example:
        >>> from align_uniform.measuring.reference_points import reference_file
        >>> encoders = {point.name: point for each in reference_file().sets for point in each.points}
        >>> encoder = encoders["MiniLM layer 6"]
        >>> encoder.dim, round(encoder.numbers["mean_cosine"], 2)
        (384, 0.24)
    """

    name: str
    """The name of the encoder."""
    source: str
    """The package that holds the encoder, and its licence; or how the encoder was made."""
    dim: int
    """The number of features."""
    numbers: Mapping[str, float]
    """The numbers of `COMPARABLE`, by their keys."""
    errors: Mapping[str, float]
    """The standard errors of the numbers, by the same keys."""


@dataclass(frozen=True)
class ReferenceSet:
    """Encoders that were measured on the same items.

    Example:
        >>> from align_uniform.measuring.reference_points import reference_file
        >>> [(each.kind, each.rows, len(each.points)) for each in reference_file().sets]
        [('sentences', 1500, 11), ('images', 510, 4), ('images', 360, 4)]
    """

    kind: Kind
    """The kind of the items."""
    items: str
    """The items and their positive pairs, in a few words."""
    data: str
    """The package that holds the items, and its licence."""
    protocol: str
    """The choice of the items and of their pairs, so that the set can be measured again."""
    rows: int
    """The number of items, each of which is one positive pair."""
    points: tuple[ReferencePoint, ...]
    """The encoders."""


@dataclass(frozen=True)
class ReferenceFile:
    """The contents of the file."""

    command: str
    """The command that measured everything and wrote the file."""
    versions: Mapping[str, str]
    """The versions of the libraries that computed the numbers."""
    sets: tuple[ReferenceSet, ...]
    """The sets of encoders."""


@cache
def reference_file() -> ReferenceFile:
    """Return the recorded measurements.

    Example:
        >>> from align_uniform.measuring.reference_points import reference_file
        >>> reference_file().command
        'python examples/reference_points.py --emoji emoji-datasource-google-16.0.0.tgz'
    """
    found: ReferenceFile = from_plain(ReferenceFile, json.loads(FILE.read_text(encoding="utf-8")), FILE.name)
    return found


# ------------------------------------------------------------------------------------------ places among them


@dataclass(frozen=True)
class Neighbour:
    """A known encoder that has a number.

    Example:
        >>> from align_uniform.measuring.reference_points import nearest
        >>> above = nearest("sentences", "mean_cosine", 0.1).above
        >>> print(above)
        MiniLM layer 6 (0.24)
        >>> above.name, above.kind
        ('MiniLM layer 6', 'sentences')
    """

    name: str
    """The name of the encoder."""
    kind: Kind
    """The kind of the items that it encodes."""
    value: float
    """The number of the encoder."""

    def __str__(self) -> str:
        return f"{self.name} ({_short(self.value)})"


@dataclass(frozen=True)
class Place:
    """The place of a number among those of known encoders.

    Example:
        >>> from align_uniform.measuring.reference_points import nearest
        >>> print(nearest("images", "mean_cosine", 0.6))
        mean cosine 0.60: between pixels of digits (0.53) and AugNet (0.75)
    """

    key: str
    """The key of the number."""
    value: float
    """The number that is placed."""
    kind: Kind | None
    """The kind of the encoders among which it is placed; None for all kinds."""
    below: Neighbour | None
    """The encoder with the largest number that is not above the value; None if all are above."""
    above: Neighbour | None
    """The encoder with the smallest number above the value; None if none is."""

    @property
    def words(self) -> str:
        """The place, as in "between AugNet (0.19) and MobileNetV2 (0.35)"."""
        around = [each for each in (self.below, self.above) if each is not None]
        near = min(around, key=lambda each: abs(each.value - self.value))
        if _short(near.value) == _short(self.value):
            return f"about that of {near.name}"
        if self.below is None:
            return f"below all; {self.above} has the least"
        if self.above is None:
            return f"above all; {self.below} has the most"
        return f"between {self.below} and {self.above}"

    def __str__(self) -> str:
        """Return the name of the number, its value and its place."""
        return f"{quantity(self.key).label} {_short(self.value)}: {self.words}"


def nearest(kind: Kind | None, key: str, value: float, *, candidates: int | None = None) -> Place | None:
    """Return the place of a number among those of known encoders; None if no known encoder compares.

    Args:
        kind: the kind of the encoders to compare with; None for all kinds.
        key: the key of the number, one of `COMPARABLE`.
        value: the number.
        candidates: for `RECALL`, the number of rows that were searched. It is compared where half to twice as
            many were.

    Raises:
        ValueError: the kind or the key is not known.

    Example:
        >>> from align_uniform.measuring.reference_points import nearest
        >>> place = nearest("images", "mean_cosine", 1.5)
        >>> place.above is None, place.below.kind
        (True, 'images')
    """
    check_choice("kind", kind, (None, *get_args(Kind)))
    check_choice("key", key, COMPARABLE)
    found = sorted(_neighbours(kind, key, candidates), key=lambda neighbour: neighbour.value)
    if not found:
        return None
    below = [each for each in found if each.value <= value]
    above = [each for each in found if each.value > value]
    return Place(key, value, kind, below[-1] if below else None, above[0] if above else None)


def _neighbours(kind: Kind | None, key: str, candidates: int | None) -> Iterator[Neighbour]:
    for each in reference_file().sets:
        is_alike = key != RECALL or (candidates is not None and 0.5 <= candidates / each.rows <= 2)
        if kind in (None, each.kind) and is_alike:
            for point in each.points:
                if key in point.numbers:
                    yield Neighbour(point.name, each.kind, point.numbers[key])


def places(measurement: Results, kind: Kind | None = None) -> tuple[Place, ...]:
    """Return the places of the numbers of a measurement that can be compared with known encoders.

    All of them were measured at t = 2, on the sphere, and with two views of each item as pairs: numbers at
    another t, of rows that are not on the sphere, and of pairs of one class are left out.

    Args:
        measurement: the measurement.
        kind: the kind of the items. Default: the kind that the measurement was told.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.measuring.reference_points import places
        >>> x = torch.randn(256, 32, generator=torch.Generator().manual_seed(0)) + 2
        >>> for place in places(measure(x), "images"):
        ...     print(place)
        gap 3.0: between pixels of digits (2.5) and AugNet (3.1)
        equivalent dimension 1.1: between pixels of emoji (0.77) and AugNet (1.2)
        mean cosine 0.80: between AugNet (0.75) and pixels of emoji (0.87)
    """
    found = []
    told = measurement.provenance.get("kind")
    kind = kind or (told if told in get_args(Kind) else None)
    candidates = None if measurement.retrieval is None else measurement.retrieval.forward.candidates
    for key in COMPARABLE:
        value = at(measurement, key)
        if value is not None and math.isfinite(value) and _compares(measurement, key):
            found.append(nearest(kind, key, value, candidates=candidates))
    return tuple(filter(None, found))


def _compares(measurement: Results, key: str) -> bool:
    """Whether a number of a measurement is of the same thing as that of the known encoders."""
    align, deviation = measurement.align, measurement.norms.deviation
    if deviation is not None and deviation > LARGEST_DEVIATION:
        return False
    if key.startswith("align."):
        return align is not None and align.of != SAME_CLASS
    return not key.startswith("uniform.") or measurement.uniform.t == T


def _short(value: float) -> str:
    """Return a number with about two digits."""
    return count(value) if abs(value) >= 10 else fixed(value, 1 if abs(value) >= 1 else 2)


def heading(found: Sequence[Place]) -> str:
    """Return the words above places, which name the kind of the encoders."""
    return f"Among known encoders of {found[0].kind or UNKNOWN}:"


def main_places(measurement: Results) -> list[Place]:
    """Return the places of the few numbers that are printed, among the kind that the measurement was told."""
    return [place for place in places(measurement) if place.key in SHOWN]


def paragraph(measurement: Results) -> list[str]:
    """Return the lines that say where the main numbers lie among known encoders; none if none compares."""
    if not (found := main_places(measurement)):
        return []
    return [heading(found), *(textwrap.fill(str(place), WIDTH, subsequent_indent="  ") for place in found)]


# ------------------------------------------------------------------------------------------ for documentation


def markdown_tables(file: ReferenceFile) -> list[str]:
    """Return the items, the table, the sources and the protocol of each set for the documentation."""
    return [
        "\n\n".join(
            [
                f"**{each.kind.capitalize()}: {each.items}**",
                _table(each),
                f"{_sources(each)}\n- Data: {each.data}. Protocol: {each.protocol}.",
            ]
        )
        for each in file.sets
    ]


def _table(of: ReferenceSet) -> str:
    labels = [quantity(key).label for key in COMPARABLE]
    lines = [["encoder", *labels], ["---", *["---:"] * len(labels)]]
    for point in of.points:
        numbers = [
            with_error(point.numbers[key], point.errors.get(key)) if key in point.numbers else ""
            for key in COMPARABLE
        ]
        lines.append([point.name, *numbers])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _sources(of: ReferenceSet) -> str:
    """Return a line for each source, with the encoders that come from it."""
    names: dict[tuple[str, int], list[str]] = {}
    for point in of.points:
        names.setdefault((point.source, point.dim), []).append(point.name)
    return "\n".join(
        f"- {_listed(each)}: {source}; {counted(dim, 'feature')}." for (source, dim), each in names.items()
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
