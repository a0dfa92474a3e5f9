"""The device that a recipe computes on, and the process group of the processes that torchrun starts."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from align_uniform._checks import usable_device
from align_uniform.engine.precision import has_float64

PATIENCE = timedelta(hours=2)
"""The time that a process waits for the others: one may evaluate, or download a data set, for all."""


def device(name: str) -> torch.device:
    """Return the device of a name: auto (the best there is), cpu, cuda, cuda:1 or mps.

    Under torchrun, auto and cuda give each process a GPU of its own.

    Raises:
        ValueError: this machine has no such device.
    """
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return usable_device(torch.device("cuda", local_rank()))
    if name != "auto":
        return usable_device(name)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def measuring_device(name: str) -> torch.device:
    """Return the device of a name to measure on: as `device`, but auto avoids MPS, which lacks float64."""
    found = device(name)
    return found if name != "auto" or has_float64(found) else torch.device("cpu")


def local_rank() -> int:
    """Return this process's number on its machine, which torchrun sets; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes if torchrun started this one among several, and leave them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if local_rank() < torch.cuda.device_count():  # under --device cpu there may be more processes than GPUs
        torch.cuda.set_device(local_rank())
    # Torch loads this within its first DistributedDataParallel or optimiser, and if that is later than the
    # group, holds the group until the interpreter ends. A thread of gloo that then lets go of a tensor aborts
    # the process, at random.
    importlib.import_module("torch._dynamo")
    # Gloo carries what is on the CPU: objects, and everything under --device cpu.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        gc.collect()  # modules that are in cycles hold the group too
        dist.destroy_process_group()
