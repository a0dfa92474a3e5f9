"""Embedding files as lazily read rows, and the columns beside them: scores, labels, ids, texts.

A format is a function from a path to what the file says it holds: arrays with their shapes, or columns with
their names. All choosing, checking and wording happens here once, for every format. A file is a stranger:
nothing in it is executed, no size that it claims is believed before the file is seen to be large enough, and
whatever a library raises becomes one line.
"""

from __future__ import annotations

import csv
import difflib
import functools
import itertools
import json
import math
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

Key = str | None
"""Names an array or a column in its file; None is the only one there is, as in .npy and .txt."""

Column = list[str | int | float]
Index = tuple[int | slice, ...]
T = TypeVar("T")

DTYPES = {
    **dict.fromkeys(["float16", "F16", "halffloat"], torch.float16),
    **dict.fromkeys(["bfloat16", "BF16"], torch.bfloat16),
    **dict.fromkeys(["float32", "F32", "float"], torch.float32),
    **dict.fromkeys(["float64", "F64", "double"], torch.float64),
    **dict.fromkeys(["int8", "I8"], torch.int8),
}
"""What rows may be made of, as numpy and torch, safetensors, and arrow spell it."""

DEFLATE_RATIO = 1032
"""No deflated byte stands for more bytes than this: a shape that claims more is damaged, or a trap."""

LISTED_KEYS = 20
"""A message lists no more keys than this."""


class FileError(ValueError):
    """A file is not as it should be, in one line whatever names and reasons it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


@dataclass(frozen=True)
class _Array:
    """What a file says of an array, and how to get a part of it, as an array of numpy or torch."""

    shape: tuple[int, ...]
    dtype: str
    get: Callable[[Index], Any] = field(repr=False)
    nbytes: int = 0
    """that the shape claims"""
    capacity: int = 0
    """the most bytes that the file can hold of it"""

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}"


@dataclass(frozen=True)
class Rows:
    """The rows of one array in one file, read when they are asked for: `rows[start:stop]` is a new [b, m]
    tensor.
    """

    name: str
    """for messages: "file.npz (key 'x')\""""
    path: Path
    array: _Array
    view: tuple[int, ...]
    """(v,) for view v of a [V, N, m] array, () for an [N, m] array"""

    @property
    def shape(self) -> tuple[int, int]:
        """N and m, both at least 1."""
        rows, features = self.array.shape[-2:]
        return rows, features

    @property
    def dtype(self) -> torch.dtype:
        """As in the file."""
        return DTYPES[self.array.dtype]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Tensor:
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise ValueError(f"{self.name} is read by slices of step 1, as in rows[0:100], got {part!r}.")
        start, stop, _ = part.indices(len(self))
        shape = (max(stop - start, 0), self.shape[1])
        if shape[0] == 0:
            return torch.empty(shape, dtype=self.dtype)
        with _reading(self.path, self.name):
            rows = _tensor(self.array.get((*self.view, slice(start, stop))))
        if rows.shape != shape or rows.dtype != self.dtype:
            raise FileError(
                f"{self.name} is damaged: rows {start} to {stop} must be {list(shape)} of {self.dtype}, "
                f"got {list(rows.shape)} of {rows.dtype}."
            )
        return rows


def _tensor(part: Any) -> Tensor:
    """A copy that neither keeps a mapped file in memory, nor is read-only, nor has another machine's order of
    bytes.
    """
    if isinstance(part, Tensor):
        return part.detach().clone(memory_format=torch.contiguous_format)
    return torch.from_numpy(_library("numpy").array(part, dtype=part.dtype.newbyteorder("="), order="C"))


def split_key(text: str) -> tuple[Path, Key]:
    """Split "file.npz::x" into the path and the key; the key of HDF5 holds slashes, hence the colons.

    Example:
        >>> split_key("runs.h5::epoch3/x")[1]
        'epoch3/x'
    """
    path, _, key = text.partition("::")
    return Path(path), key or None


