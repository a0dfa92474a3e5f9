"""Errors that say that memory ran out: of Python, of numpy, and of torch, whatever the device."""

from __future__ import annotations

import errno
import re

WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|cannot allocate memory|MemoryError", re.I
)
"""Words of torch's errors, and of those that a process of a loader reports by their text alone."""

AMOUNT = re.compile(r"allocate (?:([\d.]+) ([KMGTPE]i?B)|(\d+) bytes)")
"""The amount that was asked for, in the words of numpy and of torch."""


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out.

    Example:
        >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and WORDS.search(str(error)) is not None


def amount_in(error: BaseException) -> str:
    """Return how much memory was asked for at once, as far as the error says so.

    Example:
        >>> amount_in(RuntimeError("can't allocate memory: you tried to allocate 80000000000 bytes."))
        '74.5 GiB'
    """
    found = AMOUNT.search(str(error))
    if found is None:
        return ""
    number, unit = (float(found[1]), found[2]) if found[1] else (int(found[3]) / 2**30, "GiB")
    return f"{number:.3g} {unit}"
