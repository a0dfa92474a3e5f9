"""Batches of images, read by processes that leave it to the main process what a signal means."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from align_uniform.recipes.images.workers import LostWorkerError, is_of_a_lost_worker


class ImageLoader(DataLoader[Any]):
    """A DataLoader whose processes outlive the signals that end a run, from their first moment on.

    Where a process ends early, `LostWorkerError` is raised where a batch is asked for, and nowhere else.
    """

    def __init__(self, images: Dataset[Any], **options: Any) -> None:
        super().__init__(images, worker_init_fn=outlive_signals, **options)

    def __iter__(self) -> Any:
        with _signals_held(), _children_unheard(), _losses_told():
            batches = super().__iter__()
        return Batches(batches) if self.num_workers else batches


@dataclass
class Batches:
    """The batches that processes of a DataLoader make."""

    batches: Any
    """The iterator of the DataLoader."""

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        with _losses_told():
            return next(self.batches)


@contextmanager
def _losses_told() -> Iterator[None]:
    """Raise an error of its own where a loader has lost a process."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        if is_of_a_lost_worker(error):
            raise LostWorkerError("a process that reads images ended unexpectedly") from error
        raise


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals that end a run, also from processes that start meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _children_unheard() -> Iterator[None]:
    """Keep the handler of the news that a child process has ended, whatever the body puts in its place.

    A DataLoader's own raises its error wherever the main thread is: in the middle of a step, of a file that
    is written, or of the handling of that very error. Without it, the loader notices when it waits for a
    batch in vain, within five seconds, and there the error can be handled.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if before is not None:  # set by other than Python, and unknown to it
            signal.signal(signal.SIGCHLD, before)


def outlive_signals(_: int) -> None:
    """Ignore signals that do not come from the training process, in a process that reads for it.

    Ctrl-C, torchrun, `timeout` and batch systems send signals to all processes of a run. The training process
    shall finish its batch, and needs those that read for it, so it alone may end them. (macOS does not reveal
    the sender of a signal; there SIGTERM still ends them.)
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for_the_parent, daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_for_the_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
