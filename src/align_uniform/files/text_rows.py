"""Readers of rows in text: columns of lists or of numbers in .csv, .tsv and .jsonl. They are read whole."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from align_uniform._messages import counted
from align_uniform.files import tables
from align_uniform.files.columns import Columns, Getter
from align_uniform.files.held import Array, File, FileError, Index, Key, Values, unread


def csv(file: File) -> Columns:
    """Read the columns of a table of fields separated by commas."""
    return _columns_of_text(file, tables.csv(file))


def tsv(file: File) -> Columns:
    """Read the columns of a table of fields separated by tabs."""
    return _columns_of_text(file, tables.tsv(file))


def jsonl(file: File) -> Columns:
    """Read the columns of a table of one JSON object a line."""
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(tables.objects(file)):
        for name, value in row.items():
            is_list = isinstance(value, list)
            columns.setdefault(name, []).append(_vector(file, name, number, value) if is_list else value)
    return _columns(file, columns)


def _columns_of_text(file: File, table: Mapping[Key, Values]) -> Columns:
    _check_names(file, [str(name) for name in table])
    columns: dict[str, list[Any]] = {}
    for name, column in table.items():
        values = column()
        if values and isinstance(values[0], str) and values[0].startswith("["):
            values = [_vector(file, str(name), number, text) for number, text in enumerate(values)]
        columns[str(name)] = values
    return _columns(file, columns)


def _check_names(file: File, names: Sequence[str]) -> None:
    """Refuse a first line of fractions, which is a row: it would be lost without a word.

    Whole numbers may be names, as pandas numbers the columns of an array.
    """
    numbers = tables.numbers([*names]) if names else []
    if numbers and all(isinstance(number, float) for number in numbers):
        command = f'sed -i "1i $(seq -s{_delimiter(file)} {len(names)})" {shlex.quote(str(file.path))}'
        raise FileError(
            f"{file.path} must name its columns in the first line, got numbers; put "
            f"names above them: {command}"
        )


def _delimiter(file: File) -> str:
    return "," if file.path.suffix.lower() == ".csv" else "'\\t'"


def _columns(file: File, columns: Mapping[str, list[Any]]) -> Columns:
    """Return the columns as arrays in memory. A column without a name is the index that pandas wrote."""
    import numpy as np

    found = {name: _array(file, name, values) for name, values in columns.items()}
    index = {""} if len(columns) > 1 else ()

    def side_by_side(names: list[str], dtype: str) -> Getter:
        def get(part: Index) -> Any:
            return np.stack([found[name].get(part) for name in names], axis=1).astype(dtype, copy=False)

        return get

    count = max((array.shape[0] for array in found.values()), default=0)
    return Columns(file, found, count, side_by_side, index)


def _array(file: File, name: str, values: Sequence[Any]) -> Array:
    import numpy as np

    if values and isinstance(values[0], np.ndarray):
        return _matrix(file, name, values)
    strange = [(number, value) for number, value in enumerate(values) if not _is_number(value)]
    if strange:
        number, value = strange[0]
        few = f"has {str(value)[:20]!r} in row {number}" if 2 * len(strange) < len(values) else ""
        return Array((len(values),), f"with {str(value)[:20]!r}", unread, problem=few)
    numbers = np.array(values)
    if numbers.dtype.name not in ("int64", "float64"):  # whole numbers beyond 64 bits
        numbers = np.array([float(value) for value in values])
    return Array(numbers.shape, numbers.dtype.name, numbers.__getitem__)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value) and not isinstance(tables.numbers([value])[0], str)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _matrix(file: File, name: str, rows: Sequence[Any]) -> Array:
    """Return lists of numbers of one length as rows."""
    import numpy as np

    for number, row in enumerate(rows):
        if not isinstance(row, np.ndarray) or row.shape != rows[0].shape:
            got = counted(len(row), "number") if isinstance(row, np.ndarray) else repr(row)[:20]
            raise FileError(
                f"{file.named(name)} must be lists of {counted(len(rows[0]), 'number')}, as the first is, "
                f"got {got} in row {number}; leave that row out."
            )
    matrix = np.stack([*rows])
    return Array(matrix.shape, "float64", matrix.__getitem__)


def _vector(file: File, name: str, number: int, value: Any) -> Any:
    """Return a list of numbers, or the text of one as JSON or numpy writes it, as an array."""
    import numpy as np

    try:
        if isinstance(value, str):
            is_of_numpy = value.startswith("[") and value.endswith("]") and "," not in value
            value = value[1:-1].split() if is_of_numpy else json.loads(value)
        vector = np.array(value, dtype=np.float64)
        if vector.ndim == 1:
            return vector
        got = f"shape {list(vector.shape)}"
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        got = str(error)
    raise FileError(
        f"{file.named(name)} must be lists of numbers, got {got[:80]} in row {number}; leave that row out."
    )
