"""All numbers of a measurement as the page shows them: two of them large on a scale, and all in a table."""

from __future__ import annotations

import re
from dataclasses import dataclass

from align_uniform.measuring import quantities
from align_uniform.measuring.quantities import Quantity, fixed
from align_uniform.measuring.results import Results

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
    """One of the two numbers that the page is about, with the numbers that explain it."""

    name: str
    value: str
    error: str
    meaning: str
    companions: list[Row]
    """The numbers that are shown in smaller type below."""
    scale: Scale | None


def headlines(measurement: Results) -> list[Headline]:
    """Return uniformity, preceded by alignment if there are positive pairs."""
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
    return found


def _headline(measurement: Results, key: str, companions: list[str], scale: Scale | None) -> Headline:
    record = quantities.quantity(key)
    value, _, error = typeset(record.text(measurement)).partition(" ± ")
    return Headline(
        name=record.label.capitalize(),
        value=value,
        error=error,
        meaning=typeset(record.explanation(measurement)),
        companions=[
            _row(other, other.remark(measurement), measurement)
            for other in map(quantities.quantity, companions)
            if other.is_shown(measurement, "report")
        ],
        scale=scale,
    )


def _row(record: Quantity, words: str, measurement: Results) -> Row:
    return record.label, typeset(record.text(measurement)), typeset(words)
