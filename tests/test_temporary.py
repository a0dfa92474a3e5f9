from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from align_uniform import _locks, _temporary
from align_uniform._temporary import PREFIX, SUFFIX, temporary_folder

SCRIPT = """
import os, signal, sys
from pathlib import Path
from align_uniform._writing import written_whole
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
with written_whole(Path(sys.argv[1])) as partial, partial.open("w") as file:
    file.write("half")
    file.flush()
    print(partial, flush=True)
    signal.pause()
    file.write(" whole")
"""


def half_written(path: Path, *ignored: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that has written half of a file, and then waits for a signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), *ignored], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def ended_by(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_leaves_nothing_behind_and_ends_the_process_as_ever(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    process, partial = half_written(tmp_path / "file")
    assert partial.read_text() == "half"
    assert ended_by(process, number) == -number
    assert not list(tmp_path.iterdir())


def test_a_signal_that_the_process_ignores_stays_ignored(tmp_path: Path) -> None:
    process, partial = half_written(tmp_path / "file", "SIGHUP")
    process.send_signal(signal.SIGHUP)
    assert ended_by(process, signal.SIGTERM) == -signal.SIGTERM
    assert not partial.exists()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    killed, left = half_written(tmp_path / "file")
    assert ended_by(killed, signal.SIGKILL) == -signal.SIGKILL
    assert left.read_text() == "half"
    living, partial = half_written(tmp_path / "file")
    assert not left.parent.exists()
    with temporary_folder(tmp_path):
        assert partial.read_text() == "half"
    assert ended_by(living, signal.SIGTERM) == -signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_links_with_the_name_of_a_temporary_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    (tmp_path / f"{PREFIX}x{SUFFIX}").symlink_to("other", target_is_directory=True)
    with temporary_folder(tmp_path):
        pass
    assert (tmp_path / f"{PREFIX}x{SUFFIX}" / "precious").exists()


def test_a_folder_that_another_process_removed_as_abandoned_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its locking."""
    lock, times = _locks.lock, []

    def raced(folder: Path) -> int:
        times.append(folder)
        if len(times) == 1:
            raise BlockingIOError
        if len(times) == 2:
            shutil.rmtree(folder)
        elif len(times) == 3:
            locked = lock(folder)
            shutil.rmtree(folder)
            return locked
        return lock(folder)

    monkeypatch.setattr(_temporary, "lock", raced)
    with temporary_folder(tmp_path) as folder:
        assert folder.is_dir()
        assert len(set(times)) == 4


def test_file_systems_without_locks_do_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(folder: Path) -> int:
        raise OSError("not supported")

    monkeypatch.setattr(_temporary, "lock", unsupported)
    with temporary_folder(tmp_path) as first, temporary_folder(tmp_path) as second:
        assert first.is_dir()
        assert second.is_dir()
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing'$"), temporary_folder(tmp_path / "missing"):
        pass


def end_itself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_forked_process_that_ends_removes_nothing_of_its_parent(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        child = get_context("fork").Process(target=end_itself)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGTERM
        assert folder.is_dir()
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
