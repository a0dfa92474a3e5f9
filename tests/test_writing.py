from __future__ import annotations

import errno
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


def test_nothing_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "file"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755], ids=oct)
@pytest.mark.parametrize("write", [by_open, by_torch, by_safetensors, for_everyone])
def test_a_file_that_is_replaced_leaves_its_mode(
    write: Callable[[Path], None], mode: int, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    with written_whole(path) as partial:
        write(partial)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("to", ["elsewhere", "nowhere"])
def test_a_link_is_replaced_and_never_followed(to: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "elsewhere").chmod(0o600)
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.symlink_to(tmp_path / to)
    with written_whole(path) as partial:
        partial.write_text("new")
    assert not path.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044  # a link's target does not say its mode
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_what_is_half_written_has_a_name_of_its_own_and_is_nobody_else_s(tmp_path: Path) -> None:
    with written_whole(tmp_path / "file") as first, written_whole(tmp_path / "file") as second:
        assert first.parent != second.parent
        assert {stat.S_IMODE(partial.parent.stat().st_mode) for partial in (first, second)} == {0o700}
        assert not first.exists()
        first.write_text("one")
        second.write_text("two")
    assert (tmp_path / "file").read_text() == "one"  # the last to be complete
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with written_whole(path) as partial:
        partial.touch()
    assert path.exists()


def test_a_file_is_on_the_disk_before_it_takes_its_place_and_its_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    seen: list[tuple[Path, str]] = []

    def noted(descriptor: int) -> None:
        found = os.fstat(descriptor)
        which = next(p for p in (partial, tmp_path) if p.exists() and os.path.samestat(p.stat(), found))
        seen.append((which, path.read_text()))

    monkeypatch.setattr(os, "fsync", noted)
    with written_whole(path) as partial:
        partial.write_text("new")
    assert seen == [(partial, "old"), (tmp_path, "new")]


def test_a_file_that_does_not_reach_the_disk_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), written_whole(tmp_path / "file") as partial:
        partial.write_text("new")
    assert (tmp_path / "file").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_only_force_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    check_replaceable(path, force=False)
    path.touch()
    check_replaceable(path, force=True)
    with pytest.raises(ValueError, match=r"file exists already; use --force to replace it\."):
        check_replaceable(path, force=False)


def test_only_force_replaces_a_link_even_to_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.symlink_to(tmp_path / "nowhere")
    check_replaceable(path, force=True)
    with pytest.raises(ValueError, match=r"file exists already; use --force to replace it\."):
        check_replaceable(path, force=False)


@pytest.mark.parametrize("force", [False, True])
def test_not_even_force_replaces_what_is_no_file(force: bool, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("folder", "link"):
        with pytest.raises(
            ValueError, match=rf"{name} is a folder; give the name of a file in it, such as .*"
        ):
            check_replaceable(tmp_path / name, force=force)
    for name in ("pipe", "null"):
        with pytest.raises(ValueError, match=rf"{name} is no regular file, and only files are replaced"):
            check_replaceable(tmp_path / name, force=force)


def test_a_folder_that_may_not_be_written_in_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)  # root may write everywhere
    with pytest.raises(ValueError, match=r"you may not write in the folder .*; choose another one"):
        check_replaceable(tmp_path / "file", force=True)


def test_a_missing_folder_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*a new; run mkdir -p '.*a new'\."):
        check_replaceable(tmp_path / "a new" / "file", force=True)


def test_an_error_of_the_disk_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/file'"),
        written_whole(tmp_path / "file"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError, match="'elsewhere'"), written_whole(tmp_path / "file"):
        open("elsewhere").close()
    with pytest.raises(OSError, match="not fetched"), written_whole(tmp_path / "file"):
        raise OSError("not fetched")