@dataclass(frozen=True)
class Shards:
    """The rows of several files on end, as if they were of one."""

    name: str
    parts: tuple[Rows, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """N of all files, and m."""
        return sum(map(len, self.parts)), self.parts[0].shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """One that holds the numbers of all files."""
        return functools.reduce(torch.promote_types, (part.dtype for part in self.parts))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(len(self))
        found = [self.parts[0][0:0].to(self.dtype)]
        for rows in self.parts:
            if start < len(rows) and stop > 0:
                found.append(rows[max(start, 0) : min(stop, len(rows))].to(self.dtype))
            start, stop = start - len(rows), stop - len(rows)
        return torch.cat(found)


def open_rows(path: str | Path, key: Key = None) -> tuple[Rows, ...]:
    """Open an array of a file as rows: one `Rows` for [N, m], V of them, one per view, for [V, N, m].

    Args:
        path: .npy, .npz, .pt, .pth, .safetensors, .h5, .hdf5 or .parquet, "::key" behind it unless `key` is
            given. In Parquet a list column holds the rows; without one, the numeric columns are the features.
        key: which array, or list column; unnecessary if only one can be rows.

    Returns:
        Rows of float16, bfloat16, float32, float64 or int8. Only what a slice asks for is read, with three
        exceptions: an array of .npz is read whole by the first slice, a .pt of torch before 1.6 on opening,
        and Parquet by row groups, of which the last is kept.

    Raises:
        ValueError: the file, the key, the shape or the dtype is not as above, or the file is damaged; a slice
            can find that too.
        OSError: the path cannot be read.

    Example:
        >>> import numpy, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.savez(f"{folder}/views.npz", x=numpy.ones((2, 100, 8)), label=numpy.arange(100))
        ...     first, second = open_rows(f"{folder}/views.npz")
        ...     first[10:20].shape, second.shape
        (torch.Size([10, 8]), (100, 8))
    """
    path, key = _located(path, key)
    arrays = _held(ARRAYS, path)
    chosen = _choose(
        path, key, arrays, fits=lambda array: len(array.shape) in (2, 3) and array.dtype in DTYPES
    )
    name, array = _named(path, chosen), arrays[chosen]
    _check_rows(name, array)
    if len(array.shape) == 2:
        return (Rows(name, path, array, ()),)
    return tuple(Rows(f"{name}, view {v}", path, array, (v,)) for v in range(array.shape[0]))


def open_shards(pattern: str | Path, key: Key = None) -> tuple[Shards, ...]:
    """Open all files that match a pattern, in order of their names, as the rows of one: `shards/*.npy`.

    Args:
        pattern: stars and question marks in the last part of a path, "::key" behind it unless `key` is given.
        key: as in `open_rows`, of every file.

    Raises:
        ValueError: as `open_rows`; or files differ in their features or their number of views.
        OSError: no file matches, or one cannot be read.
    """
    place, key = split_key(str(pattern)) if key is None else (Path(pattern), key)
    files = [open_rows(path, key) for path in sorted(place.parent.glob(place.name))]
    if not files:
        raise FileNotFoundError(_one_line(f"no file matches {place}; {_near(place)}."))
    first = files[0]
    for views in files:
        if (len(views), views[0].shape[1]) != (len(first), first[0].shape[1]):
            raise FileError(
                f"{views[0].name} must have {len(first)} views of {first[0].shape[1]} features as "
                f"{first[0].name} has, got {len(views)} of {views[0].shape[1]}."
            )
    return tuple(Shards(str(place), parts) for parts in zip(*files, strict=True))


def read_columns(path: str | Path) -> dict[str, Column]:
    r"""Read every column of text or numbers of a .csv, .tsv, .jsonl or .parquet file.

    Columns of .csv and .tsv are named by the first line, and are numbers if every field is one as JSON writes
    it: ids such as 007 and 1_0 stay text. Columns of lists, or of what else is neither text nor number, are
    left out.

    Raises:
        ValueError: the file is not a table of at least one row, lines differ in their columns, or a value is
            missing.
        OSError: the path cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(f"{folder}/pairs.csv").write_text("text,score\na cat,4.5\na dog,3\n")
        ...     read_columns(f"{folder}/pairs.csv")
        {'text': ['a cat', 'a dog'], 'score': [4.5, 3.0]}
    """
    path, _ = _located(path, key="")
    columns = _held(TABLES, path)
    return {str(key): _values(path, key, column) for key, column in columns.items()}


def read_column(path: str | Path, key: Key = None) -> Column:
    """Read one column: of a table as in `read_columns`, a 1-D array of any file of arrays, or the lines of a
    .txt file.

    Args:
        path: the file, "::key" behind it unless `key` is given.
        key: which column; unnecessary if there is only one.

    Raises:
        ValueError: as in `read_columns`; or there are several columns and no key, or no such key.
        OSError: the path cannot be read.
    """
    path, key = _located(path, key)
    columns = _held(COLUMNS, path)
    chosen = _choose(
        path, key, columns, fits=lambda column: not isinstance(column, _Array) or len(column.shape) == 1
    )
    return _values(path, chosen, columns[chosen])


# Finding the file, and what to read in it.


def _located(path: str | Path, key: Key) -> tuple[Path, Key]:
    """The path, seen to be readable, and the key, from behind the path if it is not given."""
    path, key = split_key(str(path)) if key is None else (Path(path), key)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise FileNotFoundError(_one_line(f"{path} does not exist; {_near(path)}.")) from None
    except OSError as error:
        raise type(error)(
            _one_line(f"{path} cannot be read: {error.strerror}; a readable file is expected.")
        ) from None
    return path, key


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    names = sorted(entry.name for entry in path.parent.iterdir())
    near = [name for name in names if Path(name).stem == path.stem] or difflib.get_close_matches(
        path.name, names
    )
    return f"near it there is {', '.join(near)}" if near else f"nothing in {path.parent} has a name like it"


def _held(readers: Mapping[str, Callable[[Path], Mapping[Key, T]]], path: Path) -> Mapping[Key, T]:
    """What a file says it holds, found by the reader of its ending."""
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise FileError(
            f"{path} must end in one of {', '.join(readers)}, got {suffix!r}; the ending says how to read it."
        )
    with _reading(path), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of what libraries warn of, either the checks below or the readers make an error
        held = readers[suffix](path)
    if not held:
        raise FileError(f"{path} must be {HOLDS[suffix]}, got an empty one.")
    return held


def _choose(path: Path, key: Key, held: Mapping[Key, T], fits: Callable[[T], bool]) -> Key:
    """The key that was asked for, or else the only one that fits."""
    if key in held:
        return key
    if key is not None and key.strip("/") in held:  # HDF5 writes /a/b as well as a/b
        return key.strip("/")
    named = [
        f"{name} {value}" if isinstance(value, _Array) else str(name)
        for name, value in held.items()
        if name is not None
    ]
    listing = ", ".join([*named[:LISTED_KEYS], *["..."] * (len(named) > LISTED_KEYS)])
    if key is not None:
        raise FileError(
            f"{path} has no key {key!r}; "
            + (f"it has {listing}." if named else "leave the key out: it has none.")
        )
    fitting = list(held) if len(held) == 1 else [name for name, value in held.items() if fits(value)]
    if len(fitting) != 1:
        raise FileError(
            f"{path} holds {listing}; say which one to read, as in {path.name}::{(fitting or list(held))[0]}."
        )
    return fitting[0]


def _named(path: Path, key: Key) -> str:
    return str(path) if key is None else f"{path} (key {key!r})"


# Checking what the file says.


def _check_rows(name: str, array: _Array) -> None:
    if len(array.shape) not in (2, 3):
        raise FileError(
            f"{name} must be rows [N, m], or views of them [V, N, m], got shape {list(array.shape)}."
        )
    if 0 in array.shape:
        raise FileError(f"{name} must have at least one row and one feature, got shape {list(array.shape)}.")
    if array.dtype not in DTYPES:
        raise FileError(
            f"{name} must be of float16, bfloat16, float32, float64 or int8, got {array.dtype}; convert it "
            "before saving."
        )
    _check_claim(name, array)


def _check_claim(name: str, array: _Array) -> None:
    """Refuse to allocate what the file cannot fill."""
    if array.nbytes > array.capacity:
        raise FileError(
            f"{name} is damaged or was never filled: its shape {list(array.shape)} of {array.dtype} takes "
            f"{array.nbytes} bytes, and the file holds at most {array.capacity} of them; save a contiguous "
            "array."
        )


def _values(path: Path, key: Key, column: _Array | Callable[[], list[Any]]) -> Column:
    """Text or numbers, one for each item."""
    name = _named(path, key)
    if isinstance(column, _Array):
        if len(column.shape) != 1:
            raise FileError(f"{name} must be a column [N], got shape {list(column.shape)}.")
        _check_claim(name, column)
        column = partial(_array_values, column)
    with _reading(path, name):
        values = column()
    if not values:
        raise FileError(f"{name} must have at least one item, got none.")
    for i, value in enumerate(values):
        if not isinstance(value, (str, int, float)):
            raise FileError(
                f"{name} must hold text or numbers, got {textwrap.shorten(repr(value), 40)} at item {i}."
            )
    return values


def _array_values(array: _Array) -> list[Any]:
    """HDF5 and old numpy keep text as bytes."""
    return [
        value.decode() if isinstance(value, bytes) else value for value in array.get((slice(None),)).tolist()
    ]


@contextmanager
def _reading(path: Path, name: str = "") -> Iterator[None]:
    """Turn whatever a library raises about a file into one line that says what the file should have been."""
    try:
        yield
    except (FileError, MemoryError):
        raise
    except Exception as error:
        sentence = _one_line(f"{type(error).__name__}: {error}").partition(". ")[
            0
        ]  # torch goes on with advice to trust the file
        reason = textwrap.shorten(sentence, 160, placeholder=" ...").rstrip(".: ")
        raise FileError(
            f"{name or path} is damaged or is not {HOLDS[path.suffix.lower()]} ({reason})."
        ) from error


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise FileError(
            f"{name} is missing, which reads this file; run: pip install 'align-uniform[files]' ({error})"
        ) from None


# Files of arrays.


def _npy(path: Path) -> dict[Key, _Array]:
    # numpy.load would also open a zip or a pickle of that name.
    array = _library("numpy").lib.format.open_memmap(path, mode="r")
    return {None: _Array(array.shape, array.dtype.name, array.__getitem__, array.nbytes, path.stat().st_size)}


def _npz(path: Path) -> dict[Key, _Array]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        return {
            member.filename.removesuffix(".npy"): _npz_member(path, archive, member) for member in members
        }


def _npz_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Array:
    """Read the header now, and the array when it is first asked for: numpy does not map what is in a zip."""
    npy = _library("numpy").lib.format
    with archive.open(member) as file:
        header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(file)

    @cache
    def load() -> Any:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)

    packed = member.compress_size * (1 if member.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO)
    capacity = min(packed, member.file_size, path.stat().st_size * DEFLATE_RATIO)
    return _Array(shape, dtype.name, lambda index: load()[index], math.prod(shape) * dtype.itemsize, capacity)


