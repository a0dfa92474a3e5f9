"""Checks on real gloo processes: a worker, started once for all world sizes, runs them for the tests."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

Checks = Mapping[str, Callable[[int], Any]]
"""The checks that each process runs with its rank, by name, in an order that all share."""


def found_by(
    worker: str, folder: Path, worlds: Iterable[int], *arguments: str
) -> dict[int, list[dict[str, Any]]]:
    """Start the worker, a module of the tests; return the results of processes and checks by world size."""
    command = [sys.executable, "-m", f"tests.{worker}", *arguments, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, check=False, cwd=root, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]
        for world in worlds
    }


def run(checks: Callable[[int], Checks], worlds: Iterable[int], folder: Path) -> None:
    """Run the processes of one world size after the other, forks of one that has imported torch."""
    torch.optim.SGD([torch.ones(1)])  # loads what optimisers need, once and not in every process
    fork = multiprocessing.get_context("fork")
    for world in worlds:
        processes = [
            fork.Process(target=_process, args=(checks, rank, world, folder)) for rank in range(world)
        ]
        for started in processes:
            started.start()
        for started in processes:
            started.join()


def _process(checks: Callable[[int], Checks], rank: int, world: int, folder: Path) -> None:
    store = f"file://{folder / f'store-{world}'}"
    dist.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    found = {name: result_or_traceback(check, rank) for name, check in checks(world).items()}
    torch.save(found, folder / f"{world}-{rank}.pt")
    dist.destroy_process_group()


def result_or_traceback(check: Callable[[int], Any], rank: int) -> Any:
    """Return the result of a check; a failure is kept as its traceback, so that the others still run."""
    try:
        return check(rank)
    except Exception:
        return f"failed: {traceback.format_exc()}"
