"""The files that a command reads, and those that it writes: what replaces a file that is read destroys it.

A dataclass of options declares both in `files`, a tuple of `Reads` and `Writes`. All commands are checked by
these declarations before they run, whether or not they may replace files. This module needs nothing but
Python, so that the help of a command does not either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from align_uniform._options import spelled


def files_at(place: str) -> Iterable[Path]:
    """Return the file or folder of a path, FILE::KEY included, or the files that match a pattern."""
    from align_uniform.files.held import split_key
    from align_uniform.files.places import is_pattern, matching

    path, _ = split_key(place)
    return matching(path) if is_pattern(path) else [path]


def nothing_within(_: Path) -> bool:
    """Return False: no file of a folder is read."""
    return False


@dataclass(frozen=True)
class Reads:
    """A declaration: the values of these options are files or folders that are read."""

    options: tuple[str, ...]
    files: Callable[[str], Iterable[Path]] = files_at
    """Returns the paths that are read for a value."""
    within: Callable[[Path], bool] = nothing_within
    """Returns whether a file is read that lies in a folder which is a value."""


@dataclass(frozen=True)
class Writes:
    """A declaration: the value of this option says which files are written."""

    option: str
    files: Callable[[Any], Iterable[Path]] | None = None
    """Returns the files, from all options; by default the value itself."""


def check_apart(chosen: Any, configs: Iterable[Path] = ()) -> None:
    """Refuse options by which a command would write a file that it reads, or one file twice.

    A file is the same under all its names: with other folders in front, through links, or by a hard link.

    Args:
        chosen: the values of all options.
        configs: the files of options.

    Raises:
        ValueError: a file is read and written, or is written for two options.
    """
    read = [*_read(chosen), *(("--config", path.expanduser(), Reads(())) for path in configs)]
    taken: dict[str, str] = {}
    for name, path in _written(chosen):
        for reader, other, declared in read:
            if is_same_file(path, other):
                raise ValueError(
                    f"{path} of {name} is {other} of {reader}, which is read; give {name} another name."
                )
            if declared.within(path) and _lies_in(path, other):
                raise ValueError(
                    f"{path} of {name} lies in {other} of {reader} and is read with it; give {name} another "
                    "name."
                )
        if (first := taken.setdefault(os.path.realpath(path), name)) != name:
            raise ValueError(
                f"{path} would be written for both {first} and {name}; give {name} another name."
            )


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths are one file, even if it does not exist yet."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist, or cannot be looked at
        return False


def declared_by(options: type) -> list[Reads | Writes]:
    """Return all that a dataclass of options declares about files."""
    return [each for owner in options.__mro__ for each in vars(owner).get("files", ())]


def _read(chosen: Any) -> Iterator[tuple[str, Path, Reads]]:
    """Yield the option, as it is typed, the path and the declaration of everything that is read."""
    for each in declared_by(type(chosen)):
        if isinstance(each, Reads):
            for name in each.options:
                value = getattr(chosen, name)
                several = value if isinstance(value, tuple | list) else (value,)
                for place in (place for place in several if place is not None):
                    yield from ((_typed(chosen, name), path, each) for path in each.files(str(place)))


def _written(chosen: Any) -> Iterator[tuple[str, Path]]:
    """Yield the option, as it is typed, and the path of everything that is written."""
    for each in declared_by(type(chosen)):
        if isinstance(each, Writes) and (value := getattr(chosen, each.option)) is not None:
            paths = [Path(value)] if each.files is None else each.files(chosen)
            yield from ((_typed(chosen, each.option), path) for path in paths)


def _typed(chosen: Any, name: str) -> str:
    """Return an option as it is typed, or the word that stands for an argument on the help page."""
    (field,) = (each for each in fields(chosen) if each.name == name)
    return str(field.metadata["metavar"]) if field.metadata.get("argument") else spelled(name)


def _lies_in(file: Path, folder: Path) -> bool:
    """Return whether a file exists in a folder, or at any depth below it."""
    if not (os.path.lexists(file) and folder.is_dir()):
        return False
    real = Path(os.path.realpath(folder))
    places = (Path(os.path.realpath(file)), Path(os.path.realpath(file.parent), file.name))
    return any(real in place.parents for place in places)