def _pt(path: Path) -> dict[Key, _Array]:
    # Only zip archives, which torch writes since 1.6, can be mapped.
    held = torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
    tensors = held if isinstance(held, dict) else {None: held}
    size = path.stat().st_size
    return {
        None if key is None else str(key): _Array(
            tuple(x.shape), _kind(x), x.__getitem__, x.numel() * x.element_size(), size
        )
        for key, x in tensors.items()
        if isinstance(x, Tensor)
    }


def _kind(x: Tensor) -> str:
    """The dtype, of a tensor that has its numbers in memory one after another."""
    kind = str(x.dtype).removeprefix("torch.")
    return (
        kind if x.layout is torch.strided and x.device.type == "cpu" else f"{x.layout} {kind} on {x.device}"
    )


def _safetensors(path: Path) -> dict[Key, _Array]:
    file = _library("safetensors").safe_open(
        path, framework="pt"
    )  # which checks every shape against the file
    slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118  # it is no dict
    return {key: _Array(tuple(x.get_shape()), x.get_dtype(), x.__getitem__) for key, x in slices.items()}


def _hdf5(path: Path) -> dict[Key, _Array]:
    h5py = _library("h5py")
    file = h5py.File(path, "r")
    datasets: dict[Key, Any] = {}
    # It visits neither soft nor external links: a file leads to no other file.
    file.visititems(lambda key, held: datasets.update({key: held} if isinstance(held, h5py.Dataset) else {}))
    return {key: _hdf5_array(dataset) for key, dataset in datasets.items()}


