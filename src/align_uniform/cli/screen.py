"""Lines on a terminal: they end between words, and have colours where these are wanted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from align_uniform.measuring.measurement import Measurement

COLOURS = {"problem": "bold red", "warning": "bold yellow", "note": "bold", "": "bold green"}
"""The style of a verdict, by the severity of its worst finding."""


def width() -> int | None:
    """Return the columns of the screen; None where stdout is no terminal, and lines may have any length."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console().width


def say(text: str, style: str | None = None, *, error: bool = False) -> None:
    """Print a text, on a terminal folded between words, and coloured unless $NO_COLOR is set.

    Args:
        text: the text.
        style: the style that rich gives it.
        error: whether it goes to stderr.
    """
    from rich.console import Console

    console = Console(stderr=error)
    if not console.is_terminal:
        print(text, file=sys.stderr if error else sys.stdout)
        return
    console.print(text, style=style, markup=False, highlight=False, emoji=False)


def say_measurement(result: Measurement) -> None:
    """Print the table of a measurement, its warnings, and the verdict with its findings."""
    from align_uniform.measuring import verdict

    say(result.heading)
    print("", *result.table_lines(width()), sep="\n")
    for warning in result.warnings:
        say(f"warning: {warning}")
    print()
    severity = result.findings[0].severity if result.findings else ""
    say(verdict.headline(result.findings), COLOURS[severity])
    for finding in result.findings:
        say(f"{finding.name}: {finding.what} {finding.advice}")


def side_by_side(rows: Sequence[Sequence[str]], most: int | None) -> str:
    """Return a table of labels and columns of numbers; columns that do not fit come in a block below.

    Args:
        rows: the label and the cells of each row, the headings first.
        most: the columns of the screen; None for one block.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    blocks: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        used = widths[0] + sum(2 + widths[each] for each in blocks[-1])
        if blocks[-1] and most is not None and used + 2 + widths[column] > most:
            blocks.append([])
        blocks[-1].append(column)
    return "\n\n".join(
        "\n".join(
            "  ".join([row[0].ljust(widths[0]), *(row[each].rjust(widths[each]) for each in block)]).rstrip()
            for row in rows
        )
        for block in blocks
    )
