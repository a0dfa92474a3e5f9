from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from align_uniform._writing import check_replaceable, written_whole


@pytest.fixture(params=[0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def by_open(path: Path) -> None:
    path.write_bytes(b"new")


def by_torch(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def by_safetensors(path: Path) -> None:
    pytest.importorskip("safetensors.torch").save_file({"x": torch.zeros(3)}, path)


def for_the_owner_alone(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def for_everyone(path: Path) -> None:
    path.touch()
    path.chmod(0o777)


@pytest.mark.parametrize("write", [by_open, by_torch, by_safetensors, for_the_owner_alone, for_everyone])
def test_whoever_writes_the_umask_decides_the_mode(
    write: Callable[[Path], None], umask: int, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    with written_whole(path) as partial:
        write(partial)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_file_stays_as_it_was_if_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), written_whole(path) as partial:
        partial.write_text("ü", encoding="ascii")  # which opens the file first
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_an_interrupted_process_left_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / ".file.partial"
    left.write_text("half")
    left.chmod(0o400)
    with written_whole(tmp_path / "file") as partial:
        for_the_owner_alone(partial)
        partial.write_text("new")
    assert (tmp_path / "file").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_nothing_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "file"):
        pass
    assert not list(tmp_path.iterdir())


def test_only_force_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    check_replaceable(path, force=False)
    path.touch()
    check_replaceable(path, force=True)
    with pytest.raises(ValueError, match=r"file exists already; use --force to replace it\."):
        check_replaceable(path, force=False)


def test_a_missing_folder_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*a new; run mkdir -p '.*a new'\."):
        check_replaceable(tmp_path / "a new" / "file", force=True)
