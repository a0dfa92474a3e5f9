"""Locks on folders: exclusive, and gone with the process that has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from align_uniform._locks import lock, release

HOLDS = """
import os, sys, time
from pathlib import Path
from align_uniform._locks import lock
lock(Path(sys.argv[1]))
begun, tell = os.pipe()
if os.fork() == 0:  # as the processes that read images do, it outlives the one that has the lock
    os.write(tell, b"1")
    time.sleep(60)
os.read(begun, 1)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_lock_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    held = lock(tmp_path)
    with pytest.raises(BlockingIOError):
        lock(tmp_path)
    release(held)
    release(lock(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process_though_forked_ones_live_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(BlockingIOError):
        lock(tmp_path)
    holder.send_signal(number)
    holder.wait(30)
    release(lock(tmp_path))
    os.killpg(holder.pid, signal.SIGKILL)
    holder.stdout.close()


def test_a_forked_process_takes_no_lock_from_its_parent(tmp_path: Path) -> None:
    held = lock(tmp_path)
    child = get_context("fork").Process(target=int)
    child.start()
    child.join()
    with pytest.raises(BlockingIOError):
        lock(tmp_path)
    release(held)


def test_files_and_links_are_not_locked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(".")
    for name in ("file", "link", "nothing"):
        with pytest.raises(OSError, match=name):
            lock(tmp_path / name)
