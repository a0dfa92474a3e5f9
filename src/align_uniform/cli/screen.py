"""Lines on a terminal: they end between words, and have colours where these are wanted."""

from __future__ import annotations

import sys
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
    print("", *result.table_lines(width()), *result.prefix_lines(width() or 80), sep="\n")
    for warning in result.warnings:
        say(f"warning: {warning}")
    print()
    severity = result.findings[0].severity if result.findings else ""
    say(verdict.headline(result.findings), COLOURS[severity])
    for finding in result.findings:
        say(f"{finding.name}: {finding.what} {finding.advice}")
