"""Folders of images: the pictures in them, what is left out, and the folders that are splits.

Each real folder is read once, whatever links lead to it. Hidden files and folders are left out, and so are
files of other formats; `Pictures.notes` counts all of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from align_uniform._messages import listed

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""The endings of the files that are read."""

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""The names that the folder of a split may have, in any case."""

LEFT_BY_SYSTEMS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
"""Folders that systems and programs leave among those of a user; they are hidden, too."""

Identity = tuple[int, int]
"""The device and the number of a folder, which are the same whatever links lead to it."""


@dataclass(frozen=True)
class FoundPictures:
    """The pictures in a folder and its subfolders."""

    folder: Path
    paths: list[str]
    """The paths of all pictures, sorted."""
    left_out: dict[str, int]
    """The number of files, folders and links that were left out, by what they are."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence about what was left out, if anything was."""
        if not self.left_out:
            return ()
        kinds = ", ".join(f"{what} ({count:,})" for what, count in sorted(self.left_out.items()))
        return (f"{self.folder}: left out {kinds}; pictures end in {', '.join(SUFFIXES)}.",)


def is_picture(file: str | Path) -> bool:
    """Return whether a file is a picture by its ending.

    Example:
        >>> is_picture("cat.JPG"), is_picture("cat.txt")
        (True, False)
    """
    return os.path.splitext(file)[1].lower() in SUFFIXES


def find_pictures(folder: Path) -> FoundPictures:
    """Return the pictures in a folder and its subfolders.

    Links are followed after all folders have been read, and only to folders that have not been read yet and
    do not contain the link.

    Raises:
        OSError: the folder or one of its subfolders cannot be read.
    """
    places, links = [os.fspath(folder)], list[str]()
    seen: set[Identity] = set()
    found: list[str] = []
    left_out: Counter[str] = Counter()
    while places or links:
        is_link = not places
        place = links.pop(0) if is_link else places.pop()
        if identity(place) in seen or (is_link and identity(place) in _above(place)):
            left_out["links to folders that are read already"] += 1
            continue
        seen.add(identity(place))
        for entry in _entries(place):
            if what := _reason_to_leave_out(entry):
                left_out[what] += 1
            elif _is_folder(entry):
                (links if entry.is_symlink() else places).append(entry.path)
            else:
                found.append(entry.path)
    return FoundPictures(folder, sorted(found), dict(left_out))


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the subfolders that are classes, each real folder once."""
    entries = [entry for entry in _entries(folder) if _is_folder(entry) and not _is_hidden(entry)]
    seen, found = _above(folder / "here"), []
    for entry in sorted(entries, key=lambda each: (each.is_symlink(), each.name)):
        if (own := identity(entry.path)) not in seen:
            seen.add(own)
            found.append(entry.name)
    return sorted(found)


def split_of(name: str) -> str | None:
    """Return the split that a folder of this name has: train, val or test; None if it is no split.

    Example:
        >>> split_of("Validation"), split_of("cat")
        ('val', None)
    """
    return next((split for split, names in SPLITS.items() if name.casefold() in names), None)


def split_folder(root: Path, split: str) -> Path | None:
    """Return the folder of a split in a folder, under any of its names; None if there is none.

    Raises:
        ValueError: there are several.
    """
    entries = _entries(root) if root.is_dir() else ()
    folders = [root / entry.name for entry in entries if split_of(entry.name) == split and _is_folder(entry)]
    found = {identity(each): each for each in reversed(folders)}
    if len(found) > 1:
        raise ValueError(
            f"{root} has {listed(each.name for each in folders)}, of which only one can be the images of "
            f"{split}; rename the others."
        )
    return next(iter(found.values()), None)


def identity(place: str | Path) -> Identity:
    """Return what tells a folder from all others, whatever links lead to it."""
    found = os.stat(place)
    return found.st_dev, found.st_ino


def _above(place: str | Path) -> set[Identity]:
    """Return the folders that contain a file or a link."""
    return {identity(each) for each in (Path(place).parent.resolve() / "here").parents}


def _entries(place: str | Path) -> Iterator[os.DirEntry[str]]:
    """Yield the contents of a folder, sorted by name."""
    try:
        with os.scandir(place) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise type(error)(
            f"{place} cannot be read ({error.strerror}); make it readable, or move it away."
        ) from error
    yield from found


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") or entry.name.casefold() in LEFT_BY_SYSTEMS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link in a circle is none."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _reason_to_leave_out(entry: os.DirEntry[str]) -> str:
    """Return what an entry is that is not read; nothing for a folder and for a picture."""
    is_folder = _is_folder(entry)
    if _is_hidden(entry):
        return "hidden folders" if is_folder else "hidden files"
    if is_folder:
        return ""
    if not os.path.isfile(entry.path):
        return "links to nothing" if entry.is_symlink() else "special files"
    if is_picture(entry.path):
        return ""
    suffix = os.path.splitext(entry.name)[1].lower()
    return f"{suffix} files" if suffix else "files without an ending"
