"""Locks on folders. A lock ends with the process that has it, however that ends."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_held: set[int] = set()
"""The descriptors that hold the locks of this process."""


def lock(folder: Path) -> int:
    """Lock a folder, and return the descriptor that holds the lock; the folder itself is left as it is.

    Raises:
        BlockingIOError: the folder is locked.
        OSError: it is no folder, it is a link, or it cannot be opened or locked.
    """
    if sys.platform == "win32":
        raise OSError("folders cannot be locked")
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(opened)
        raise
    _held.add(opened)
    return opened


def release(descriptor: int) -> None:
    """Give up the lock that a descriptor holds."""
    _held.discard(descriptor)
    os.close(descriptor)


def _let_go() -> None:
    """Close the descriptors that a forked process has inherited, by which it would prolong the locks."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
