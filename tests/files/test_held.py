from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import torch

from align_uniform._messages import LISTED
from align_uniform.files import open_rows, read_column, read_columns, split_key
from tests.files.samples import KEYED, assert_reads, refusal, save, write, write_parquet
from tests.rows import normal


@pytest.mark.parametrize("suffix", KEYED)
def test_a_key_chooses_and_may_stand_behind_the_path(suffix: str, tmp_path: Path) -> None:
    x, y = normal(5, 2), normal(6, 2, seed=1)
    path = save(tmp_path / f"two{suffix}", x=x, y=y)
    for (rows,) in (open_rows(path, "y"), open_rows(f"{path}::y"), open_rows(Path(f"{path}::y"))):
        assert_reads(rows, y)
        assert rows.name == f"{path} (key 'y')"


def test_keys_are_split_at_two_colons() -> None:
    assert split_key("a/x.h5::epoch/3::x") == (Path("a/x.h5"), "epoch/3::x")
    assert split_key("c:/x.npy") == (Path("c:/x.npy"), None)
    assert split_key("x.npy::") == (Path("x.npy"), None)


@pytest.mark.parametrize("suffix", KEYED)
def test_the_only_array_of_rows_needs_no_key(suffix: str, tmp_path: Path) -> None:
    x = normal(5, 2)
    path = save(
        tmp_path / f"one{suffix}", label=torch.arange(5), tokens=torch.ones(5, 9, dtype=torch.int64), x=x
    )
    assert_reads(open_rows(path)[0], x)


@pytest.mark.parametrize("suffix", KEYED)
def test_a_wrong_key_lists_those_that_exist(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"two{suffix}", x=normal(5, 2), y=normal(6, 2).float())
    message = refusal(open_rows, path, "z")
    assert message.startswith(f"{path} has no key 'z'; it has x [5, 2] ")
    assert "y [6, 2] " in message


@pytest.mark.parametrize("suffix", KEYED)
def test_several_arrays_and_no_key_are_listed(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"two{suffix}", a=torch.arange(5), x=normal(5, 2), y=normal(6, 2))
    message = refusal(open_rows, path)
    assert "a [5] " in message
    assert "x [5, 2] " in message
    assert message.endswith(f"say which one to read, as in {path}::x.")


def test_a_long_list_of_keys_is_cut(tmp_path: Path) -> None:
    path = save(tmp_path / "many.pt", **{f"layer{i}": normal(2, 2) for i in range(1000)})
    assert refusal(open_rows, path).count("layer") == LISTED + 1


def test_a_key_where_there_are_none_is_refused(tmp_path: Path) -> None:
    assert "leave the key out" in refusal(open_rows, save(tmp_path / "x.npy", x=normal(5, 2)), "x")


def test_a_missing_path_names_what_is_near(tmp_path: Path) -> None:
    save(tmp_path / "test.npz", x=normal(5, 2))
    assert "near it there is test.npz" in refusal(open_rows, tmp_path / "test.npy", error=FileNotFoundError)
    assert "near it there is test.npz" in refusal(
        open_rows, tmp_path / "tset.npz::x", error=FileNotFoundError
    )
    assert "nothing in" in refusal(open_rows, tmp_path / "embeddings.h5", error=FileNotFoundError)
    assert "there is no folder" in refusal(read_column, tmp_path / "no" / "x.csv", error=FileNotFoundError)
    assert "is a directory" in refusal(open_rows, tmp_path, error=IsADirectoryError).lower()


@pytest.mark.parametrize("target", ["gone.npy", "/no/such folder/x.npy", "."], ids=str)
def test_a_link_to_nowhere_is_named_with_its_target(target: str, tmp_path: Path) -> None:
    link = tmp_path / "a link.npy"
    link.symlink_to(tmp_path / "gone" if target == "." else target)
    path = link / "x.npy" if target == "." else link
    message = refusal(open_rows, path, error=FileNotFoundError)
    assert message.startswith(
        f"{link} is a link to {link.readlink()}, which does not exist; correct the link: "
    )
    save(tmp_path / "right.npy", x=normal(5, 2))
    command = message.partition("correct the link: ")[2].replace(
        "TARGET", shlex.quote(str(tmp_path / "right.npy"))
    )
    subprocess.run(shlex.split(command), check=True, timeout=60)
    assert open_rows(link)[0].shape == (5, 2)


def test_names_with_line_breaks_stay_on_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "two.pt", **{"a\nb": normal(5, 2), "\x1b[1mc\u2028d": normal(5, 2)})
    assert "a b [5, 2]" in refusal(open_rows, path)


def test_values_that_are_missing_or_no_values_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"a": [1, None], "b": ["x", "y"]})
    assert "(key 'a') must hold text or numbers, got None at item 1" in refusal(read_columns, path)
    assert read_column(path, "b") == ["x", "y"]
    assert "at least one item" in refusal(read_column, write(tmp_path / "x.txt", ""))
    assert "got (1+0j) at item 0" in refusal(
        read_column, save(tmp_path / "x.npy", x=torch.ones(2, dtype=torch.cfloat))
    )
    (tmp_path / "latin.csv").write_bytes("a\nü\n".encode("latin-1"))
    assert "UnicodeDecodeError" in refusal(read_column, tmp_path / "latin.csv")
