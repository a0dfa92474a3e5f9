"""All numbers of a measurement as the page shows them: two of them large on a scale, and all in a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from align_uniform.measuring import quantities, reference_points, verdict
from align_uniform.measuring.quantities import Quantity, fixed
from align_uniform.measuring.reference_points import RECALL, Place
from align_uniform.measuring.results import NORMAL_95, Results

Row = tuple[str, str, str]
"""The name of a number, its value, and its explanation."""

DUPLICATES = "duplicates"
"""The finding that has a card of its own."""


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
class Mark:
    """A known encoder on a scale."""

    at: float
    """The place of the encoder, in percent of the way."""
    words: str
    """The name of the encoder, and its number."""


@dataclass(frozen=True)
class Scale:
    """The place of a number between two well-understood numbers, in percent of the way."""

    at: float
    low: float
    high: float
    left: str
    right: str
    marks: tuple[Mark, ...] = ()
    """The nearest known encoders."""

    @classmethod
    def of(
        cls, value: float, interval: tuple[float, float], ends: tuple[float, float], names: tuple[str, str]
    ) -> Scale:
        """Place a value and its interval on the way from one end to the other."""
        at, low, high = (_percent(number, ends) for number in (value, *interval))
        return cls(at, low, high, *names)

    def marked(self, place: Place | None, ends: tuple[float, float]) -> Scale:
        """Add the known encoders nearest to a value; `ends` are those of the scale, in units of the value.

        Each mark has a line for its name; the first line is that of the mark whose name crosses no other.
        """
        if place is None:
            return self
        known = [each for each in (place.below, place.above) if each is not None]
        marks = tuple(Mark(_percent(each.value, ends), typeset(str(each))) for each in known)
        return replace(self, marks=marks[::-1] if marks[0].at >= 50 else marks)


def _percent(value: float, ends: tuple[float, float]) -> float:
    """Return the place of a number in percent of the way from one end to the other, at most at an end."""
    return round(min(100.0, max(0.0, 100 * (value - ends[0]) / (ends[1] - ends[0]))), 2)


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
    """Return alignment if there are pairs, uniformity, what searches find, and duplicates if they abound."""
    uniform = measurement.uniform
    known = {place.key: place for place in reference_points.places(measurement)}
    found = [*_alignment(measurement, known.get("align.relative"))]
    ends = (f"{typeset(fixed(uniform.optimum))}: spread evenly", "0: all in one place")
    interval = uniform.interval or (uniform.value, uniform.value)
    scale = Scale.of(uniform.value, interval, (uniform.optimum, 0), ends)
    gap, companions = known.get("uniform.gap"), ["uniform.gap", "uniform.equivalent_dim"]
    scale = scale.marked(gap, (0, -uniform.optimum))
    found.append(_headline(measurement, "uniform", companions, scale, gap))
    return [*found, *_answers(measurement, known.get(RECALL)), *_duplicates(measurement)]


def _alignment(measurement: Results, known: Place | None) -> Iterator[Headline]:
    """Yield relative alignment, which a cone does not flatter, and alignment below it, if there are pairs."""
    align = measurement.align
    if align is None:
        return
    if align.relative is None:
        yield _headline(measurement, "align", [], None)
        return
    half = NORMAL_95 * (align.relative_stderr or 0.0)
    ends = ("0: perfect", "1: no better than chance")
    scale = Scale.of(align.relative, (align.relative - half, align.relative + half), (0, 1), ends)
    yield _headline(measurement, "align.relative", ["align"], scale.marked(known, (0, 1)), known)


def _duplicates(measurement: Results) -> Iterator[Headline]:
    """Yield the share of rows that occur more than once, if the verdict finds that they are many."""
    for finding in verdict.findings(measurement):
        if finding.name == DUPLICATES:
            companions = map(quantities.quantity, ("duplicates.exact", "duplicates.near"))
            yield Headline(
                name="Duplicates",
                value=f"{finding.number:.1%}",
                error="",
                meaning=finding.quantity,
                companions=[_row(record, record.remark(measurement), measurement) for record in companions],
                scale=Scale.of(
                    finding.number, (finding.number, finding.number), (0, 1), ("0: none", "1: all rows")
                ),
                better="smaller",
            )


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
        name=f"{record.label[:1].upper()}{record.label[1:]}",
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