def _hdf5_array(dataset: Any) -> _Array:
    shape, dtype = dataset.shape or (), dataset.dtype
    capacity = dataset.id.get_storage_size() * (
        DEFLATE_RATIO if dataset.id.get_create_plist().get_nfilters() else 1
    )
    return _Array(shape, dtype.name, dataset.__getitem__, math.prod(shape) * dtype.itemsize, capacity)


def _parquet(path: Path) -> dict[Key, _Array]:
    """Every column, so that a wrong one is told apart from none; and the table under None if that is rows."""
    file = _library("pyarrow.parquet").ParquetFile(
        path, buffer_size=2**20
    )  # so that a first row costs no more
    types = {field.name: field.type for field in file.schema_arrow}
    read = _row_groups(file, list(types), partial(_side_by_side, path))
    arrays: dict[Key, _Array] = {
        name: _Array((file.metadata.num_rows,), str(kind), read) for name, kind in types.items()
    }
    lists = {name: _parquet_list(path, file, name, kind) for name, kind in types.items() if _is_list(kind)}
    if types and all(_is_number(kind) for kind in types.values()):
        dtype = " and ".join(sorted({str(kind) for kind in types.values()}))
        arrays[None] = _Array((file.metadata.num_rows, len(types)), dtype, read)
    return arrays | lists


