"""All numbers of a measurement as the page shows them: two of them large on a scale, and all in a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from align_uniform.measuring import quantities, reference_points
from align_uniform.measuring.quantities import Quantity, fixed
from align_uniform.measuring.reference_points import RECALL, Place
from align_uniform.measuring.results import NORMAL_95, Results

Row = tuple[str, str, str]
"""The name of a number, its value, and its explanation."""


def number_groups(measurement: Results) -> list[tuple[str, list[Row]]]:
    """Return the title and the rows of each group of numbers."""
    return [
        (title, [_row(record, record.explanation(part), part) for record in records])
        for title, part, records in quantities.groups(measurement, "report")
    ]


def typeset(text: str) -> str:
    """Replace hyphens before digits by minus signs."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


@dataclass(frozen=True)
class Scale:
    """The place of a number between two well-understood numbers, in percent of the way."""

    at: float
    low: float
    high: float
    left: str
    right: str
    marks: tuple[float, ...] = ()
    """The places of the nearest known encoders."""

    @classmethod
    def of(
        cls, value: float, interval: tuple[float, float], ends: tuple[float, float], names: tuple[str, str]
    ) -> Scale:
        """Place a value and its interval on the way from one end to the other."""
        at, low, high = (
            round(min(100.0, max(0.0, 100 * (number - ends[0]) / (ends[1] - ends[0]))), 2)
            for number in (value, *interval)
        )
        return cls(at, low, high, *names)

    def marked(self, place: Place | None, ends: tuple[float, float]) -> Scale:
        """Add the known encoders nearest to a value; `ends` are those of the scale, in units of the value."""
        if place is None:
            return self
        values = [each.value for each in (place.below, place.above) if each is not None]
        percents = (100 * (value - ends[0]) / (ends[1] - ends[0]) for value in values)
        return replace(self, marks=tuple(round(min(100.0, max(0.0, each)), 2) for each in percents))


@dataclass(frozen=True)
class Headline:
    """One of the few numbers that the page is about, with the numbers that explain it."""

    name: str
    value: str
    error: str
    meaning: str
    companions: list[Row]
    """The numbers that are shown in smaller type below."""
    scale: Scale | None
    better: str
    """The better direction."""
    known: str = ""
    """The place among known encoders, in words."""


def headlines(measurement: Results) -> list[Headline]:
    """Return alignment if there are pairs, uniformity, and what searches find, for pairs or labels."""
    align, uniform = measurement.align, measurement.uniform
    found = []
    known = {place.key: place for place in reference_points.places(measurement)}
    if align is not None:
        scale = None
        if align.relative is not None:
            ends = ("relative alignment 0: perfect", "1: no better than chance")
            scale = Scale.of(align.relative, (align.relative, align.relative), (0, 1), ends)
            scale = scale.marked(known.get("align.relative"), (0, 1))
        found.append(_headline(measurement, "align", ["align.relative"], scale, known.get("align.relative")))
    ends = (f"{typeset(fixed(uniform.optimum))}: spread evenly", "0: all in one place")
    interval = uniform.interval or (uniform.value, uniform.value)
    scale = Scale.of(uniform.value, interval, (uniform.optimum, 0), ends)
    gap, companions = known.get("uniform.gap"), ["uniform.gap", "uniform.equivalent_dim"]
    scale = scale.marked(gap, (0, -uniform.optimum))
    found.append(_headline(measurement, "uniform", companions, scale, gap))
    return [*found, *_answers(measurement, known.get(RECALL))]


def _answers(measurement: Results, recall: Place | None) -> Iterator[Headline]:
    """Yield the share of partners and of classes that nearest rows name."""
    if (found := measurement.retrieval) is not None:
        others = ["forward.recall_10", "backward.recall_1", "forward.mrr"]
        ends = ("0: never the nearest", "1: always the nearest")
        partners = _share(measurement, RECALL, others, found.forward, "recall_1", ends)
        scale = None if partners.scale is None else partners.scale.marked(recall, (0, 1))
        yield replace(partners, scale=scale, known=_among(recall))
    if (classes := measurement.classes) is not None:
        ends = ("0: never the right class", "1: always the right class")
        yield _share(measurement, "classes.knn", [], classes, "knn", ends)


def _share(
    measurement: Results, key: str, others: list[str], part: object, name: str, ends: tuple[str, str]
) -> Headline:
    value, error = getattr(part, name), getattr(part, f"{name}_stderr")
    half = NORMAL_95 * (error or 0.0)
    scale = Scale.of(value, (value - half, value + half), (0, 1), ends)
    companions = [f"retrieval.{other}" for other in others]
    return _headline(measurement, key, companions, scale)


def _among(place: Place | None) -> str:
    """Return the place of a number among known encoders; nothing if there is none."""
    if place is None:
        return ""
    label = quantities.quantity(place.key).label
    kind = place.kind or reference_points.UNKNOWN
    return typeset(
        f"{label[:1].upper()}{label[1:]} among known encoders of {kind}, the ticks: {place.words}."
    )


def _headline(
    measurement: Results, key: str, companions: list[str], scale: Scale | None, place: Place | None = None
) -> Headline:
    record = quantities.quantity(key)
    value, _, error = typeset(record.text(measurement)).partition(" ± ")
    return Headline(
        name=record.label.capitalize(),
        value=value,
        error=error,
        meaning=typeset(record.explanation(measurement)),
        companions=[
            _row(other, "" if other.is_share else other.remark(measurement), measurement)
            for other in map(quantities.quantity, companions)
            if other.is_shown(measurement, "report")
        ],
        scale=scale,
        known=_among(place),
        better=record.better,
    )


def _row(record: Quantity, words: str, measurement: Results) -> Row:
    return record.label, typeset(record.text(measurement)), typeset(words)
