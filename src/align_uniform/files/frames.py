"""DataFrames of pandas and polars, and tables of pyarrow, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_uniform._messages import counted, listed
from align_uniform.files.columns import Columns, Getter
from align_uniform.files.held import Array, File, FileError, Index, choose
from align_uniform.files.rows import Rows, can_be_rows, views


@dataclass(frozen=True)
class _Frame(File):
    """A table in memory, in the words of messages about it."""

    is_pandas: bool = False
    is_arrow: bool = False

    def keyed(self, key: str) -> str:
        """Return what is typed to choose a column, or the columns that match a pattern."""
        if key == "*":
            return f"np.asarray({self.path}, dtype=float)"
        if key.endswith("*"):
            names, chosen = ("column_names", ".select({})") if self.is_arrow else ("columns", "[{}]")
            matching = f"[name for name in {self.path}.{names} if fnmatch.fnmatch(name, {key!r})]"
            return f"{self.path}{chosen.format(matching)}"
        return f"{self.path}[{key!r}]"

    def without(self, columns: Sequence[str]) -> str:
        """Return what to do to leave columns out, in words."""
        if len(columns) > 5:
            return f"leave out {listed(columns)}"
        call = "drop_columns" if self.is_arrow else "drop"
        return f"leave them out: {self.path}.{call}({'columns=' * self.is_pandas}{[*columns]})"


def is_frame(value: Any) -> bool:
    """Whether a value is a table of named columns, as pandas, polars and pyarrow have them."""
    return hasattr(value, "column_names") or (hasattr(value, "to_numpy") and hasattr(value, "columns"))


def open_frame(name: str, frame: Any) -> tuple[Rows, ...]:
    """Return the rows of a DataFrame: a column of lists, or all columns side by side, if they are numbers.

    Args:
        name: the name of the argument in messages.
        frame: the DataFrame, or the table of pyarrow.

    Raises:
        ValueError: a column is no feature, a column of lists must be chosen, or lists differ in length.
    """
    import numpy as np

    file = _Frame(
        Path(name), "a DataFrame of numbers", hasattr(frame, "iloc"), hasattr(frame, "column_names")
    )
    found: dict[str, Array] = {}
    for key, column in _columns(frame):
        if key in found:
            raise FileError(f"{name} must name each column once, got two of the name {key}; rename one.")
        found[key] = _array(file, key, column)

    def side_by_side(names: list[str], dtype: str) -> Getter:
        def get(part: Index) -> Any:
            return np.stack([found[key].get(part) for key in names], axis=1).astype(dtype, copy=False)

        return get

    columns = Columns(file, found, len(frame), side_by_side)
    chosen = choose(file, None, columns, can_be_rows, "columns of fractions, or of lists of numbers")
    return views(file, name if chosen is None else file.named(chosen), columns[chosen])


def _columns(frame: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns with their names, which may come twice."""
    if hasattr(frame, "iloc"):
        yield from ((str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns))
    elif hasattr(frame, "column_names"):
        yield from zip(frame.column_names, frame.columns, strict=True)
    else:
        yield from zip(frame.columns, frame.get_columns(), strict=True)


def _array(file: File, name: str, column: Any) -> Array:
    """Return a column as an array: of numbers, of lists of numbers, or of anything else."""
    import numpy as np

    values = _values(column)
    if values.dtype == object and len(values) and isinstance(values[0], list | tuple | np.ndarray):
        rows = [np.asarray(row, dtype=None if isinstance(row, np.ndarray) else np.float64) for row in values]
        if odd := [number for number, row in enumerate(rows) if row.shape != rows[0].shape or row.ndim != 1]:
            raise FileError(
                f"{file.named(name)} must be lists of {counted(len(rows[0]), 'number')}, as the first is, "
                f"got another length in row {odd[0]}; leave that row out."
            )
        values = np.stack(rows)
    return Array(values.shape, values.dtype.name, values.__getitem__)


def _values(column: Any) -> Any:
    """Return the values of a column as an array; missing numbers are NaN."""
    import numpy as np

    is_nullable = hasattr(column, "iloc") and getattr(column.dtype, "_is_numeric", False)
    return np.asarray(
        column.to_numpy(dtype=float, na_value=np.nan) if is_nullable and column.hasnans else column.to_numpy()
    )
