"""The folder of a run: one run at a time, and a disk that fails costs one line and no more than a batch."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from align_uniform._locks import lock, release
from align_uniform.recipes.pretrain import folder as folders
from align_uniform.recipes.pretrain import two_view
from align_uniform.recipes.pretrain.folder import folder_of_one_run
from align_uniform.recipes.pretrain.log import Log
from align_uniform.recipes.pretrain.loop import Trainer
from tests.recipes.small_runs import brief


def test_a_second_run_is_refused_in_one_line(folder: Path) -> None:
    chosen = brief(folder)
    with (
        folder_of_one_run(chosen.folder),
        pytest.raises(ValueError, match=r"is in use by another run of the same name; wait .* with --out\.$"),
    ):
        two_view.run(chosen)
    assert not chosen.folder.exists()  # which neither of them wrote to
    assert two_view.run(chosen) == 0


def test_a_link_to_the_folder_is_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with folder_of_one_run(tmp_path / "run"), pytest.raises(ValueError, match="in use"):
        folder_of_one_run(tmp_path / "link").__enter__()
    release(lock(tmp_path / "run"))


def test_a_file_system_without_locks_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: Path) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folders, "lock", unsupported)
    with folder_of_one_run(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match=r"file/run cannot be made \(Not a directory\); choose another .* --out"),
        folder_of_one_run(tmp_path / "file" / "run"),
    ):
        pass


def test_folders_that_a_run_made_and_left_empty_are_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), folder_of_one_run(tmp_path / "results" / "run"):
        raise KeyError
    assert not list(tmp_path.iterdir())


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let no file grow beyond this many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_run_resumes(folder: Path) -> None:
    chosen = brief(folder)
    again = "and run the same command again: it"
    with (
        pytest.raises(
            OSError, match=rf"checkpoint\.pt cannot be written \(File too large\), .* {again} starts"
        ),
        small_files(1_000_000),
    ):
        two_view.run(chosen)
    assert two_view.run(brief(folder, steps=1)) == 0
    with (
        pytest.raises(OSError, match=rf"checkpoint\.pt cannot be written .* {again} resumes at its last"),
        small_files(1_000_000),
    ):
        two_view.run(chosen)
    assert two_view.run(chosen) == 0
    assert (chosen.folder / "encoder.pth").exists()


def test_a_run_that_is_never_resumed_is_told_how(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoint.pt").touch()
    for resume, again in (("never", "command again with --resume auto: it"), ("auto", "command again: it")):
        with (
            pytest.raises(OSError, match=rf"run the same {again} resumes at its last"),
            folder_of_one_run(run, resume),
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run / "x"))


def vanishing(save: Callable[[Trainer], None]) -> Callable[[Trainer], None]:
    def remove_and_save(trainer: Trainer) -> None:
        shutil.rmtree(trainer.folder)
        save(trainer)

    return remove_and_save


def test_a_folder_that_vanishes_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = brief(folder)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "save", vanishing(Trainer.save))
        with pytest.raises(
            OSError, match=r"checkpoint\.pt cannot be written \(No such file or directory\), and so"
        ):
            two_view.run(chosen)
    assert two_view.run(chosen) == 0


def test_a_log_that_cannot_be_written_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Log, "write", full)
    chosen = brief(folder)
    with pytest.raises(
        OSError, match=rf"{chosen.folder} cannot be written \(No space left on device\), and so"
    ):
        two_view.run(chosen)


def test_errors_about_other_files_are_as_they_were(tmp_path: Path) -> None:
    for error in (FileNotFoundError("digits are not there"), PermissionError(13, "denied", "/elsewhere/x")):
        with pytest.raises(type(error)) as raised, folder_of_one_run(tmp_path / "run"):
            raise error
        assert raised.value is error
