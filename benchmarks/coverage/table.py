"""The outcomes as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from align_uniform.measuring import quantities
from benchmarks.coverage.simulate import APPROXIMATION, Coverage, Outcome

LOW, HIGH = 0.92, 0.98
"""The bounds of a cover that needs no remark."""

HEADING = ("design", "law", "size", "number", "cover %", "se/sd", "")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each number of each cell; numbers of a cell with one result share a line.

    A cover is marked where it is low or high by more than twice its Monte-Carlo error, and so is a number
    that the measurement warns about.
    """
    rows: list[tuple[str, ...]] = [HEADING, ("---", "---", "---", "---", "---:", "---:", "---")]
    for outcome in outcomes:
        labels: dict[tuple[str, str, str], list[str]] = {}
        for number in outcome.numbers:
            cells = f"{100 * number.cover:.1f}", f"{number.se_over_sd:.2f}", remark(number)
            labels.setdefault(cells, []).append(label(number.number))
        where = outcome.design, outcome.law, outcome.size
        rows.extend((*where, ", ".join(names), *cells) for cells, names in labels.items())
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def label(key: str) -> str:
    """Return the name that people read."""
    return "uniformity, approximation" if key == APPROXIMATION else quantities.quantity(key).label


def is_low(number: Coverage) -> bool:
    """Whether the cover is below the lower bound, chance aside."""
    return number.cover < LOW - 2 * number.cover_error


def is_high(number: Coverage) -> bool:
    """Whether the cover is above the upper bound, chance aside."""
    return number.cover > HIGH + 2 * number.cover_error


def remark(number: Coverage) -> str:
    """Return what stands out: a low or a high cover, and in which share of the runs a warning was given."""
    marks = ["low"] if is_low(number) else ["high"] if is_high(number) else []
    if number.warned:
        marks.append(f"warns in {100 * number.warned:.0f}%")
    return ", ".join(marks)
