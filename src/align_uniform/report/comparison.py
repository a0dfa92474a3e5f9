"""The page of a comparison: what differs, all numbers side by side, the plane, maps, and the same pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from align_uniform import figures
from align_uniform.measuring import quantities, verdict
from align_uniform.measuring.comparison import Comparison
from align_uniform.measuring.difference import Difference
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.quantity import GROUPS, Quantity, with_error
from align_uniform.measuring.significance import text_of_p
from align_uniform.report.drawings import Drawing, drawing
from align_uniform.report.map import Map, map_of
from align_uniform.report.numbers import typeset
from align_uniform.report.places import Method
from align_uniform.report.rows import Cell, Contents, Table

SIGNIFICANT = 0.05
"""The adjusted p up to which a difference is said to be one."""

MAPS = 4
"""The most embeddings that have a map each; more would make the page too large."""


@dataclass(frozen=True)
class Summary:
    """The numbers that set an embedding apart from the first, in words."""

    heading: str
    better: Sequence[str]
    worse: Sequence[str]
    other: Sequence[str]
    """Numbers that differ, where neither direction is better."""
    same: Sequence[str]
    """Numbers without a significant difference."""


@dataclass(frozen=True)
class Line:
    """A number of all embeddings, and its differences from the first."""

    label: str
    meaning: str
    values: Sequence[str]
    differences: Sequence[tuple[str, str, str]]
    """Difference with error, z, and adjusted p."""


def summaries(comparison: Comparison) -> Iterator[Summary]:
    """Yield the numbers that set each other embedding apart from the first."""
    for found, adjusted in zip(comparison.differences, comparison.adjusted_p, strict=True):
        parts: dict[str, list[str]] = {"better": [], "worse": [], "other": [], "same": []}
        for record, value, error in found.main_numbers():
            p = adjusted[record.key]
            if p is None:
                continue
            words = f"{record.label} ({typeset(_signed(value, error))})"
            parts[_side(record, value) if p <= SIGNIFICANT else "same"].append(
                words if p <= SIGNIFICANT else record.label
            )
        yield Summary(found.heading, **parts)


def _side(record: Quantity, value: float) -> str:
    if not record.better:
        return "other"
    return "better" if (value > 0) == (record.better == "larger") else "worse"


def _signed(value: float, error: float | None) -> str:
    text = with_error(value, error)
    return text if value < 0 else f"+{text}"


def lines(comparison: Comparison) -> Iterator[tuple[str, list[Line]]]:
    """Yield the groups of numbers that any embedding has, side by side with their differences."""
    results = comparison.measurements
    for group in GROUPS:
        found = [
            _line(record, comparison)
            for record in quantities.shown_by("report")
            if record.group == group and any(record.is_shown(result, "report") for result in results)
        ]
        if found:
            yield group, found


def _line(record: Quantity, comparison: Comparison) -> Line:
    differences = [
        _cells(record, (result, comparison.measurements[0]), each, adjusted.get(record.key))
        for result, each, adjusted in zip(
            comparison.measurements[1:], comparison.differences, comparison.adjusted_p, strict=True
        )
    ]
    values = [typeset(record.text(result)) or "–" for result in comparison.measurements]
    return Line(record.label, typeset(record.meaning), values, differences)


def _cells(
    record: Quantity, results: tuple[Measurement, Measurement], found: Difference, adjusted: float | None
) -> tuple[str, str, str]:
    """Return the difference of a number, with z and p if it has an error."""
    for other, value, error in found.numbers():
        if other.key == record.key:
            z = found.z[record.key]
            words = "" if adjusted is None else text_of_p(adjusted).removeprefix("p ").removeprefix("= ")
            return typeset(_signed(value, error)), "" if z is None else typeset(f"{z:.1f}"), words
    values = [record.value(result) for result in results]
    if all(isinstance(value, int | float) for value in values):
        return typeset(f"{values[0] - values[1]:+.4g}"), "", ""
    return "–", "", ""


def pictures(
    comparison: Comparison, accuracy: Sequence[float] | None, contents: Sequence[Contents], method: Method
) -> tuple[Drawing | None, list[tuple[str, Map]]]:
    """Return the plane, if all embeddings have an alignment, and the map of each, if they are few."""
    results = comparison.measurements
    plane = None
    if all(result.align is not None for result in results):
        words = "Alignment and uniformity with 95% intervals; better is left and down."
        if len({result.dim for result in results}) > 1:
            words += " The embeddings have different dimensions, so that their gaps to the optimum are shown."
        plane = drawing("The plane", figures.plane_of_measurements(results, accuracy), words)
    maps = []
    if len(results) <= MAPS:
        for result, content in zip(results, contents, strict=True):
            found = map_of(result, content, method)
            if found is not None:
                maps.append((result.name, found))
    return plane, maps


def verdicts(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """Return the name, the verdict, the fitness for search and its severity of each embedding."""
    return [
        (each.name, verdict.headline(each.findings), each.fitness.answer, each.fitness.severity)
        for each in comparison.measurements
    ]


# -------------------------------------------------------------------------------------- the same worst pairs


def pairs_table(comparison: Comparison, contents: Sequence[Contents]) -> Table | None:
    """Return the worst pairs of any embedding with their distances in all.

    None without pairs, or where the items are known to differ.
    """
    results = comparison.measurements
    listed = [(pair.x, pair.y) for result in results for pair in result.worst_pairs]
    if not listed or any(result.align is None for result in results) or not _may_be_the_same(results):
        return None
    distances = [_distances(result) for result in results]
    are_items = results[0].towers is None and all(x == y for x, y in listed) and not contents[0].differ
    other = 1 if contents[0].differ or results[0].towers else 0
    rows = []
    for x, y in dict.fromkeys(listed):
        sides = [contents[0].cell(0, x), *([] if are_items else [contents[0].cell(other, y)])]
        rows.append([*sides, *(_distance(of_result.get((x, y))) for of_result in distances)])
    columns = ["item"] if are_items else ["x", "y"]
    first = len(columns)
    rows.sort(key=lambda row: row[first].order, reverse=True)
    caption = (
        "The pairs that are farthest apart in any of the embeddings, with their distances in each; a dash "
        "where the distance was not kept."
    )
    names = [result.name for result in results]
    return Table("The same pairs side by side", caption, [*columns, *names], first, rows)


def _may_be_the_same(results: Sequence[Measurement]) -> bool:
    """Return whether all measurements have as many items, and no two are known to have others."""
    known = {(each.items.of, each.items.order) for each in results if each.items and each.items.order}
    return len({each.n for each in results}) == 1 and len(known) == len({of for of, _ in known})


def _distances(result: Measurement) -> dict[tuple[int, int], float]:
    """Return the distances of pairs by their rows: all, if a pair is two views of a row, else the worst."""
    found = {(pair.x, pair.y): pair.distance for pair in result.worst_pairs}
    every = None if result.details is None else result.details.distances
    are_views = result.towers is None and all(x == y for x, y in found)
    if are_views and every is not None and len(every) == result.n:
        found = {(row, row): value for row, value in enumerate(every.tolist())}
    return found


def _distance(value: float | None) -> Cell:
    return Cell("–", -1.0) if value is None else Cell(f"{value:#.4g}", value)