def _parquet_list(path: Path, file: Any, name: str, kind: Any) -> _Array:
    """A column of lists as rows, if all lists are as long as the first: that is seen when they are read."""
    # The counts of values in the footer would tell more, but arrow ends the process where a damaged footer
    # has none.
    first = (
        next((row.column(name).to_pylist()[0] for row in file.iter_batches(1, columns=[name])), None) or []
    )
    read = _row_groups(file, [name], partial(_stacked, _named(path, name), len(first)))
    return _Array((file.metadata.num_rows, len(first)), str(kind.value_type), read)


def _row_groups(file: Any, columns: list[str], matrix: Callable[[Any], Any]) -> Callable[[Index], Any]:
    """Read the groups that a slice touches, and keep the last: the next slice begins in it."""
    ends = itertools.accumulate(
        (file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)), initial=0
    )
    spans = list(enumerate(itertools.pairwise(ends)))

    @lru_cache(maxsize=1)
    def group(g: int) -> Any:
        return matrix(file.read_row_group(g, columns).select(columns))

    def get(index: Index) -> Any:
        (part,) = index
        assert isinstance(part, slice)
        touched = [(g, start) for g, (start, end) in spans if start < part.stop and part.start < end]
        pieces = [group(g)[max(part.start - start, 0) : part.stop - start] for g, start in touched]
        return _library("numpy").concatenate(pieces)

    return get


def _stacked(name: str, features: int, table: Any) -> Any:
    """The lists of the only column, under each other."""
    chunks = table.column(0).chunks
    lengths = {length for chunk in chunks for length in chunk.value_lengths().unique().to_pylist()}
    values = [chunk.flatten() for chunk in chunks]
    if lengths - {features} or any(chunk.null_count for chunk in (*chunks, *values)):
        raise FileError(
            f"{name} must be lists of {features} numbers, as the first is, got nulls or lists of other "
            "lengths."
        )
    numpy = _library("numpy")
    return numpy.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in values]).reshape(-1, features)


