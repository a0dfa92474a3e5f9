"""What the processes that read images do with signals, which reach them too when a whole group of processes is told to end."""

from __future__ import annotations

import signal

FAREWELL = 60
"""Seconds that a process which was told to end still serves the one that trains."""


def outlive_signals(_: int) -> None:
    """Let the process that trains finish its batch: for `DataLoader(worker_init_fn=outlive_signals)`.

    Ctrl-C, torchrun, `timeout` and batch systems signal all processes of a run, and a loader raises an error in the middle of
    a step when one of its processes is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(FAREWELL))
