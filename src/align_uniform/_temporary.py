"""Temporary folders next to the place of their contents, which no error, signal or kill leaves for good."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from align_uniform._locks import lock, release

PREFIX, SUFFIX = ".align-uniform-", ".partial"
"""How the names of temporary folders begin and end."""

ENDING = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
"""The signals that end a process without an exception, unless it handles them."""


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent` with a random name, and remove it afterwards.

    Nobody but this user can enter it. It is also removed if SIGTERM or SIGHUP ends the process. A process
    that is killed leaves it behind without its lock: by that the next call for `parent` knows it, and removes
    it.
    """
    _remove_abandoned(parent)
    with ExitStack() as stack:
        folder, held = _new_folder(parent)
        if held is not None:
            stack.callback(release, held)
        stack.enter_context(_removed_by_signals(folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _new_folder(parent: Path) -> tuple[Path, int | None]:
    """Make a folder, and return it with the descriptor of its lock, if the file system has locks."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX, dir=parent))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(parent)) from error
        try:
            held = lock(folder)
        except (BlockingIOError, FileNotFoundError):  # another process took it for abandoned
            continue
        except OSError:
            return folder, None
        if folder.exists():
            return folder, held
        release(held)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders that killed processes have left in `parent`, where locks tell which these are."""
    for folder in parent.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError), ExitStack() as stack:  # in use, gone, of another user, or not to be locked
            stack.callback(release, lock(folder))
            shutil.rmtree(folder)


_live: dict[Path, int] = {}
"""The folders in use, and the processes that made them: a forked process inherits the others'."""


@contextmanager
def _removed_by_signals(folder: Path) -> Iterator[None]:
    """Remove the folder before a signal ends the process, where the process itself handles none."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    taken = [each for each in ENDING if in_main_thread and signal.getsignal(each) == signal.SIG_DFL]
    _live[folder] = os.getpid()
    for each in taken:
        signal.signal(each, _remove_and_end)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)
        del _live[folder]


def _remove_and_end(number: int, _: FrameType | None) -> None:
    for folder in [folder for folder, process in _live.items() if process == os.getpid()]:
        shutil.rmtree(folder, ignore_errors=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
