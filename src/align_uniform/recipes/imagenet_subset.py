"""Some classes of ImageNet as an ImageFolder of links: no image is copied."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.request import urlopen

from align_uniform._apart import Reads, Writes
from align_uniform._messages import counted, listed
from align_uniform._temporary import temporary_folder
from align_uniform._writing import check_absent

SPLITS = ("train", "val")

IMAGENET_100 = "imagenet-100"
"""The name of the published list of 100 classes."""

LIST_URL = (
    "https://raw.githubusercontent.com/SsnL/moco_align_uniform/align_uniform/scripts/imagenet100_classes.txt"
)
LIST_SHA256 = "79f3f1552ccc478ce24bd934b4573625db584ddc1f4643ae23c994a94cb11397"

MOST_BYTES = 1 << 20
"""Largest size of a list of classes."""

SHOWN = 5
"""Number of bad lines or files that an error names before it counts the rest."""

_SYNSET = re.compile(r"n\d{8}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SubsetOptions:
    """Options of the subset."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("classes",)), Writes("out"))
    full: Path = field(metadata={"argument": True, "metavar": "FULL"})
    """Folder of ImageNet, which has train and val, and in these a folder for each class."""
    out: Path = field(metadata={"argument": True, "metavar": "OUT"})
    """Folder to make."""
    classes: str = field(metadata={"metavar": "FILE"})
    """File of synset ids such as n01440764, one a line; or imagenet-100 (the published list, which is
    fetched).
    """
    force: bool = False
    """Replace an earlier subset. Only links are ever replaced."""


def run(options: SubsetOptions) -> int:
    """Make the subset, print what was linked, and return 0."""
    fetched = options.classes == IMAGENET_100
    classes = published_classes() if fetched else read_classes(Path(options.classes))
    link_subset(options.full, options.out, classes, force=options.force)
    sys.stdout.write(
        f"{options.out}: {counted(len(classes), 'class', 'classes')} in {' and '.join(SPLITS)}\n"
    )
    return 0


def link_subset(full: Path, out: Path, classes: Sequence[str], *, force: bool = False) -> None:
    """Make a folder `out` with links to the classes of `full`, in train and in val: all links or none.

    The links are absolute, so that `out` can be moved. They are made in a temporary folder next to `out`,
    which is renamed once it is complete.

    Args:
        full: the folder of ImageNet, with train and val, and in these a folder for each class.
        out: the folder to make.
        classes: the synset ids, as `read_classes` returns them.
        force: replace an earlier subset, which is two folders with nothing but links in them.

    Raises:
        ValueError: `full` lacks some of the classes, which are all named; or `out` exists without `force`, or
            is no earlier subset; or `out` would lie among the classes of `full`.
    """
    full = full.resolve()
    if not classes:
        raise ValueError("There is no class to link; give at least one.")
    for split in SPLITS:
        if not (full / split).is_dir():
            raise ValueError(
                f"{full} has no folder {split}; give the folder that has {' and '.join(SPLITS)} in it."
            )
    missing = [
        f"{split}/{name}" for split in SPLITS for name in classes if not (full / split / name).is_dir()
    ]
    if missing:
        raise ValueError(
            f"{full} lacks {len(missing)} of {counted(2 * len(classes), 'folder')}: {', '.join(missing)}."
        )
    _check_place(full, out)
    check_absent(out, force=force)
    if os.path.lexists(out):
        _check_links(out)
    with temporary_folder(out.parent) as beside:
        new, before = beside / "new", beside / "before"
        for split in SPLITS:
            (new / split).mkdir(parents=True)
            for name in classes:
                (new / split / name).symlink_to(full / split / name, target_is_directory=True)
        try:
            if out.exists():
                out.rename(before)
                _check_links(before)  # again: from now on nobody else reaches it
            new.rename(out)
        finally:
            if before.exists() and not out.exists():
                before.rename(out)


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the synset ids in a file, one a line, such as n01440764.

    Empty lines and comments, which begin with #, are skipped.

    Raises:
        ValueError: a line is no synset id or repeats an earlier one, or there is no synset id at all.
    """
    with path.open("rb") as file:
        return _classes_of(file.read(MOST_BYTES), str(path))


def published_classes(url: str = LIST_URL, sha256: str = LIST_SHA256) -> tuple[str, ...]:
    """Fetch the list of the 100 classes in the paper's experiments, and return them.

    Raises:
        OSError: the list could not be fetched.
        ValueError: the list is not the one that was published.
    """
    try:
        with urlopen(url, timeout=30) as answer:
            text: bytes = answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"The list of {IMAGENET_100} could not be fetched ({error}); download {url} in another way and "
            "give the file: --classes FILE."
        ) from error
    found = hashlib.sha256(text).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{url} has the SHA-256 {found} where {sha256} is expected; give another file: --classes FILE."
        )
    return _classes_of(text, url)


def _classes_of(text: bytes, name: str) -> tuple[str, ...]:
    lines = [line.partition("#")[0].strip() for line in text.decode("utf-8-sig", "replace").splitlines()]
    classes: dict[str, int] = {}
    bad = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if not _SYNSET.fullmatch(line):
            bad.append(f"line {number} is {line[:40]!r}")
        elif line in classes:
            bad.append(f"line {number} repeats {line} of line {classes[line]}")
        else:
            classes[line] = number
    if bad:
        raise ValueError(
            f"{name} must have one synset id a line, such as n01440764, each only once: {listed(bad, SHOWN)}."
        )
    if not classes:
        raise ValueError(f"{name} lists no class; write one synset id a line, such as n01440764.")
    return tuple(classes)


def _check_place(full: Path, out: Path) -> None:
    if not out.parent.is_dir():
        raise ValueError(f"{out} cannot be made: there is no folder {out.parent}; make it first.")
    place = out.resolve()
    splits = [(full / split).resolve() for split in SPLITS]
    if place in (full, *full.parents) or any(split in (place, *place.parents) for split in splits):
        raise ValueError(
            f"{out} contains the full ImageNet, {full}, or lies among its classes; choose another folder."
        )


def _check_links(out: Path) -> None:
    """Refuse to replace a folder that holds anything but links in train and val."""
    if out.is_symlink() or not out.is_dir():
        raise ValueError(
            f"{out} is {'itself a link' if out.is_symlink() else 'a file'}, not a folder of links; remove it."
        )
    splits = [out / split for split in SPLITS]
    found = [path for path in out.iterdir() if path not in splits or path.is_symlink() or not path.is_dir()]
    found += [
        path
        for split in splits
        if split not in found and split.is_dir()
        for path in split.iterdir()
        if not path.is_symlink()
    ]
    if found:
        names = listed(sorted(str(path.relative_to(out)) for path in found), SHOWN)
        raise ValueError(
            f"{out} is no earlier subset, and --force never replaces {names}; choose another folder."
        )
