"""Readers of Arrow tables: .arrow and .feather files, and folders that `datasets.save_to_disk` wrote.

A table is read in blocks: record batches here, row groups in Parquet. Columns of any of them are opened in
one way.
"""

from __future__ import annotations

import itertools
import json
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from align_uniform._messages import listed, one_line
from align_uniform.files.columns import Columns, Getter
from align_uniform.files.held import Array, File, FileError, Index, Key, Values, check_unpacked

DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""The names by which Arrow calls the dtypes of rows, where they differ from those of numpy and torch."""

STATE, SPLITS = "state.json", "dataset_dict.json"
"""The files in which `datasets` lists the Arrow files of a folder, and the folders of its splits."""


@dataclass(frozen=True)
class Blocks:
    """An Arrow table as its file states it, in blocks of rows."""

    schema: Any
    """The names and types of its columns."""
    counts: tuple[int, ...]
    """The number of rows of each block."""
    parts: Callable[[int, list[str]], Iterable[Any]]
    """Reads some columns of a block, as tables of a part of its rows each."""
    length: Callable[[str], int]
    """Returns the length of the first list of a column of lists; 0 without one."""
    packed: Callable[[int], int]
    """Returns the most bytes that a block can take in the file."""

    @property
    def rows(self) -> int:
        """The number of rows of all blocks."""
        return sum(self.counts)


def arrays(file: File) -> Columns:
    """Open the columns of an Arrow file, which is mapped, as arrays."""
    return columns_of(file, _blocks(file, [file.path]))


def table(file: File) -> dict[Key, Values]:
    """Open the columns of text and of numbers of an Arrow file."""
    return values_of(file, _blocks(file, [file.path]))


def folder_arrays(file: File) -> Columns:
    """Open the columns of a folder of Arrow files as arrays."""
    return columns_of(file, _blocks(file, _files_in(file.path)))


def folder_table(file: File) -> dict[Key, Values]:
    """Open the columns of text and of numbers of a folder of Arrow files."""
    return values_of(file, _blocks(file, _files_in(file.path)))


# -------------------------------------------------------------------------------- columns of any Arrow table


def columns_of(file: File, blocks: Blocks) -> Columns:
    """Open every column as an array, and the features under None if they need no choice."""
    types = {field.name: _stored(field.type) for field in blocks.schema}
    found = {
        name: _lists(file, blocks, name, kind)
        if _is_list(kind)
        else Array((blocks.rows,), _dtype(kind), _reader(file, blocks, [name], _side_by_side))
        for name, kind in types.items()
    }

    def side_by_side(names: list[str], dtype: str) -> Getter:
        return _reader(file, blocks, names, partial(_side_by_side, dtype=dtype))

    return Columns(file, found, blocks.rows, side_by_side, _index(blocks.schema))


def values_of(file: File, blocks: Blocks) -> dict[Key, Values]:
    """Open the columns of text and of numbers."""
    from pyarrow import types

    is_read = (_is_number, types.is_string, types.is_large_string, types.is_boolean, types.is_dictionary)
    return {
        field.name: partial(_values, file, blocks, field.name)
        for field in blocks.schema
        if any(check(field.type) for check in is_read)
    }


def _lists(file: File, blocks: Blocks, name: str, kind: Any) -> Array:
    """A column of lists as rows. Reading them finds out whether all lists are as long as the first."""
    features = blocks.length(name)
    stack = partial(_stacked, features=features)
    return Array((blocks.rows, features), _dtype(kind.value_type), _reader(file, blocks, [name], stack))


def _reader(file: File, blocks: Blocks, names: list[str], matrix: Callable[[File, Any], Any]) -> Getter:
    """A function that reads the blocks of a slice, and keeps the last, in which the next slice begins."""
    import numpy as np

    spans = list(enumerate(itertools.pairwise(itertools.accumulate(blocks.counts, initial=0))))

    @lru_cache(maxsize=1)
    def block(number: int) -> Any:
        found, read, packed = [], 0, blocks.packed(number)
        for part in blocks.parts(number, names):
            found.append(matrix(file, part))
            read += part.num_rows
            unpacked = sum(each.nbytes for each in found) * blocks.counts[number] // max(read, 1)
            check_unpacked(f"{file.named(names[0])}, rows {spans[number][1][0]} and on,", unpacked, packed)
        return np.concatenate(found)

    def get(index: Index) -> Any:
        (part,) = index
        assert isinstance(part, slice)
        first, last, _ = part.indices(blocks.rows)
        touched = [(number, start) for number, (start, end) in spans if start < last and first < end]
        return np.concatenate(
            [block(number)[max(first - start, 0) : last - start] for number, start in touched]
        )

    return get


def _stacked(file: File, table: Any, features: int) -> Any:
    """The lists of the only column as the rows of a matrix."""
    import numpy as np

    chunks = [_plain(chunk) for chunk in table.column(0).chunks]
    lengths = {length for chunk in chunks for length in chunk.value_lengths().unique().to_pylist()}
    values = [chunk.flatten() for chunk in chunks]
    if lengths - {features} or any(chunk.null_count for chunk in (*chunks, *values)):
        raise FileError(
            f"{file.named(table.column_names[0])} must be lists of {features} numbers, as the first is, got "
            "nulls or lists of other lengths; leave those rows out."
        )
    return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in values]).reshape(-1, features)


def _side_by_side(file: File, table: Any, dtype: str | None = None) -> Any:
    """The columns of numbers as the columns of a matrix, or a single column as it is."""
    import numpy as np

    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise FileError(
                f"{file.named(name)} must have a number in each row, got {column.null_count} nulls; leave "
                "those rows out."
            )
    if dtype is None:
        return table.column(0).to_numpy()
    return np.stack([column.to_numpy() for column in table.columns], axis=1).astype(dtype, copy=False)


def _values(file: File, blocks: Blocks, name: str) -> list[Any]:
    found: list[Any] = []
    for number in range(len(blocks.counts)):
        unpacked, packed = 0, blocks.packed(number)
        for part in blocks.parts(number, [name]):
            unpacked += part.nbytes + 8 * part.num_rows
            check_unpacked(file.named(name), unpacked, packed)
            found += part.column(0).to_pylist()
    if len(found) != blocks.rows:
        raise FileError(
            f"{file.named(name)} is damaged: it must have {blocks.rows} values, got {len(found)}."
        )
    return found


def length_of_first(column: Any) -> int:
    """Return the length of the first list of a column that has rows; 0 if it is null."""
    column = _plain(column)
    column.validate(full=True)
    return column[:1].value_lengths()[0].as_py() or 0


def _index(schema: Any) -> set[str]:
    """Return the columns that are the index of a DataFrame, as pandas states in the metadata of the table."""
    try:
        stated = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        return {name for name in stated if isinstance(name, str)}
    except (KeyError, TypeError, ValueError, RecursionError):
        return set()


def _stored(kind: Any) -> Any:
    """Return the type in which the values of a type are stored."""
    import pyarrow as pa

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _plain(chunk: Any) -> Any:
    import pyarrow as pa

    return chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk


def _dtype(kind: Any) -> str:
    return DTYPES.get(str(kind), str(kind))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind))


# --------------------------------------------------------------------------------------------- files of Arrow


def _blocks(file: File, paths: list[Path]) -> Blocks:
    """Map Arrow files, whose record batches are blocks. All have the columns of the first."""
    import pyarrow as pa

    mapped = [(path, batch) for path in paths for batch in _batches(path)]
    schemas = {path: _schema(path) for path in paths}
    schema = schemas[paths[0]]
    for path, other in schemas.items():
        if other != schema:
            raise FileError(
                f"{path} must have the columns of {paths[0]}, {listed(schema.names)}, got "
                f"{listed(other.names)}; save the data set again."
            )

    def parts(number: int, names: list[str]) -> Iterator[Any]:
        batch = mapped[number][1].select(names)
        batch.validate(full=True)  # it is no more than what the file claims about its bytes
        yield pa.Table.from_batches([batch])

    def length(name: str) -> int:
        batch = next((batch for _, batch in mapped if batch.num_rows), None)
        return 0 if batch is None else length_of_first(batch.column(name))

    return Blocks(
        schema=schema,
        counts=tuple(batch.num_rows for _, batch in mapped),
        parts=parts,
        length=length,
        packed=lambda number: mapped[number][0].stat().st_size,
    )


def _opened(path: Path) -> Any:
    """Return a reader of a file in either of the two formats of Arrow."""
    import pyarrow as pa

    mapped = pa.memory_map(str(path))
    is_file = mapped.read(6) == b"ARROW1"
    mapped.seek(0)
    return pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)


def _schema(path: Path) -> Any:
    return _opened(path).schema


def _batches(path: Path) -> Iterator[Any]:
    """Yield the record batches, which are mapped, or unpacked if they are compressed."""
    opened = _opened(path)
    numbers = range(opened.num_record_batches) if hasattr(opened, "num_record_batches") else None
    unpacked, packed = 0, path.stat().st_size
    for batch in opened if numbers is None else map(opened.get_batch, numbers):
        unpacked += batch.nbytes
        check_unpacked(str(path), unpacked, packed)
        yield batch


def check_folder(folder: Path, endings: Collection[str]) -> None:
    """Refuse a folder that is not one of `datasets`, and name a pattern for the files of these endings in it.

    Raises:
        IsADirectoryError: `datasets` did not write it.
    """
    if any((folder / name).is_file() for name in (STATE, SPLITS)):
        return
    found = Counter(path.suffix for path in folder.iterdir() if path.suffix.lower() in endings)
    remedy = "give a file"
    if found:
        remedy = (
            f"name the files in it by a pattern: {shlex.quote(f'{folder}/*{found.most_common(1)[0][0]}')}"
        )
    raise IsADirectoryError(
        one_line(f"{folder} is a directory, and none that datasets.save_to_disk wrote; {remedy}.")
    )


def _files_in(folder: Path) -> list[Path]:
    """Return the Arrow files of a folder, in the order of their rows.

    Raises:
        FileError: the folder has splits, of which one must be named, or its files are elsewhere.
    """
    if (folder / SPLITS).is_file():
        splits = json.loads((folder / SPLITS).read_text(encoding="utf-8"))["splits"]
        raise FileError(
            f"{folder} has the splits {listed(splits)}; name one of them, as in {folder / splits[0]}."
        )
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    names = [str(each["filename"]) for each in state["_data_files"]]
    if strange := [name for name in names if Path(name).name != name]:
        raise FileError(
            f"{folder / STATE} must list files of this folder, got {listed(strange)}; save the data set "
            "again."
        )
    if not names or state.get("_indices_data_files"):
        raise FileError(f"{folder} must list its Arrow files in {STATE}; save the data set again.")
    return [folder / name for name in names]
