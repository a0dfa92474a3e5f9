"""The processes that read images: what they do with signals, which reach them too, and what they say of a bad
image.
"""

from __future__ import annotations

import os
import re
import signal
import threading


def outlive_signals(_: int) -> None:
    """Let the process that trains finish its batch: for `DataLoader(worker_init_fn=outlive_signals)`.

    Ctrl-C, torchrun, `timeout` and batch systems signal all processes of a run, and a loader raises an error
    in the middle of a step when one of its processes is gone. Only the process that trains may end those that
    read for it. (On macOS, where the sender of a signal cannot be told, SIGTERM still ends them.)
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
    """Return a number of workers that the machine has cores for, at least 1 and at most the given number.

    The cores are those that this process may use; torchrun's processes on one machine share them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(at_most, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def reason(error: Exception) -> str:
    """What an error says; of one that comes from a loader's process, without the lines that it went
    through.
    """
    text = str(error).rstrip()
    found = re.match(r"Caught (\w+) in DataLoader worker process .*\n\1: (.*)", text, re.DOTALL)
    return found[2] if found else text
