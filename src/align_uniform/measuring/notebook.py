"""Measurements, comparisons and drifts as small tables for notebooks, without a script or a style sheet.

Colours of text and ground are the notebook's own, so that a table is legible in a light and in a dark theme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from align_uniform.measuring import prefix_result, quantities, reference_points, verdict
from align_uniform.measuring.heuristic import Finding
from align_uniform.measuring.quantity import with_error
from align_uniform.measuring.significance import text_of_p

if TYPE_CHECKING:
    from align_uniform.measuring.comparison import Comparison
    from align_uniform.measuring.drift_result import Drift
    from align_uniform.measuring.measurement import Measurement

COLOURS = {"problem": "#d93025", "warning": "#e08600", "note": "#4a90d9", "": "#2e9e5b"}
"""The colour of the bar beside a verdict, by the severity of its worst finding; visible on white and on
black.
"""

NUMBER = "text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
WORDS = "text-align:left"


def measurement_html(measurement: Measurement) -> str:
    """Return the name, the verdict with its advice, and the table of the main numbers."""
    found = measurement.findings
    rows = [
        (record.label, record.text(part), record.remark(part))
        for _, part, records in quantities.groups(measurement, "table")
        for record in records
    ]
    return _block(
        _paragraph(measurement.heading),
        _verdict(found),
        _table((), rows, (WORDS, NUMBER, WORDS)),
        _first_features(measurement),
        _warnings(measurement.warnings),
        _places(measurement),
    )


def comparison_html(comparison: Comparison) -> str:
    """Return the numbers of each embedding, and a table for each difference from the first."""
    results = comparison.measurements
    records = [
        record
        for record in quantities.shown_by("compare")
        if any(record.is_shown(result, "compare") for result in results)
    ]
    rows = [[record.label, *(record.text(result) for result in results)] for record in records]
    rows.append(["verdict", *(verdict.headline(result.findings) for result in results)])
    parts = [_table(["", *(result.name for result in results)], rows, (WORDS, *[NUMBER] * len(results)))]
    for difference, p, adjusted in zip(
        comparison.differences, comparison.p, comparison.adjusted_p, strict=True
    ):
        lines = [
            [record.label, with_error(value, error), _p(p[record.key]), _p(adjusted[record.key])]
            for record, value, error in difference.main_numbers()
        ]
        columns = ["", "difference", "p", "adjusted p"]
        shown = len(columns) if len(comparison.differences) > 1 else 3  # of one difference both p are equal
        cells = [line[:shown] for line in lines]
        styles = (WORDS, NUMBER, NUMBER, NUMBER)[:shown]
        parts += [_paragraph(difference.heading), _table(columns[:shown], cells, styles)]
    return _block(*parts)


def drift_html(drift: Drift) -> str:
    """Return the names of both sides, the decision, and the table of all numbers."""
    colour = COLOURS["warning" if drift.moved else ""]
    return _block(
        _paragraph(drift.heading),
        _barred(f"{escape(drift.verdict[:1].upper() + drift.verdict[1:])}", colour),
        _table((), drift.lines(), (WORDS, NUMBER, WORDS)),
        _warnings(drift.warnings),
    )


def _p(value: float | None) -> str:
    return "" if value is None else text_of_p(value).removeprefix("p ").removeprefix("= ")


def _verdict(found: Sequence[Finding]) -> str:
    """Return the verdict in a sentence, with the findings folded below it."""
    colour = COLOURS[found[0].severity if found else ""]
    sentence = escape(verdict.headline(found))
    if not found:
        return _barred(sentence, colour)
    items = "".join(
        f"<li><b>{escape(each.name)}</b>: {escape(each.what)} {escape(each.advice)}</li>" for each in found
    )
    return _barred(f"<details><summary>{sentence}</summary><ul>{items}</ul></details>", colour)


def _first_features(measurement: Measurement) -> str:
    """Return the tables of first features, if there are any."""
    if not measurement.prefixes:
        return ""
    parts = [("first features of each row", prefix_result.table(measurement.prefixes))]
    if changes := prefix_result.table_of_changes(measurement.prefixes):
        parts.append(("first features, less those of all features", changes))
    return "".join(
        _paragraph(title) + _table(heads, rows, (NUMBER,) * len(heads)) for title, (heads, *rows) in parts
    )


def _places(measurement: Measurement) -> str:
    """Return the places among known encoders, folded, if the kind of the measurement is known."""
    found = [place for place in reference_points.main_places(measurement) if place.kind is not None]
    if not found:
        return ""
    items = "".join(f"<li>{escape(str(place))}</li>" for place in found)
    return f"<details><summary>{escape(reference_points.heading(found))}</summary><ul>{items}</ul></details>"


def _barred(html: str, colour: str) -> str:
    return f'<div style="border-left:4px solid {colour};padding:2px 0 2px 8px;margin:4px 0">{html}</div>'


def _paragraph(text: str) -> str:
    return f'<div style="font-weight:bold;margin:4px 0">{escape(text)}</div>'


def _warnings(warnings: Sequence[str]) -> str:
    return "".join(f"<div>warning: {escape(each)}</div>" for each in warnings)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], styles: Sequence[str]) -> str:
    """Return a table, with a row of headings if there are columns."""
    heads = "".join(
        f'<th style="{style}">{escape(column)}</th>' for column, style in zip(columns, styles, strict=False)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{style}">{escape(cell)}</td>' for cell, style in zip(row, styles, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{heads}</tr></thead>' if heads else ''}<tbody>{body}</tbody></table>"


def _block(*parts: str) -> str:
    return f'<div style="max-width:100%;overflow-x:auto">{"".join(parts)}</div>'
