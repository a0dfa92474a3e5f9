"""Readers of text files of columns: .csv, .tsv, .jsonl and .txt. Each returns the columns by their names."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from align_uniform._messages import counted, listed, shortened
from align_uniform.files.held import File, FileError, Key, Values


def csv(file: File) -> dict[Key, Values]:
    """Read a table of fields separated by commas, quoted by RFC 4180; the first line names the columns."""
    with file.path.open(encoding="utf-8-sig", newline="") as stream:
        lines = stream.readlines()
    records = _csv_records(file, lines)
    names = records[0].fields if records else []
    _refuse_swallowed_lines(file, lines, records, names)
    return _columns(file, names, records[1:])


def tsv(file: File) -> dict[Key, Values]:
    """Read a table of fields separated by tabs, without quoting; the first line names the columns."""
    with file.path.open(encoding="utf-8-sig") as stream:
        lines = [line.rstrip("\n") for line in stream]
    records = [_Record(number, 1, line.split("\t") if line else []) for number, line in enumerate(lines, 1)]
    names = records[0].fields if records else []
    if any(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        raise FileError(
            f"{file.path} has quotation marks around the names of its columns, but .tsv has no quoting; "
            "write it without, or save the table as .csv."
        )
    return _columns(file, names, records[1:])


def jsonl(file: File) -> dict[Key, Values]:
    """Read a table of one JSON object a line, except columns whose first value is a list or an object."""
    rows = [*objects(file)]
    scalars = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))] if rows else []
    return {name: partial(list, [row[name] for row in rows]) for name in scalars}


def objects(file: File) -> Iterator[dict[str, Any]]:
    """Yield the JSON object of each line that is not blank. All have the keys of the first."""
    path = file.path
    first: dict[str, Any] | None = None
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            with file.reading(f"{path}, line {number},"):
                row = dict(json.loads(line).items())
            first = row if first is None else first
            if row.keys() != first.keys():
                raise FileError(
                    f"{path} must have the keys {listed(first)} in each line, got {listed(row)} in {number}."
                )
            yield row


def txt(file: File) -> dict[Key, Values]:
    """Read a column of one value a line, which has no name."""
    with file.path.open(encoding="utf-8-sig") as stream:
        return {None: partial(numbers, [line.rstrip("\n") for line in stream])}


def why_miscounted(path: str | Path, found: Sequence[Any], count: int) -> str:
    """Return the likely reason why a column has not as many values as there are rows, and what to do.

    Args:
        path: the file, or FILE::KEY.
        found: its values.
        count: the number of rows.

    Returns:
        A clause that follows what is wrong, or nothing if no reason is likely.
    """
    file, _, key = str(path).partition("::")
    ending, quoted, extra = Path(file).suffix.lower(), shlex.quote(file), len(found) - count
    if ending == ".txt" and extra > 0 and not any(found[count:]):
        return f"; it ends in blank lines, remove them: sed -i '{count + 1},$d' {quoted}"
    if ending == ".txt" and extra == 1:
        return f"; if its first line, {shortened(found[0])}, is a heading, remove it: sed -i 1d {quoted}"
    if ending in (".csv", ".tsv") and extra == -1 and not key:
        return (
            "; its first line is taken for a name: if it is a value, put a name above it: sed -i '1i value' "
            f"{quoted}"
        )
    return ""


@dataclass(frozen=True)
class _Record:
    """A row of a table of text, with its place in the file."""

    line: int
    """The number of its first line, from 1."""
    lines: int
    """The number of lines that it takes."""
    fields: list[str]
    """The fields; empty for a blank line."""


def _columns(file: File, names: list[str], records: list[_Record]) -> dict[Key, Values]:
    """Return the columns of rows that all have the same. Blank lines at the end are no rows."""
    if len(set(names)) < len(names):
        twice = [name for name, times in Counter(names).items() if times > 1]
        raise FileError(
            f"{file.path} must name each column once in its first line, got {listed(twice)} twice."
        )
    last = max((at for at, record in enumerate(records, 1) if record.fields), default=0)
    rows = [record.fields or [""] for record in records[:last]]
    for record, row in zip(records, rows, strict=False):
        if len(row) != len(names):
            raise FileError(
                f"{file.path} must have {counted(len(names), 'field')} a row, as its first line has, got "
                f"{len(record.fields)} in line {record.line}."
            )
    return {name: partial(numbers, [row[i] for row in rows]) for i, name in enumerate(names)}


def _csv_records(file: File, lines: list[str]) -> list[_Record]:
    """Split lines into rows. A field may have any length and, between quotation marks, several lines."""
    import csv

    records: list[_Record] = []
    limit = csv.field_size_limit(sum(map(len, lines)))
    try:
        reader = csv.reader(lines, strict=True)
        while True:
            first = reader.line_num + 1
            with file.reading(f"{file.path}, line {first},"):
                fields = next(reader, None)
            if fields is None:
                return records
            records.append(_Record(first, reader.line_num - first + 1, fields))
    finally:
        csv.field_size_limit(limit)


def _refuse_swallowed_lines(file: File, lines: list[str], records: list[_Record], names: list[str]) -> None:
    """Refuse a field of several lines, each of which looks like a row of its own.

    A quotation mark at the beginning of a field quotes all that follows up to the next one, also where it is
    part of a text and the next one is lines below.
    """
    if all(record.lines == 1 for record in records):
        return
    single = [record.fields for record in records[1:] if record.lines == 1 and record.fields]
    numbers = [
        i for i in range(len(names)) if single and all(_is_number(row[i]) for row in single if row[i:])
    ]

    def is_row(line: str) -> bool:
        fields = line.rstrip("\r\n").split(",")
        return len(fields) == len(names) > 1 and all(_is_number(fields[i]) for i in numbers)

    for record in records:
        first, last = record.line, record.line + record.lines - 1
        if record.lines > 1 and all(map(is_row, lines[first - 1 : last])):
            raise FileError(
                f"{file.path} has a quotation mark in line {first} that makes one field of lines {first} to "
                f"{last}, though each looks like a row; if they are rows, double the quotation marks within "
                "texts and put the texts between quotation marks, or save the table as .tsv, which has no "
                "quoting."
            )


def _is_number(text: str) -> bool:
    return bool(text) and not isinstance(numbers([text])[0], str)


def numbers(texts: list[str]) -> list[Any]:
    """Return numbers if every text is one as JSON writes it, so that ids such as 007 and 1_0 stay text."""
    try:
        # One call for all is ten times as fast. A text of several numbers would make more values than texts.
        values = json.loads(f"[{','.join(texts)}]")
        kinds = {type(value) for value in values}
        if len(values) != len(texts):
            return texts
        if kinds == {int}:
            return list(values)
        return [float(value) for value in values] if kinds <= {int, float} else texts
    except (ValueError, OverflowError, RecursionError):
        return texts