def _side_by_side(path: Path, table: Any) -> Any:
    """The columns of numbers, next to each other."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise FileError(
                f"{_named(path, name)} must have a number in each row, got {column.null_count} nulls."
            )
    return _library("numpy").stack([column.to_numpy() for column in table.columns], axis=1)


def _is_list(kind: Any) -> bool:
    types = _library("pyarrow.types")
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    types = _library("pyarrow.types")
    return bool(types.is_integer(kind) or types.is_floating(kind))


# Files of columns.


def _delimited(path: Path, delimiter: str) -> dict[Key, Callable[[], list[Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        names, *lines = [*csv.reader(file, delimiter=delimiter, strict=True)] or [[]]
    if len(set(names)) < len(names):
        raise FileError(f"{path} must name each column once in its first line, got {', '.join(names)}.")
    for number, line in enumerate(lines, 2):
        if len(line) != len(names):
            raise FileError(f"{path} must have {len(names)} fields a row, got {len(line)} in row {number}.")
    return {name: partial(_numbers, [line[i] for line in lines]) for i, name in enumerate(names)}


def _numbers(texts: list[str]) -> list[Any]:
    """Numbers if every text is one as JSON writes it, so that ids such as 007 and 1_0 stay what they are."""
    try:
        values = [json.loads(text) for text in texts]
        kinds = {type(value) for value in values}
        if kinds == {int}:
            return values
        return [float(value) for value in values] if kinds <= {int, float} else texts
    except (ValueError, OverflowError, RecursionError):
        return texts


def _jsonl(path: Path) -> dict[Key, Callable[[], list[Any]]]:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            with _reading(path, f"{path}, line {number},"):
                rows.append(dict(json.loads(line).items()))
            if rows[-1].keys() != rows[0].keys():
                raise FileError(
                    f"{path} must have the keys {', '.join(rows[0])} in each line, got {', '.join(rows[-1])} "
                    f"in {number}."
                )
    scalars = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))] if rows else []
    return {name: partial(list, [row[name] for row in rows]) for name in scalars}


def _parquet_columns(path: Path) -> dict[Key, Callable[[], list[Any]]]:
    parquet, types = _library("pyarrow.parquet"), _library("pyarrow.types")
    file = parquet.ParquetFile(path)
    textual = (types.is_string, types.is_large_string, types.is_boolean, types.is_dictionary)
    return {
        field.name: partial(_parquet_values, file, field.name)
        for field in file.schema_arrow
        if _is_number(field.type) or any(check(field.type) for check in textual)
    }


def _parquet_values(file: Any, name: str) -> list[Any]:
    values: list[Any] = file.read([name]).column(name).to_pylist()
    return values


def _txt(path: Path) -> dict[Key, Callable[[], list[Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        return {None: partial(_numbers, [line.rstrip("\n") for line in file])}


ARRAYS: dict[str, Callable[[Path], Mapping[Key, _Array]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _pt,
    ".pth": _pt,
    ".safetensors": _safetensors,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".parquet": _parquet,
}
"""How to see what arrays a file holds."""

TABLES: dict[str, Callable[[Path], Mapping[Key, Callable[[], list[Any]]]]] = {
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".jsonl": _jsonl,
    ".parquet": _parquet_columns,
}
"""How to see what columns a file holds."""

COLUMNS: dict[str, Callable[[Path], Mapping[Key, Any]]] = {**ARRAYS, **TABLES, ".txt": _txt}
"""Wherever a column may come from: a 1-D array is one."""

HOLDS = {
    ".npy": "an array as numpy.save writes it",
    ".npz": "arrays as numpy.savez writes them",
    ".pt": "a tensor or a dict of tensors as torch.save writes it",
    ".pth": "a tensor or a dict of tensors as torch.save writes it",
    ".safetensors": "a safetensors file of tensors",
    ".h5": "an HDF5 file of datasets",
    ".hdf5": "an HDF5 file of datasets",
    ".parquet": "a Parquet file of columns",
    ".csv": "comma-separated UTF-8 text under a line of names",
    ".tsv": "tab-separated UTF-8 text under a line of names",
    ".jsonl": "UTF-8 text of one JSON object a line",
    ".txt": "UTF-8 text of one value a line",
}
"""What a file of that ending is expected to be, for messages."""
