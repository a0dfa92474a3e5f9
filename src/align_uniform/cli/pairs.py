"""The table of `--pairs` and the ids of rows: what is read, and what is refused rather than ignored."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_uniform._messages import counted, listed, shortened
from align_uniform._options import Options
from align_uniform.cli.parser import did_you_mean
from align_uniform.files.scores import SCORE, columns_of_scores

SIDES = ("x", "y")
"""The columns of pairs by default."""

SENTENCES = ("sentence1", "sentence2")
"""The columns of pairs of sentences, as STS-B and its like name them."""

SCORED = ("threshold", "columns", "score", "inclusive", "all_pairs")
"""The names of `ScoredPairsOptions`."""


@dataclass(frozen=True)
class ScoredPairsOptions(Options):
    """The columns of a table of pairs, and the pairs that are positive."""

    columns: tuple[str, str] | None = field(default=None, metadata={"metavar": "COLUMN"})
    """Columns of the table of pairs. Default: x and y; of pairs of texts, those with the usual names, such as
    sentence1 and sentence2, or else the only two columns of text.
    """
    score: str | None = field(default=None, metadata={"metavar": "COLUMN"})
    """Column of the scores in the table of pairs. Default: score."""
    threshold: float | None = field(default=None, metadata={"metavar": "SCORE"})
    """Score above which a pair is positive, such as 4 for STS-B."""
    inclusive: bool = False
    """Count pairs whose score equals the threshold as positive."""
    all_pairs: bool = False
    """Count all pairs as positive, although the table has scores."""


@dataclass(frozen=True)
class PairsAsked:
    """The options that say how a table of pairs is read."""

    path: str
    columns: tuple[str, str] | None
    """The columns of pairs; None for x and y."""
    score: str | None
    """The column of scores; None for the usual one."""
    threshold: float | None
    """The score above which a pair is positive; None without scores."""
    all_pairs: bool
    """Whether all pairs are positive, although the table has scores."""


@dataclass(frozen=True)
class TableOfPairs:
    """The pairs in a table."""

    path: str
    names: tuple[str, ...]
    """The columns that are read."""
    sides: tuple[list[Any], list[Any]]
    """The row numbers or ids of both sides."""
    scores: list[float] | None

    @property
    def words(self) -> str:
        """The number of pairs, and the columns that they come from."""
        return (
            f"{self.path}: {counted(len(self.sides[0]), 'pair')}, from the columns {' and '.join(self.names)}"
        )

    def rows(self, ids: Sequence[Sequence[Any] | None]) -> list[tuple[int, int]]:
        """Return the two row numbers of each pair.

        Args:
            ids: the id of each row of either side; None if the table has row numbers.

        Raises:
            ValueError: a value is no row number, or no row has this id.
        """
        x, y = (
            _row_numbers(column, own, f"column {name} of {self.path}")
            for column, own, name in zip(self.sides, ids, self.names[:2], strict=True)
        )
        return list(zip(x, y, strict=True))


def read_pairs(asked: PairsAsked) -> TableOfPairs:
    """Read the pairs of a table, and their scores if there is a threshold.

    Raises:
        ValueError: a column is missing, a score is no number, or the table has scores that nothing is said
            about.
        OSError: the file cannot be read.
    """
    from align_uniform.files import open_columns

    table = open_columns(asked.path)
    x, y = names = asked.columns or SIDES
    if missing := [name for name in names if name not in table]:
        raise ValueError(_without_columns(asked, missing[0], list(table)))
    scores, of_scores = scores_of(asked, table, names)
    return TableOfPairs(asked.path, (x, y, *of_scores), (table[x], table[y]), scores)


def scores_of(
    asked: PairsAsked, table: Mapping[str, Any], sides: Sequence[str]
) -> tuple[list[float] | None, tuple[str, ...]]:
    """Return the scores of a table of pairs if there is a threshold, and the name of their column.

    Args:
        asked: the options.
        table: the columns of the table.
        sides: the columns of pairs, which have no scores.

    Raises:
        ValueError: there is no column of scores, a score is no number, or the table has scores that nothing
            is said about.
    """
    if asked.threshold is not None and (name := asked.score or SCORE) in table:
        return _numbers(asked.path, name, table[name]), (name,)
    may_be_scores = columns_of_scores(table, sides)
    if asked.threshold is not None:
        raise ValueError(_without_scores(asked, table, may_be_scores))
    if may_be_scores and not asked.all_pairs:
        column = may_be_scores[0]
        option = "" if column == SCORE else f" and --score {shlex.quote(column)}"
        raise ValueError(
            f"{asked.path} has numbers that may be scores in the column {shortened(column)}; give "
            f"--threshold{option}, above which a pair is positive, or --all-pairs."
        )
    if asked.all_pairs and not may_be_scores:
        raise ValueError(f"--all-pairs has no effect: {asked.path} has no column of scores; leave it out.")
    return None, ()


def _without_scores(asked: PairsAsked, table: Mapping[str, Any], may_be_scores: Sequence[str]) -> str:
    """Return what to say of a table that lacks the column of scores."""
    name = asked.score or SCORE
    if asked.score is None and may_be_scores:
        return (
            f"{asked.path} has no column {SCORE}; say which one has the scores, as in --score "
            f"{shlex.quote(may_be_scores[0])}."
        )
    near = did_you_mean(name, table)
    remedy = near.lstrip("; ") if near else "leave --threshold out if all pairs are positive."
    return f"{asked.path} has no column {name}; it has {listed(table)}; {remedy}"


def _without_columns(asked: PairsAsked, missing: str, names: Sequence[str]) -> str:
    """Return what to say of a table without a column of pairs."""
    path, has = asked.path, f"it has {listed(names)}"
    if asked.columns is not None:
        return f"{path} has no column {missing}; {has}{did_you_mean(missing, names)}."
    if any(map(_is_number, names)) and Path(path).suffix.lower() in (".csv", ".tsv"):
        header = {".tsv": r"\t"}.get(Path(path).suffix.lower(), ",").join(
            ["x", "y", SCORE, *names][: len(names)]
        )
        return (
            f"{path} must have columns x and y, got {listed(names)}; if that is its first row, put a line of "
            f"names above it: sed -i {shlex.quote(f'1i {header}')} {shlex.quote(path)}"
        )
    others = [name for name in names if name != SCORE]
    if len(others) < 2:
        return f"{path} must have two columns of pairs, such as x and y, got {listed(names)}."
    chosen = SENTENCES if {*SENTENCES} <= {*others} else others[:2]
    return (
        f"{path} must have columns x and y, got {listed(names)}; say which two are the pairs, as in "
        f"--columns {shlex.join(chosen)}."
    )


def _numbers(path: str, name: str, column: Sequence[Any]) -> list[float]:
    """Return a column of numbers; one that has anything else is text, also where it looks like a number."""
    for row, value in enumerate(column):
        if not _is_number(value) or math.isnan(float(value)):
            got = "none" if value == "" else shortened(repr(value))
            raise ValueError(
                f"column {name} of {path} must have a number for each pair, got {got} in pair {row}, counted "
                "from 0; leave that pair out."
            )
    return [float(value) for value in column]


def _row_numbers(column: Sequence[Any], ids: Sequence[Any] | None, name: str) -> list[int]:
    """Return the row numbers in a column, or those of the first rows that have its ids."""
    from align_uniform.measuring.columns import rows_of_ids

    if ids is None:
        strange = next((value for value in column if type(value) is not int), None)
        if strange is not None:
            raise ValueError(
                f"{name} must be row numbers, from 0, got {shortened(repr(strange))}; if it has ids, give "
                "the id of each row by --ids."
            )
        return list(column)
    # A table of text has no types: what looks like a number may be an id that is text elsewhere.
    if _are_texts(column) != _are_texts(ids):
        column, ids = [str(value) for value in column], [str(value) for value in ids]
    return rows_of_ids(name, column, ids, "correct --ids or the table")


def _are_texts(column: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in column)


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def ids_of(path: str | None) -> Any:
    """Return the ids in a file, of which none may be an empty field."""
    if path is None:
        return None
    from align_uniform._checks import refuse_missing
    from align_uniform.files import read_column

    found = read_column(path)
    refuse_missing(path, [row for row, value in enumerate(found) if value == ""], len(found))
    return found
