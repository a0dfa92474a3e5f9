"""The contents of a file as the file itself states them: found, named, chosen from, and checked."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from align_uniform._memory import lacks_memory
from align_uniform._messages import counted, listed, one_line

Key = str | None
"""The name of an array or a column in its file; None in a file that names nothing, such as .npy and .txt."""

Column = list[str | int | float]
"""The values of a column, one for each row."""

Index = tuple[int | slice, ...]
"""The part of an array that is read."""

Values = Callable[[], list[Any]]
"""A function that reads a column of a table."""

DEFLATE_RATIO = 1032
"""The most bytes that one deflated byte can stand for: a shape that claims more is damaged, or a trap."""

UNPACKED_BYTES = 2**30
"""The most bytes that are unpacked at once, whatever they took in the file."""

UNPACKED_RATIO = 100
"""The most bytes that a byte of larger arrays may become. Rows in different directions hardly pack at all."""

T = TypeVar("T")


class FileError(ValueError):
    """A file is not as it should be. The message is one line, whatever names and reasons it quotes.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from align_uniform.files import FileError, open_rows
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "features.npy")
        ...     _ = path.write_text("0.1, 0.2", encoding="utf-8")
        ...     try:
        ...         open_rows(path)
        ...     except FileError as error:
        ...         print(str(error).replace(str(path), path.name)[:23])
        features.npy is damaged
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


@dataclass(frozen=True)
class File:
    """A file of a known format, with the words that messages about it need."""

    path: Path
    expected: str
    """The contents that a file with this ending should have: "an array as numpy.save writes it"."""

    def named(self, key: Key) -> str:
        """Return the name of an array or a column of the file for messages: "file.npz (key 'x')"."""
        return str(self.path) if key is None else f"{self.path} (key {key!r})"

    def keyed(self, key: str) -> str:
        """Return what is typed to choose an array or a column of the file, or a pattern of columns."""
        return shlex.quote(f"{self.path}::{key}")

    def without(self, columns: Sequence[str]) -> str:
        """Return what to do to leave columns out, in words."""
        return f"write a file without {listed(columns)}"

    @contextmanager
    def reading(self, name: str = "") -> Iterator[None]:
        """Turn whatever a library raises into one line that says what the file should have been."""
        try:
            yield
        except FileError:
            raise
        except Exception as error:
            if lacks_memory(error):
                raise
            # From the second sentence on, torch advises to trust the file.
            sentence = one_line(f"{type(error).__name__}: {error}").partition(". ")[0]
            reason = textwrap.shorten(sentence, 160, placeholder=" ...").rstrip(".: ")
            raise FileError(
                f"{name or self.path} is damaged or is not {self.expected} ({reason})."
            ) from error


@dataclass(frozen=True)
class Array:
    """An array as its file describes it, and a function that reads a part of it."""

    shape: tuple[int, ...]
    dtype: str
    """The name of the dtype as torch and numpy spell it, float32; any other name is refused for rows."""
    get: Callable[[Index], Any] = field(repr=False)
    """Reads the part at an index into an array of numpy or a tensor."""
    nbytes: int = 0
    """The bytes that the shape claims."""
    capacity: int = 0
    """The most bytes of the array that the file can contain."""
    ids: tuple[str, ...] | None = None
    """The id of each row, if the file has one for it."""
    problem: str = ""
    """The reason why it cannot be rows, and a remedy, as words after its name; empty if only shape and dtype
    decide.
    """

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}"

    def check_claim(self, name: str) -> None:
        """Refuse to allocate memory for more than the file can contain.

        Raises:
            FileError: the shape claims more bytes than the file has.
        """
        if self.nbytes > self.capacity:
            raise FileError(
                f"{name} is damaged or was never filled: its shape {list(self.shape)} of {self.dtype} takes "
                f"{self.nbytes} bytes, and the file holds at most {self.capacity} of them; save a contiguous "
                "array."
            )


def unread(_: Index) -> Any:
    """Stand for reading an array that has a problem, which is refused before it is read."""
    raise AssertionError("an array that has a problem is refused before it is read")


def check_unpacked(name: str, unpacked: int, packed: int) -> None:
    """Refuse to unpack into memory, at once, what was packed far more than numbers of rows can be.

    Args:
        name: the name of the array in messages.
        unpacked: the bytes that it takes in memory.
        packed: the bytes that it takes in the file.

    Raises:
        FileError: it takes more than 1 GiB, and more than a hundred times what it takes in the file.
    """
    if unpacked > max(UNPACKED_BYTES, UNPACKED_RATIO * packed):
        raise FileError(
            f"{name} takes {counted(packed, 'byte')} in the file and {unpacked:,} in memory, where it must "
            "be as a whole; if that is right, save it without compression as .npy, which is read in parts."
        )


