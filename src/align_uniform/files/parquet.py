"""Readers of Parquet: a column of lists, or all columns of numbers together, as rows; and single columns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from align_uniform.files.held import Array, File, FileError, Index, Key, Values

DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""The names by which Arrow calls the dtypes of rows, where they differ from those of numpy and torch."""


def arrays(file: File) -> dict[Key, Array]:
    """Open every column as an array, and under None the whole table if all its columns are numbers.

    A slice reads the row groups that it touches; the last one is kept. Columns that cannot be rows are opened
    too, so that a key that names one gets a better error than a key that does not exist.
    """
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file.path, buffer_size=2**20)  # so that a first row costs no more
    types = {field.name: field.type for field in opened.schema_arrow}
    read = _row_groups(opened, list(types), partial(_side_by_side, file))
    count = opened.metadata.num_rows
    columns: dict[Key, Array] = {name: Array((count,), _dtype(kind), read) for name, kind in types.items()}
    lists = {name: _list_column(file, opened, name, kind) for name, kind in types.items() if _is_list(kind)}
    if types and all(_is_number(kind) for kind in types.values()):
        dtype = " and ".join(sorted({_dtype(kind) for kind in types.values()}))
        columns[None] = Array((count, len(types)), dtype, read)
    return columns | lists


def table(file: File) -> dict[Key, Values]:
    """Open the columns of text and of numbers."""
    import pyarrow.parquet as pq
    from pyarrow import types

    opened = pq.ParquetFile(file.path)
    is_read = (_is_number, types.is_string, types.is_large_string, types.is_boolean, types.is_dictionary)
    return {
        field.name: partial(_values, opened, field.name)
        for field in opened.schema_arrow
        if any(check(field.type) for check in is_read)
    }


def _list_column(file: File, opened: Any, name: str, kind: Any) -> Array:
    """A column of lists as rows. Reading them finds out whether all lists are as long as the first."""
    # The counts of values in the footer would show it now, but Arrow ends the process where a damaged footer
    # has none.
    batches = opened.iter_batches(1, columns=[name])
    first = next((row.column(name).to_pylist()[0] for row in batches), None) or []
    read = _row_groups(opened, [name], partial(_stacked, file.named(name), len(first)))
    return Array((opened.metadata.num_rows, len(first)), _dtype(kind.value_type), read)


def _row_groups(opened: Any, columns: list[str], matrix: Callable[[Any], Any]) -> Callable[[Index], Any]:
    """A function that reads the row groups of a slice, and keeps the last, in which the next slice begins."""
    import numpy as np

    counts = (opened.metadata.row_group(g).num_rows for g in range(opened.num_row_groups))
    spans = list(enumerate(itertools.pairwise(itertools.accumulate(counts, initial=0))))

    @lru_cache(maxsize=1)
    def group(g: int) -> Any:
        return matrix(opened.read_row_group(g, columns).select(columns))

    def get(index: Index) -> Any:
        (part,) = index
        assert isinstance(part, slice)
        touched = [(g, start) for g, (start, end) in spans if start < part.stop and part.start < end]
        pieces = [group(g)[max(part.start - start, 0) : part.stop - start] for g, start in touched]
        return np.concatenate(pieces)

    return get


def _stacked(name: str, features: int, table: Any) -> Any:
    """The lists of the only column as the rows of a matrix."""
    import numpy as np

    chunks = table.column(0).chunks
    lengths = {length for chunk in chunks for length in chunk.value_lengths().unique().to_pylist()}
    values = [chunk.flatten() for chunk in chunks]
    if lengths - {features} or any(chunk.null_count for chunk in (*chunks, *values)):
        raise FileError(
            f"{name} must be lists of {features} numbers, as the first is, got nulls or lists of other "
            "lengths."
        )
    return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in values]).reshape(-1, features)


def _side_by_side(file: File, table: Any) -> Any:
    """The columns of numbers as the columns of a matrix."""
    import numpy as np

    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise FileError(
                f"{file.named(name)} must have a number in each row, got {column.null_count} nulls."
            )
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def _values(opened: Any, name: str) -> list[Any]:
    values: list[Any] = opened.read([name]).column(name).to_pylist()
    return values


def _dtype(kind: Any) -> str:
    return DTYPES.get(str(kind), str(kind))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind))
