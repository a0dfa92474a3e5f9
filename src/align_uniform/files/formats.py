"""The formats of files that are read. A new one is a reader, and its line in `FORMATS`.

Importing this module loads neither torch nor the library of any format.

Example:
    >>> " ".join(ARRAYS)
    '.npy .npz .pt .pth .safetensors .h5 .hdf5 .csv .tsv .jsonl .parquet .arrow .feather'
    >>> " ".join(TABLES)
    '.csv .tsv .jsonl .parquet .arrow .feather'
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from align_uniform._extras import advice
from align_uniform.files import arrays, arrow, hdf5, parquet, tables, text_rows
from align_uniform.files.held import Array, File, FileError, Key, T, Values

ArrayReader = Callable[[File], Mapping[Key, Array]]
"""A function that returns the arrays of a file, each with a function that reads a part of it."""

TableReader = Callable[[File], Mapping[Key, Values]]
"""A function that returns the columns of a file, each as a function that reads it."""


@dataclass(frozen=True)
class Format:
    """A file format: its endings, its contents in words, its readers, and the libraries that they need."""

    endings: tuple[str, ...]
    expected: str
    """The contents of such a file, as a phrase that completes "the file must be"."""
    arrays: ArrayReader | None = None
    """Reads arrays, whose rows are features, or whose items are a column."""
    table: TableReader | None = None
    """Reads columns with names."""
    column: TableReader | None = None
    """Reads the only column, which has no name."""
    libraries: tuple[str, ...] = ()
    extra: str = "files"
    """The extra of this package that installs the libraries."""


FORMATS = (
    Format((".npy",), "an array as numpy.save writes it", arrays.npy, libraries=("numpy",)),
    Format((".npz",), "arrays as numpy.savez writes them", arrays.npz, libraries=("numpy",)),
    Format((".pt", ".pth"), "a tensor or a dict of tensors as torch.save writes it", arrays.pt),
    Format(
        (".safetensors",), "a safetensors file of tensors", arrays.safetensors, libraries=("safetensors",)
    ),
    Format((".h5", ".hdf5"), "an HDF5 file of datasets", hdf5.arrays, libraries=("h5py", "numpy")),
    Format((".csv",), "comma-separated UTF-8 text under a line of names", text_rows.csv, tables.csv),
    Format((".tsv",), "tab-separated UTF-8 text under a line of names", text_rows.tsv, tables.tsv),
    Format((".jsonl",), "UTF-8 text of one JSON object a line", text_rows.jsonl, tables.jsonl),
    Format(
        (".parquet",),
        "a Parquet file of columns",
        parquet.arrays,
        parquet.table,
        libraries=("pyarrow.parquet", "numpy"),
    ),
    Format(
        (".arrow", ".feather"),
        "an Arrow file of columns",
        arrow.arrays,
        arrow.table,
        libraries=("pyarrow", "numpy"),
    ),
    Format((".txt",), "UTF-8 text of one value a line", column=tables.txt),
)
"""All formats, in the order in which messages and help texts list them."""

FOLDER = Format(
    (),
    "a folder as datasets.save_to_disk writes it",
    arrow.folder_arrays,
    arrow.folder_table,
    libraries=("pyarrow", "numpy"),
)
"""The format of folders, which have no ending."""

FORMAT_OF = {ending: form for form in FORMATS for ending in form.endings}
"""The format of each ending."""

ARRAYS = {ending: form.arrays for ending, form in FORMAT_OF.items() if form.arrays}
"""The readers of arrays, by ending."""

TABLES = {ending: form.table for ending, form in FORMAT_OF.items() if form.table}
"""The readers of columns with names, by ending."""

COLUMNS: dict[str, Callable[[File], Mapping[Key, Array | Values]]] = {
    ending: reader
    for ending, form in FORMAT_OF.items()
    if (reader := form.table or form.column or form.arrays)
}
"""The readers of whatever contains a column, by ending; a one-dimensional array is a column."""


def opened(
    path: Path, readers: Mapping[str, Callable[[File], Mapping[Key, T]]]
) -> tuple[File, Mapping[Key, T]]:
    """Return a file and its contents, as the reader of its ending finds them.

    Raises:
        FileError: no reader has that ending, its library is missing, or the file is damaged or empty.
    """
    form, reader = _format_of(path, readers)
    for name in form.libraries:
        _check_library(path, name, form.extra)
    file = File(path, form.expected)
    with file.reading(), warnings.catch_warnings():
        # Whatever is wrong with a file, our checks or the library make it an error sooner or later.
        warnings.simplefilter("ignore")
        contents = reader(file)
    if not contents:
        raise FileError(f"{path} must be {form.expected}, got an empty one.")
    return file, contents


def _format_of(path: Path, readers: Mapping[str, Any]) -> tuple[Format, Any]:
    """Return the format of a path, and its reader of the kind of these.

    Raises:
        FileError: no reader has the ending.
        IsADirectoryError: the path is a folder that `datasets` did not write.
    """
    ending = path.suffix.lower()
    if path.is_dir():
        arrow.check_folder(path, readers)
        return FOLDER, FOLDER.arrays if readers is ARRAYS else FOLDER.table
    if ending not in readers:
        raise FileError(
            f"{path} must end in one of {', '.join(readers)}, got {ending!r}; the ending says how to read it."
        )
    return FORMAT_OF[ending], readers[ending]


def _check_library(path: Path, name: str, extra: str) -> None:
    try:
        import_module(name)
    except ImportError as error:
        reason = advice([name.partition(".")[0]], extra)
        raise FileError(f"{path} cannot be read: {reason} ({error})") from None
