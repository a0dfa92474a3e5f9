"""Readers of text files of columns: .csv, .tsv, .jsonl and .txt. Each returns the columns by their names."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from align_uniform.files.held import File, FileError, Key, Values


def csv(file: File) -> dict[Key, Values]:
    """Read a table of fields separated by commas; the first line names the columns."""
    return _delimited(file, ",")


def tsv(file: File) -> dict[Key, Values]:
    """Read a table of fields separated by tabs; the first line names the columns."""
    return _delimited(file, "\t")


def jsonl(file: File) -> dict[Key, Values]:
    """Read a table of one JSON object a line, except columns whose first value is a list or an object."""
    path = file.path
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            with file.reading(f"{path}, line {number},"):
                rows.append(dict(json.loads(line).items()))
            if rows[-1].keys() != rows[0].keys():
                raise FileError(
                    f"{path} must have the keys {', '.join(rows[0])} in each line, got {', '.join(rows[-1])} "
                    f"in {number}."
                )
    scalars = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))] if rows else []
    return {name: partial(list, [row[name] for row in rows]) for name in scalars}


def txt(file: File) -> dict[Key, Values]:
    """Read a column of one value a line, which has no name."""
    with file.path.open(encoding="utf-8-sig") as stream:
        return {None: partial(_numbers, [line.rstrip("\n") for line in stream])}


def _delimited(file: File, delimiter: str) -> dict[Key, Values]:
    import csv

    path = file.path
    with path.open(encoding="utf-8-sig", newline="") as stream:
        names, *lines = [*csv.reader(stream, delimiter=delimiter, strict=True)] or [[]]
    if len(set(names)) < len(names):
        raise FileError(f"{path} must name each column once in its first line, got {', '.join(names)}.")
    for number, line in enumerate(lines, 2):
        if len(line) != len(names):
            raise FileError(f"{path} must have {len(names)} fields a row, got {len(line)} in row {number}.")
    return {name: partial(_numbers, [line[i] for line in lines]) for i, name in enumerate(names)}


def _numbers(texts: list[str]) -> list[Any]:
    """Numbers if every text is one as JSON writes it, so that ids such as 007 and 1_0 stay text."""
    try:
        values = [json.loads(text) for text in texts]
        kinds = {type(value) for value in values}
        if kinds == {int}:
            return values
        return [float(value) for value in values] if kinds <= {int, float} else texts
    except (ValueError, OverflowError, RecursionError):
        return texts
