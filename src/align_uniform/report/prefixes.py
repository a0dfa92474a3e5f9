"""First features of rows as a section of the report: curves, and a table of the numbers and differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from align_uniform import figures
from align_uniform._messages import counted
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.prefix_result import COMPARED, Prefix, columns
from align_uniform.measuring.quantity import Quantity, with_error
from align_uniform.report.drawings import Drawing, drawing
from align_uniform.report.numbers import typeset
from align_uniform.report.rows import Cell, Table

DRAWN = (*COMPARED[:-1], "rankme")
"""The keys of the numbers that have a curve, which can be compared between numbers of features."""


@dataclass(frozen=True)
class FirstFeatures:
    """The section of first features."""

    drawing: Drawing
    tables: Sequence[Table]


def first_features(measurement: Measurement) -> FirstFeatures | None:
    """Return the section; None for a measurement without first features."""
    if not measurement.prefixes:
        return None
    return FirstFeatures(_drawing(measurement), list(_tables(measurement)))


def _drawing(measurement: Measurement) -> Drawing:
    shown = [record for record in columns(measurement.prefixes) if record.key in DRAWN]
    curves = [_curve(record, measurement) for record in shown]
    figure = figures.prefix_figure([*measurement.prefixes], curves)
    again = ", normalised again" if measurement.norms.normalized else ""
    return drawing(
        "First features",
        figure,
        f"The rows cut to their first features{again}, with 95% intervals. The dotted line is the value of "
        f"all {counted(measurement.dim, 'feature')}. All points are of the same rows, so that differences "
        "are known better than values: see the table.",
    )


def _curve(record: Quantity, measurement: Measurement) -> figures.PrefixCurve:
    parts = measurement.prefixes.values()
    errors = [record.error(each) for each in parts]
    return figures.PrefixCurve(
        record.label,
        np.array([np.nan if (value := record.value(each)) is None else value for each in parts]),
        np.array([np.nan if error is None else error for error in errors]) if any(errors) else None,
        is_share=record.is_share,
        better=record.better,
    )


def _tables(measurement: Measurement) -> Iterator[Table]:
    """Yield the table of the numbers, and that of the differences from all features if there are any."""
    shown = columns(measurement.prefixes)
    caption = "The main numbers for each number of features that are kept, with their standard errors."
    yield _table("First features", caption, shown, measurement, _number)
    shown = [record for record in shown if any(record.key in part.changes for part in _cut(measurement))]
    if shown:
        caption = (
            "Numbers less those of all features. Their standard errors are of differences of the same items."
        )
        yield _table("Differences from all features", caption, shown, measurement, _change)


def _table(
    title: str,
    caption: str,
    shown: Sequence[Quantity],
    measurement: Measurement,
    cell: Callable[[Prefix, Quantity], Cell],
) -> Table:
    parts = measurement.prefixes.values() if cell is _number else _cut(measurement)
    rows = [[Cell(f"{part.dim:,}", part.dim), *(cell(part, record) for record in shown)] for part in parts]
    return Table(title, caption, ["features", *(record.label for record in shown)], 0, rows[::-1])


def _cut(measurement: Measurement) -> list[Prefix]:
    return [part for part in measurement.prefixes.values() if part.dim < measurement.dim]


def _number(part: Prefix, record: Quantity) -> Cell:
    value = record.value(part)
    return Cell("–", -math.inf) if value is None else Cell(typeset(record.text(part)), value)


def _change(part: Prefix, record: Quantity) -> Cell:
    found = part.changes.get(record.key)
    if found is None:
        return Cell("–", -math.inf)
    return Cell(typeset(with_error(found.value, found.stderr)), found.value)
