"""The columns of a table of pairs that may be scores of the pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from align_uniform.files.held import FileError

SCORE = "score"
"""The column of scores by default."""

NO_SCORES = ("", "index", "id", "idx", "row")
"""Names of columns of numbers that are no scores: what numbers the rows of a table."""


def columns_of_scores(table: Mapping[str, Any], sides: Collection[str]) -> list[str]:
    """Return the columns that may be scores, the one that is named so first.

    Args:
        table: the columns of the table.
        sides: the columns of pairs, which have no scores.

    Example:
        >>> table = {"x": ["a"], "y": ["b"], "id": [7], "kind": ["new"], "rating": [3.5]}
        >>> columns_of_scores(table, ("x", "y"))
        ['rating']
    """
    found = [name for name in table if name not in sides and _are_numbers(name, table)]
    if SCORE in table and SCORE not in sides:
        return [SCORE, *(name for name in found if name != SCORE)]
    return found


def _are_numbers(name: str, table: Mapping[str, Any]) -> bool:
    """Return whether a column has numbers other than those of the rows."""
    if name.lower() in NO_SCORES or name.startswith("Unnamed: "):
        return False
    try:
        return not any(isinstance(value, str) for value in table[name])
    except FileError:  # it is opened, not read, and has values that are missing
        return False
