"""Writing files so that each is complete or absent, with the permissions that the umask gives."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a name next to `path` to write to; the file there replaces `path` unless the body raises.

    The file gets the mode that the umask gives to any new file, also if the library that writes it makes it
    readable by its owner alone, as safetensors does. If the body raises, the file is removed.
    """
    partial = path.with_name(f".{path.name}.partial")
    mode = _mode_of_a_new_file(partial)
    try:
        yield partial
        if stat.S_IMODE(partial.stat().st_mode) != mode:
            partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_replaceable(path: Path, *, force: bool) -> None:
    """Refuse to overwrite an existing file unless `force` is set, and to write into a folder that is missing.

    Raises:
        ValueError: the file exists and `force` is not set, or its folder does not exist.
    """
    if not path.parent.is_dir():
        folder = path.parent
        raise ValueError(
            f"{path} cannot be written: there is no folder {folder}; run mkdir -p {shlex.quote(str(folder))}."
        )
    check_absent(path, force=force)


def check_absent(path: Path, *, force: bool) -> None:
    """Refuse to replace a file, a folder or a link, even one to nowhere, unless `force` is set."""
    if os.path.lexists(path) and not force:
        raise ValueError(f"{path} exists already; use --force to replace it.")


def _mode_of_a_new_file(path: Path) -> int:
    """The mode of a file created at `path`: the umask itself cannot be read without setting it."""
    path.unlink(missing_ok=True)
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    return mode
