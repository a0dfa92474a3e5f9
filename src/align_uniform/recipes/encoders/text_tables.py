"""Texts in files: the columns that have them, and the different texts among all."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from align_uniform._checks import refuse_missing
from align_uniform._messages import counted, listed, shortened
from align_uniform.files import Column, FileError, open_columns, read_column, split_key
from align_uniform.files.formats import COLUMNS, TABLES

PAIRS = (
    ("sentence1", "sentence2"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("query", "document"),
    ("query", "passage"),
    ("question", "answer"),
    ("text1", "text2"),
)
"""The columns of pairs of texts that are taken without being named, the first that a table has."""

SINGLE = ("text", "sentence")
"""The columns of single texts that are taken without being named."""


STS_BENCHMARK = ("genre", "filename", "year", "index", "score", "sentence1", "sentence2")
"""The columns of the files of the STS benchmark, sts-test.csv and others, whose first line has no names."""


@dataclass(frozen=True)
class TextTable:
    """The texts of a file: of one column, or of the two columns of a table of pairs."""

    path: str
    names: tuple[str, ...]
    """The columns that are read; none for a file of one column without a name."""
    sides: tuple[Sequence[str], ...]
    """The texts of each column."""
    table: Mapping[str, Column] = field(default_factory=dict)
    """All columns of the table."""
    has_names: bool = True
    """Whether the names of the columns are in the file, as `measure --pairs` needs them."""

    @property
    def are_pairs(self) -> bool:
        """Whether the two texts of a row are a pair."""
        return len(self.sides) == 2

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each different text, in the order of the first column, then of the second."""
        different = dict.fromkeys(itertools.chain(*self.sides))
        return {text: number for number, text in enumerate(different)}

    @property
    def texts(self) -> list[str]:
        """The different texts, in the order of their numbers."""
        return list(self.numbers)

    @property
    def words(self) -> str:
        """The number of rows, the columns that they come from, and the number of different texts."""
        what = counted(len(self.sides[0]), "pair" if self.are_pairs else "text")
        source = f", from the column{'s' * self.are_pairs} {' and '.join(self.names)}" if self.names else ""
        return f"{self.path}: {what}{source}; {counted(len(self.numbers), 'different text')}"


def read_texts(path: str, columns: tuple[str, str] | None = None) -> TextTable:
    """Read the texts of a file.

    Args:
        path: a table, a .txt file of one text a line, or FILE::COLUMN for one column.
        columns: the two columns of pairs. By default the first of `PAIRS` that the table has; else one of
            `SINGLE`; else the columns that have text in their first row, if these are one or two.

    Raises:
        ValueError: the file has no such columns, or a row has no text there.
        OSError: the file cannot be read.
    """
    file, key = split_key(path)
    if columns is not None and key is not None:
        raise ValueError(
            f"columns are for pairs, and {path} is one column; leave one of the two out, as in {file}."
        )
    ending = file.suffix.lower()
    if key is not None or (ending in COLUMNS and ending not in TABLES):
        if columns is not None:
            raise ValueError(f"{path} has one text a line, and no columns; leave columns out.")
        return TextTable(path, (), (_texts(path, read_column(path)),))
    benchmark = _of_sts_benchmark(file)
    table = benchmark or open_columns(file)
    names = _columns(path, table) if columns is None else columns
    if missing := [name for name in names if name not in table]:
        raise FileError(f"{path} has no column {missing[0]}; it has {listed(table)}; {_remedy(path, table)}")
    return TextTable(
        path, names, tuple(_texts(f"{path} (column {name})", table[name]) for name in names), table,
        has_names=benchmark is None,
    )  # fmt: skip


def _of_sts_benchmark(file: Path) -> Mapping[str, Column] | None:
    """Return the columns of a file of the STS benchmark, with tabs whatever its ending, or None."""
    if file.suffix.lower() not in (".csv", ".tsv") or not file.is_file():
        return None
    width, score = len(STS_BENCHMARK), STS_BENCHMARK.index("score")
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        first = lines.readline().rstrip("\r\n").split("\t")
        if len(first) < width or not re.fullmatch(r"[0-5](\.\d+)?", first[score]):
            return None
        rows = [first, *(line.rstrip("\r\n").split("\t") for line in lines if line.strip())]
    if short := next((place for place, row in enumerate(rows, 1) if len(row) < width), None):
        raise FileError(
            f"{file} must have {width} fields a line, as the STS benchmark has, got "
            f"{len(rows[short - 1])} in line {short}; fetch it again."
        )
    columns: dict[str, Column] = {
        name: list(column)
        for name, column in zip(STS_BENCHMARK, zip(*(row[:width] for row in rows), strict=True), strict=True)
    }
    columns["score"] = [float(score) for score in columns["score"]]
    return columns


def _columns(path: str, table: Mapping[str, Column]) -> tuple[str, ...]:
    """Return the columns of texts that need no choice."""
    if found := next((pair for pair in PAIRS if all(name in table for name in pair)), None):
        return found
    if single := next((name for name in SINGLE if name in table), None):
        return (single,)
    if len(texts := _with_texts(table)) in (1, 2):
        return tuple(texts)
    raise FileError(
        f"{path} must have columns of texts that are known, got {listed(table)}; {_remedy(path, table)}"
    )


def _remedy(path: str, table: Mapping[str, Column]) -> str:
    """Return how columns are named."""
    texts = _with_texts(table)
    if len(texts) < 2:
        return f"give a table with columns such as {' and '.join(PAIRS[0])}, or {SINGLE[0]}."
    return (
        f"say which two are the pairs, as in --columns {shlex.join(texts[:2])}, or which one has the texts: "
        f"{shlex.quote(f'{path}::{texts[0]}')}."
    )


def _with_texts(table: Mapping[str, Column]) -> list[str]:
    """Return the columns whose first value is a text; one with a missing value is none."""
    found = []
    for name in table:
        try:
            column = table[name]
        except FileError:
            continue
        if isinstance(column[0], str):
            found.append(name)
    return found


def _texts(name: str, column: Column) -> list[str]:
    """Return a column of texts, of which none may be empty."""
    texts = [value for value in column if isinstance(value, str)]
    if len(texts) < len(column):
        row = next(row for row, value in enumerate(column) if not isinstance(value, str))
        raise FileError(
            f"{name} must have texts, got {shortened(repr(column[row]))} in row {row}, counted from 0; name "
            "another column."
        )
    refuse_missing(name, [row for row, text in enumerate(texts) if not text.strip()], len(texts))
    return texts
