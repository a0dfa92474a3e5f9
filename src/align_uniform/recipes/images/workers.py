"""The processes that read images: how many there are, and how they report errors and their end."""

from __future__ import annotations

import os
import re

LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal|exited unexpectedly)")
"""The words in which torch says that a loader's process has ended early."""


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


class LostWorkerError(RuntimeError):
    """The end of a process that reads images, before its time."""


def is_of_a_lost_worker(error: BaseException) -> bool:
    """Return whether a loader failed because one of its processes ended before its time.

    A process that ends while it hands over a batch breaks the connection, and is alive for a moment still.
    Errors of connections within the process are quoted, and are none of these.

    Example:
        >>> is_of_a_lost_worker(RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"))
        True
        >>> is_of_a_lost_worker(ConnectionResetError(104, "Connection reset by peer"))
        True
        >>> is_of_a_lost_worker(FileNotFoundError("Caught FileNotFoundError in DataLoader worker process 0."))
        False
    """
    if isinstance(error, ConnectionError | EOFError | FileNotFoundError):
        return not str(error).startswith("Caught ")
    return isinstance(error, RuntimeError) and LOST.search(str(error)) is not None
