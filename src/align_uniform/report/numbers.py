"""All numbers of a measurement as the page shows them: two of them large on a scale, and all in a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from align_uniform.measuring import quantities
from align_uniform.measuring.quantities import Quantity, fixed
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
    better: str = "smaller"
    """The better direction."""


def headlines(measurement: Results) -> list[Headline]:
    """Return alignment if there are pairs, uniformity, and what searches find, for pairs or labels."""
    align, uniform = measurement.align, measurement.uniform
    found = []
    if align is not None:
        scale = None
        if align.relative is not None:
            ends = ("relative alignment 0: perfect", "1: no better than chance")
            scale = Scale.of(align.relative, (align.relative, align.relative), (0, 1), ends)
        found.append(_headline(measurement, "align", ["align.relative"], scale))
    ends = (f"{typeset(fixed(uniform.optimum))}: spread evenly", "0: all in one place")
    interval = uniform.interval or (uniform.value, uniform.value)
    scale = Scale.of(uniform.value, interval, (uniform.optimum, 0), ends)
    found.append(_headline(measurement, "uniform", ["uniform.gap", "uniform.equivalent_dim"], scale))
    return [*found, *_answers(measurement)]


def _answers(measurement: Results) -> Iterator[Headline]:
    """Yield the share of partners and of classes that nearest rows name."""
    if (found := measurement.retrieval) is not None:
        others = ["forward.recall_10", "backward.recall_1", "forward.mrr"]
        ends = ("0: never the nearest", "1: always the nearest")
        yield _share(measurement, "retrieval.forward.recall_1", others, found.forward, "recall_1", ends)
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
    return replace(_headline(measurement, key, companions, scale), better="larger")


def _headline(measurement: Results, key: str, companions: list[str], scale: Scale | None) -> Headline:
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
    )


def _row(record: Quantity, words: str, measurement: Results) -> Row:
    return record.label, typeset(record.text(measurement)), typeset(words)
