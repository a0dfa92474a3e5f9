"""The processes that read images: how many there are, and how they report errors."""

from __future__ import annotations

import os
import re


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
