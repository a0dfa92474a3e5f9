"""Embeddings in files, as rows that are read lazily, and columns next to them: scores, labels, ids, texts.

A format (`formats`) is a function from a file to the contents that the file states: arrays with their shapes,
or columns with their names. Choosing among them, checking them and wording the errors is the same for all
formats. No file is trusted: nothing in it is executed, no size that it claims is believed until the file is
seen to be large enough, and whatever a library raises becomes an error of one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from align_uniform._messages import counted
from align_uniform.files import formats
from align_uniform.files.gathered import gathered
from align_uniform.files.held import (
    Array,
    Column,
    File,
    FileError,
    Key,
    Values,
    choose,
    located,
    missing,
    split_key,
    values,
)
from align_uniform.files.places import is_pattern, matching
from align_uniform.files.rows import Rows, Shards, can_be_rows, views

__all__ = [
    "Column",
    "FileError",
    "Key",
    "Rows",
    "Shards",
    "Table",
    "open_columns",
    "open_features",
    "open_rows",
    "open_shards",
    "read_column",
    "read_columns",
    "split_key",
]


ROWS = "rows [N, m] of floating point, int8 or uint8"
"""The arrays that are wanted where features are, in words."""

COLUMN = "a column of text or numbers"
"""The arrays that are wanted where labels, ids or texts are, in words."""


def open_rows(path: str | Path, key: Key = None) -> tuple[Rows, ...]:
    """Open an array [N, m] of a file as rows, or an array [V, N, m] as the rows of each of its V views.

    A slice of the rows reads little more than the rows that it asks for, with three exceptions: the first
    slice of an .npz array reads all of it, a .pt file of torch before 1.6 is read when it is opened, and
    Parquet is read by row groups, of which the last is kept.

    Args:
        path: a file of arrays (`formats.ARRAYS` lists the endings), or FILE::KEY if `key` is None. In Parquet
            a column of lists holds the rows; without one, all columns together do, if they are numbers.
        key: the name of the array or list column; it can be left out if only one can be rows.

    Returns:
        One `Rows` for each view, of float16, bfloat16, float32, float64, int8 or uint8.

    Raises:
        ValueError: the file, the key, the shape or the dtype is not as described, or the file is damaged,
            which a slice may be the first to find.
        OSError: the path cannot be read.

    Example:
        >>> import numpy, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.savez(f"{folder}/views.npz", x=numpy.ones((2, 100, 8)), label=numpy.arange(100))
        ...     first, second = open_rows(f"{folder}/views.npz")
        ...     first[10:20].shape, second.shape
        (torch.Size([10, 8]), (100, 8))
    """
    path, key = located(path, key)
    file, found = formats.opened(path, formats.ARRAYS)
    arrays = gathered(file, found)
    chosen = choose(file, key, arrays, can_be_rows, ROWS)
    return views(file, file.named(chosen), arrays[chosen])


def open_shards(pattern: str | Path, key: Key = None) -> tuple[Shards, ...]:
    """Open all files that match a pattern such as `shards/*.npy` as one set of rows.

    They are taken in natural order: part_2 comes before part_10.

    Args:
        pattern: a path with `*`, `?` or `[0-9]` in any part, or PATTERN::KEY if `key` is None.
        key: the name of the array in every file, as in `open_rows`.

    Returns:
        One `Shards` for each view.

    Raises:
        ValueError: as in `open_rows`; or the files differ in their number of features or views.
        OSError: no file matches, or one cannot be read.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from align_uniform.files import open_shards
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part in range(3):
        ...         np.save(f"{folder}/part_{part}.npy", np.ones((10, 4)))
        ...     (rows,) = open_shards(f"{folder}/part_*.npy")
        ...     rows.shape
        (30, 4)
    """
    place, key = split_key(str(pattern)) if key is None else (Path(pattern), key)
    files = [open_rows(path, key) for path in matching(place)]
    if not files:
        raise missing(f"no file matches {place}", place)
    first = files[0]
    for rows in files:
        if (len(rows), rows[0].shape[1]) != (len(first), first[0].shape[1]):
            raise FileError(
                f"{rows[0].name} must have {counted(len(first), 'view')} of {first[0].shape[1]} features as "
                f"{first[0].name} has, got {len(rows)} of {rows[0].shape[1]}; narrow the pattern."
            )
    return tuple(Shards(str(place), parts) for parts in zip(*files, strict=True))


def open_features(place: str | Path) -> tuple[Rows, ...] | tuple[Shards, ...]:
    """Open the rows of a file, or of all files that match a pattern if no file has that very name.

    Args:
        place: a path or a pattern, as on the command line; ::KEY at its end names an array or a column.

    Returns:
        One source of rows for each view: `open_rows` for a path, `open_shards` for a pattern.

    Raises:
        ValueError: as in `open_rows` and `open_shards`.
        OSError: nothing is there, or it cannot be read.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from align_uniform.files import open_features
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/all.npz", old=np.ones((10, 4)), new=np.zeros((12, 4)))
        ...     (rows,) = open_features(f"{folder}/all.npz::new")
        ...     rows.shape
        (12, 4)
    """
    path, key = split_key(str(place))
    return open_shards(path, key) if is_pattern(path) else open_rows(path, key)


class Table(Mapping[str, Column]):
    r"""The columns of a table by their names, each of which is read and checked when it is first asked for.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from align_uniform.files import open_columns
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.csv")
        ...     _ = path.write_text("sentence1,sentence2,score\na cat,a dog,3\n", encoding="utf-8")
        ...     table = open_columns(path)
        ...     list(table), table["sentence2"]
        (['sentence1', 'sentence2', 'score'], ['a dog'])
    """

    def __init__(self, file: File, columns: Mapping[Key, Values]) -> None:
        self._file, self._columns = file, {str(key): column for key, column in columns.items()}
        self._read: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._read:
            self._read[name] = values(self._file, name, self._columns[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def open_columns(path: str | Path) -> Table:
    r"""Open the columns of text or numbers of a table, of which those are read that are asked for.

    Args:
        path: a table (`formats.TABLES` lists the endings), or a folder that `datasets` has saved.

    Raises:
        ValueError: the file is not a table of at least one column, or its lines differ in their columns; a
            value that is missing is found when its column is read.
        OSError: the path cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from align_uniform.files import open_columns
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.csv")
        ...     _ = path.write_text("x,y,score\n0,1,4.5\n2,3,1\n")
        ...     open_columns(path)["score"]
        [4.5, 1.0]
    """
    path, _ = located(path, key="")
    return Table(*formats.opened(path, formats.TABLES))


def read_columns(path: str | Path) -> dict[str, Column]:
    r"""Read all columns of text or numbers of a table (`formats.TABLES` lists the endings).

    The first line of a .csv or .tsv file names its columns. Their values are numbers if every field is one as
    JSON writes it, so that ids such as 007 and 1_0 stay text. Columns of lists, and of anything else that is
    neither text nor a number, are left out.

    Raises:
        ValueError: the file is not a table of at least one row, its lines differ in their columns, or a value
            is missing.
        OSError: the path cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(f"{folder}/pairs.csv").write_text("text,score\na cat,4.5\na dog,3\n")
        ...     read_columns(f"{folder}/pairs.csv")
        {'text': ['a cat', 'a dog'], 'score': [4.5, 3.0]}
    """
    return dict(open_columns(path))


def read_column(path: str | Path, key: Key = None) -> Column:
    r"""Read a column of a table, a one-dimensional array of a file of arrays, or the lines of a .txt file.

    Args:
        path: a file (`formats.COLUMNS` lists the endings), or FILE::KEY if `key` is None.
        key: the name of the column; it can be left out if there is only one.

    Returns:
        Text or numbers, one for each row.

    Raises:
        ValueError: as in `read_columns`; or the key does not exist, or is None although there are several
            columns.
        OSError: the path cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from align_uniform.files import read_column
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.csv")
        ...     _ = path.write_text("x,y\n0,1\n2,3\n")
        ...     read_column(f"{path}::y")
        [1, 3]
    """
    path, key = located(path, key)
    file, columns = formats.opened(path, formats.COLUMNS)
    chosen = choose(
        file, key, columns, lambda column: not isinstance(column, Array) or len(column.shape) == 1, COLUMN
    )
    return values(file, chosen, columns[chosen])
