"""Writing files so that each is complete or absent, even after a power cut, and has the mode that it should.

Every file that the package writes as a whole is written here. A file is first written in a folder of its own
next to its place, which nobody but this user can enter; it takes its place when it is complete.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from align_uniform._temporary import temporary_folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a name to write to; the file there replaces `path`, unless the body raises.

    The name lies in a temporary folder, which is removed if the body raises, and also if a signal ends the
    process. The file and its folder are on the disk when the body is left. The file gets the mode of the file
    that it replaces, or the mode that the umask gives to a new file, also if the library that writes it makes
    it readable by its owner alone, as safetensors does. A link is replaced, not followed.

    Raises:
        OSError: the disk is full, the folder is gone, and so on; the error names the file.
    """
    try:
        with temporary_folder(path.parent) as folder:
            partial = folder / path.name
            mode = _mode_of(path, partial)
            yield partial
            _finish(partial, mode)
            partial.replace(path)
            _sync(path.parent)
    except OSError as error:
        if error.errno is None or _is_elsewhere(error, path.parent):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def check_replaceable(path: Path, *, force: bool) -> None:
    """Refuse a path at which no file can be written, and an existing file unless `force` is set.

    Raises:
        ValueError: the file exists and `force` is not set; a folder or a device has this name; or the folder
            of the file does not exist or is read-only.
    """
    folder = path.parent
    if not folder.is_dir():
        raise ValueError(
            f"{path} cannot be written: there is no folder {folder}; run mkdir -p {shlex.quote(str(folder))}."
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file in it, such as {path / 'output'}.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file, and only files are replaced; give another name.")
    check_absent(path, force=force)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"{path} cannot be written: you may not write in the folder {folder}; choose another one."
        )


def check_absent(path: Path, *, force: bool) -> None:
    """Refuse to replace a file, a folder or a link, even one to nowhere, unless `force` is set."""
    if os.path.lexists(path) and not force:
        raise ValueError(f"{path} exists already; use --force to replace it.")


def _is_elsewhere(error: OSError, folder: Path) -> bool:
    """Return whether an error is about a file that does not lie in a folder."""
    return error.filename is not None and folder not in (place := Path(error.filename), *place.parents)


def _mode_of(path: Path, partial: Path) -> int:
    """Return the mode of the file at `path`, or else of a new one: reading the umask would set it."""
    with suppress(FileNotFoundError):
        replaced = path.lstat().st_mode
        if stat.S_ISREG(replaced):
            return stat.S_IMODE(replaced)
    partial.touch(exist_ok=False)
    mode = stat.S_IMODE(partial.stat().st_mode)
    partial.unlink()
    return mode


def _finish(partial: Path, mode: int) -> None:
    """Give a complete file its mode, and wait until it is on the disk."""
    file = os.open(partial, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        if stat.S_IMODE(partial.stat().st_mode) != mode:
            partial.chmod(mode)
        os.fsync(file)
    finally:
        os.close(file)


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can promise it."""
    if sys.platform == "win32":
        return
    with suppress(OSError):  # it may not be read, or its file system syncs no folders
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
