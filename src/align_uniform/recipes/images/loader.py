"""Batches of images, read by processes that leave it to the main process what a signal means."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader, Dataset


class ImageLoader(DataLoader[Any]):
    """A DataLoader whose processes outlive the signals that end a run, from their first moment on."""

    def __init__(self, images: Dataset[Any], **options: Any) -> None:
        super().__init__(images, worker_init_fn=outlive_signals, **options)

    def __iter__(self) -> Any:
        with _signals_held():
            return super().__iter__()


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
def children_heard_later() -> Iterator[None]:
    """Hold back the news that a child process has ended until the body is left.

    A loader raises its error wherever the news reach the main thread, also in the middle of a step.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGCHLD, lambda *news: heard.append(news))
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
    if heard and callable(before):
        before(*heard[-1])


def outlive_signals(_: int) -> None:
    """Ignore signals that do not come from the training process, in a process that reads for it.

    Ctrl-C, torchrun, `timeout` and batch systems send signals to all processes of a run, and a loader raises
    an error in the middle of a step when one of its processes ends. The training process shall finish its
    batch, so it alone may end the processes that read for it. (macOS does not reveal the sender of a signal;
    there SIGTERM still ends them.)
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