def split_key(text: str) -> tuple[Path, Key]:
    """Split "file.npz::x" into the path and the key. Two colons separate them, since HDF5 keys have slashes.

    Example:
        >>> split_key("runs.h5::epoch3/x")[1]
        'epoch3/x'
    """
    path, _, key = text.partition("::")
    return Path(path), key or None


def located(path: str | Path, key: Key = None) -> tuple[Path, Key]:
    """Return the path, after checking that it can be read, and the key, split from the path if it is None.

    Raises:
        OSError: the path cannot be read.
    """
    path, key = split_key(str(path)) if key is None else (Path(path), key)
    if path.is_dir():
        return path, key
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise missing(f"{path} does not exist", path) from None
    except OSError as error:
        raise type(error)(
            one_line(f"{path} cannot be read: {error.strerror}; a readable file is expected.")
        ) from None
    return path, key


def missing(problem: str, path: Path) -> FileNotFoundError:
    """Return the error that states the problem: with names that are close, or a link to nowhere."""
    for link in (path, *path.parents):
        if link.is_symlink() and not link.exists():
            problem = f"{link} is a link to {link.readlink()}, which does not exist"
            remedy = f"correct the link: ln -sfn TARGET {shlex.quote(str(link))}"
            return FileNotFoundError(one_line(f"{problem}; {remedy}"))
    return FileNotFoundError(one_line(f"{problem}; {_near(path)}."))


def choose(file: File, key: Key, contents: Mapping[Key, T], fits: Callable[[T], bool], wanted: str) -> Key:
    """Return the key that was asked for, or else the only one whose value fits.

    Args:
        file: the file.
        key: the key that was asked for, if any.
        contents: the values by their keys.
        fits: whether a value is of the kind that is wanted.
        wanted: that kind, in words.

    Raises:
        FileError: the file has no such key, or there is a choice and no key was given, or nothing fits.
    """
    path = file.path
    if key in contents:
        return key
    if key is not None and key.strip("/") in contents:  # HDF5 writes /a/b as well as a/b
        return key.strip("/")
    named = [
        f"{name or repr(name)} {value}" if isinstance(value, Array) else name or repr(name)
        for name, value in contents.items()
        if name is not None
    ]
    listing = listed(named)
    if key is not None:
        raise FileError(
            f"{path} has no key {key!r}; "
            + (f"it has {listing}." if named else "leave the key out: it has none.")
        )
    # A column without a name is the index that pandas wrote, which no key can name.
    fitting = [name for name, value in contents.items() if len(contents) == 1 or (name and fits(value))]
    for name, value in contents.items() if not fitting else ():
        if isinstance(value, Array) and value.problem:
            raise FileError(f"{file.named(name)} {value.problem}.")
    if not fitting:
        raise FileError(f"{path} must hold {wanted}, but has {listing}; give another file.")
    if len(fitting) != 1:
        raise FileError(
            f"{path} holds {listing}; say which one to read, as in {file.keyed(fitting[0] or '')}."
        )
    return fitting[0]


def values(file: File, key: Key, column: Array | Values) -> Column:
    """Read a column and check that it consists of text and numbers.

    Raises:
        FileError: the column has another shape, has no items, or has an item of another kind.
    """
    name = file.named(key)
    if isinstance(column, Array):
        if column.problem:
            raise FileError(f"{name} {column.problem}.")
        if len(column.shape) != 1:
            raise FileError(f"{name} must be a column [N], got shape {list(column.shape)}.")
        column.check_claim(name)
    with file.reading(name):
        found = _items(column) if isinstance(column, Array) else column()
    if not found:
        raise FileError(f"{name} must have at least one item, got none.")
    for i, value in enumerate(found):
        if not isinstance(value, (str, int, float)):
            raise FileError(
                f"{name} must hold text or numbers, got {textwrap.shorten(repr(value), 40)} at item {i}."
            )
    return found


def _items(array: Array) -> list[Any]:
    items = array.get((slice(None),)).tolist()
    # HDF5 and old numpy store text as bytes.
    return [item.decode() if isinstance(item, bytes) else item for item in items]


def _near(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    names = sorted(entry.name for entry in path.parent.iterdir())
    near = [name for name in names if Path(name).stem == path.stem]
    near = near or difflib.get_close_matches(path.name, names)
    return f"near it there is {', '.join(near)}" if near else f"nothing in {path.parent} has a name like it"
