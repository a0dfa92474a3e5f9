"""Many calls, one after the other and at the same time."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from align_uniform import align_loss, contrastive_loss, measure, uniform_loss
from tests import rows

ROWS, FEATURES = 256, 24
MEBIBYTE = 2**20

STATM = Path("/proc/self/statm")


def memory() -> int:
    """Return the bytes of memory that this process has."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


def step() -> Tensor:
    """Return the gradient of all three losses; each call takes tensors of a quarter of a mebibyte or more."""
    x, y = (rows.unit(ROWS, FEATURES, seed=seed).float().requires_grad_() for seed in (0, 1))
    loss = align_loss(x, y) + uniform_loss(x) + contrastive_loss(x, y, 0.5, ids=torch.arange(ROWS))
    return torch.autograd.grad(loss, x)[0]


def measurement() -> Tensor:
    """Return numbers of a measurement of two views, with classes."""
    x, y = (rows.unit(ROWS, FEATURES, seed=seed).float() for seed in (0, 1))
    found = measure(x, y, labels=torch.arange(ROWS) % 7)
    return torch.tensor([value for value in found.scalars().values() if value is not None])


def growth(call: Callable[[], object], times: int) -> int:
    """Return the bytes by which memory grows over this many calls, after a fourth of them."""
    for _ in range(times // 4):  # what is kept once is kept by then
        call()
    before = memory()
    for _ in range(times):
        call()
    return memory() - before


KEPT: list[Tensor] = []


def keep() -> None:
    """Keep a quarter of a mebibyte for ever."""
    KEPT.append(torch.ones(ROWS, ROWS))


@pytest.mark.skipif(not STATM.exists(), reason="memory is read as Linux tells it")
@pytest.mark.parametrize(
    ("call", "times", "grows"), [(step, 150, False), (measurement, 40, False), (keep, 150, True)]
)
def test_memory_does_not_grow_with_the_number_of_calls(
    call: Callable[[], object], times: int, grows: bool
) -> None:
    """In a new process, which has no memory of earlier tests to use again."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        found = alone.submit(growth, call, times).result()
    assert (found > 8 * MEBIBYTE) == grows


@pytest.mark.parametrize("call", [step, measurement])
def test_threads_find_the_same_values_at_the_same_time(call: Callable[[], Tensor]) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads take turns within a call
    try:
        expected = call()
        with ThreadPoolExecutor(8) as threads:
            found = [future.result() for future in [threads.submit(call) for _ in range(24)]]
    finally:
        sys.setswitchinterval(interval)
    assert all(torch.equal(value, expected) for value in found)
