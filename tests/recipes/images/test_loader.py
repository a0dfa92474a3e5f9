"""Processes that read images outlive the signals that end a run, from their first moment on."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from align_uniform.recipes.images import loader
from align_uniform.recipes.images.loader import ImageLoader
from align_uniform.recipes.images.workers import LostWorkerError


class Numbers(Dataset[Tensor]):
    """Eight numbers, each of which takes a moment."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        time.sleep(0.02)
        return torch.tensor(index)


def numbers() -> ImageLoader:
    return ImageLoader(Numbers(), batch_size=2, num_workers=1)


def test_signals_are_held_while_processes_start_and_then_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert {int(each) for batch in numbers() for each in batch} == set(range(8))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    with loader._signals_held():
        held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert held - before == {signal.SIGINT, signal.SIGTERM}


def test_the_loss_of_a_process_is_told_where_a_batch_is_asked_for_and_nowhere_else() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(numbers())
    assert signal.getsignal(signal.SIGCHLD) is before
    (worker,) = batches.batches._workers
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()  # the news are there
    time.sleep(0.01)
    with pytest.raises(LostWorkerError):
        list(batches)


def test_a_process_that_has_just_started_outlives_a_signal() -> None:
    """A signal that comes before the process could say how to treat it, for many processes."""
    for number in (signal.SIGTERM, signal.SIGINT) * 5:
        batches = iter(numbers())
        for worker in batches.batches._workers:
            # from a process of its own: the parent's signal is the one that ends it
            os.waitpid(os.posix_spawn("/bin/kill", ["kill", f"-{int(number)}", str(worker.pid)], {}), 0)
        assert {int(each) for batch in batches for each in batch} == set(range(8))
