"""The processes that read images: how many there are, how they treat signals, and how they report errors."""

from __future__ import annotations

import os
import re
import signal
import threading


def outlive_signals(_: int) -> None:
    """Ignore signals that do not come from the training process; for `DataLoader(worker_init_fn=...)`.

    Ctrl-C, torchrun, `timeout` and batch systems send signals to all processes of a run, and a loader raises
    an error in the middle of a step when one of its processes ends. The training process shall finish its
    batch, so it alone may end the processes that read for it. (macOS does not reveal the sender of a signal;
    there SIGTERM still ends them.)
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for_the_parent, daemon=True).start()


def _end_for_the_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


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
