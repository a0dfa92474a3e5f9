"""The peak memory of a computation, beyond the memory that was in use before it.

Torch's CPU allocator takes each tensor from `malloc`, and counts nothing. The kernel counts: `VmHWM` in
`/proc/self/status` is the high-water mark of the pages that the process holds, and writing 5 to
`/proc/self/clear_refs` resets it. So everything that the computation touches is seen: tensors, temporaries
inside of an operator, buffers of the matrix library.

The history of a process would blur this: `malloc` may keep freed memory and hand it out again, so that a
temporary counts or not by chance. Everything is therefore measured in one process of its own, where every
block of 64 KiB or more is mapped by itself, and returned when freed. Code that is read from disk at its first
use would count too; a quick computation is run twice, and counted the second time.
`error_on_known_allocations` shows the remaining error: a few tens of KiB.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.case import Operations

MIB = 2**20
T = TypeVar("T")

_MMAP_THRESHOLD = -3  # of malloc.h
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def memory_process() -> ProcessPoolExecutor:
    """Start the process in which to call the other functions of this file."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)


def peaks_mib(prepare: Callable[[], Operations]) -> tuple[float | None, float | None]:
    """Return the extra memory of ours and of the reference, None where it is not measured.

    The two must agree on the result.
    """
    operations = prepare()
    ours_mib, ours = peak_mib(operations.ours)
    reference_mib, reference = peak_mib(operations.reference)
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    return ours_mib, reference_mib


def error_on_known_allocations() -> float | None:
    """Measure a tensor that is kept and two that are freed, of 1 to 64 MiB; return the worst error in MiB."""
    errors = []
    for mib in (1, 4, 16, 64):
        kept, _ = peak_mib(partial(torch.ones, mib * MIB // 4))
        freed, _ = peak_mib(partial(_use_two, mib * MIB // 4))
        if kept is None or freed is None:
            return None
        errors += [abs(kept - mib), abs(freed - 2 * mib)]
    return max(errors)


def _use_two(size: int) -> float:
    return torch.ones(size).neg().sum().item()


def peak_mib(compute: Callable[[], T]) -> tuple[float | None, T]:
    """Return the extra memory at its peak in MiB, None where it is not measured, and the result.

    The memory of the result counts.
    """
    if not _can_measure():
        return None, compute()
    start = time.perf_counter()
    peak, result = _peak_mib(compute)
    if time.perf_counter() - start < 1:
        del result
        peak, result = _peak_mib(compute)
    return peak, result


def _peak_mib(compute: Callable[[], T]) -> tuple[float, T]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR_REFS.write_text("5")
    before = _bytes("VmRSS")
    result = compute()
    return (_bytes("VmHWM") - before) / MIB, result


def _bytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def _can_measure() -> bool:
    """Return whether this is Linux with the GNU C library, and the high-water mark may be reset."""
    if sys.platform != "linux":
        return False
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return hasattr(ctypes.CDLL(None), "mallopt") and hasattr(ctypes.CDLL(None), "malloc_trim")


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is for the main process
    if _can_measure():
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 64 * 1024)
