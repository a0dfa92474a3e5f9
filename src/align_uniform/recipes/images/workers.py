"""The processes that read images: how many there are, and how they report errors and their end."""

from __future__ import annotations

import os
import re

LOST = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)"
)
"""The words in which torch says that a loader's process has ended before its time, and by which signal."""


def default_workers(at_most: int) -> int:
    """Return the number of cores that this process may use for workers, between 1 and the given number.

    torchrun's processes on one machine share its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(at_most, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def reason(error: Exception) -> str:
    """Return the message of an error, without the traceback that a loader's process adds to it."""
    text = str(error).rstrip()
    found = re.match(r"Caught (\w+) in DataLoader worker process .*\n\1: (.*)", text, re.DOTALL)
    return found[2] if found else text


def lost_worker(error: BaseException) -> str:
    """Return how a process that read images ended before its time, if that is the error; else nothing.

    Example:
        >>> lost_worker(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
        'was ended by a signal (Killed)'
        >>> lost_worker(RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"))
        'ended unexpectedly'
        >>> lost_worker(ValueError("not an image"))
        ''
    """
    found = LOST.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return ""
    if found[1]:
        return f"was ended by a signal ({found[1]})"
    return (error.__cause__ and lost_worker(error.__cause__)) or "ended unexpectedly"
