from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from align_uniform.files import open_features, open_rows, read_column, read_columns
from tests.files.samples import assert_reads, np, pa, refusal, save, write_arrow, write_parquet
from tests.rows import normal

X = normal(11, 3)


def save_to_disk(folder: Path, parts: int = 2, **columns: Any) -> Path:
    """Write the folder that `datasets.Dataset.save_to_disk` writes, with 11 rows in some files."""
    folder.mkdir(parents=True)
    names = [f"data-{part:05}-of-{parts:05}.arrow" for part in range(parts)]
    for part, name in enumerate(names):
        own = slice(11 * part // parts, 11 * (part + 1) // parts)
        write_arrow(folder / name, {key: values[own] for key, values in columns.items()}, rows_per_batch=4)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("parts", [1, 2, 11])
def test_a_saved_data_set_is_read_in_the_order_of_its_files(parts: int, tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "set", parts, text=[*"abcdefghijk"], x=X.tolist(), label=[*range(11)])
    for place in (folder, f"{folder}/", f"{folder}::x", Path(f"{folder}::x")):
        assert_reads(open_features(place)[0], X)
    assert read_column(folder, "label") == [*range(11)]
    assert [*read_columns(folder)] == ["text", "label"]


def test_features_may_be_columns_of_numbers_or_fixed_lists(tmp_path: Path) -> None:
    fixed = pa.array(X.tolist(), pa.list_(pa.float32(), 3))
    assert_reads(open_rows(save_to_disk(tmp_path / "fixed", x=fixed))[0], X.float())
    columns: dict[str, Any] = {name: X[:, j].tolist() for j, name in enumerate("abc")}
    assert_reads(open_rows(save_to_disk(tmp_path / "columns", **columns))[0], X)
    shaped = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [3]), fixed)
    assert_reads(open_rows(save_to_disk(tmp_path / "shaped", 1, x=shaped))[0], X.float())


def test_a_folder_with_splits_asks_for_one(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_to_disk(tmp_path / "sets" / split, x=X.tolist())
    (tmp_path / "sets" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    message = refusal(open_rows, tmp_path / "sets")
    assert "has the splits train, test; name one of them" in message
    assert_reads(open_features(message.partition("as in ")[2].removesuffix("."))[0], X)


@pytest.mark.parametrize("name", ["../elsewhere.arrow", "/etc/passwd", "sub/x.arrow", ".."])
def test_a_folder_leads_to_no_file_elsewhere(name: str, tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "set", 1, x=X.tolist())
    write_arrow(tmp_path / "elsewhere.arrow", {"x": X.tolist()})
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    message = refusal(open_rows, folder)
    assert "state.json must list files of this folder" in message or "is damaged" in message


@pytest.mark.parametrize(
    "state", ["", "{}", "[]", '{"_data_files": []}', '{"_data_files": [{}]}', "[" * 100_000], ids=len
)
def test_a_damaged_list_of_files_is_one_line(state: str, tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "set", 1, x=X.tolist())
    (folder / "state.json").write_text(state)
    assert refusal(open_rows, folder).startswith(str(folder))


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "set", 2, x=X.tolist())
    write_arrow(folder / "data-00001-of-00002.arrow", {"y": X.tolist()})
    assert "must have the columns of" in refusal(open_rows, folder)


def test_any_other_folder_says_how_to_name_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    assert "is a directory" in refusal(open_rows, folder, error=IsADirectoryError)
    for number in (1, 2):
        write_parquet(folder / f"part_{number}.parquet", {"x": X.tolist()})
        (folder / f"note_{number}.md").write_text("")
    message = refusal(open_features, folder, error=IsADirectoryError)
    (typed,) = shlex.split(message.partition("by a pattern: ")[2].removesuffix("."))
    assert open_features(typed)[0].shape == (22, 3)


@pytest.mark.parametrize("suffix", [".arrow", ".feather"])
def test_both_formats_of_arrow_are_read_whatever_their_ending(suffix: str, tmp_path: Path) -> None:
    path = write_arrow(tmp_path / f"x{suffix}", {"x": X.tolist()}, rows_per_batch=3)
    other = path.rename(tmp_path / ("x.feather" if suffix == ".arrow" else "x.arrow"))
    assert_reads(open_rows(other)[0], X)


def test_offsets_beyond_a_buffer_are_refused(tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "x.arrow", {"x": [[0.5] * 3, [1.5] * 3]})
    offsets = np.array([0, 3, 6], np.int32)
    assert path.read_bytes().count(offsets.tobytes()) == 1
    beyond = np.array([0, 3, 3_000_000], np.int32)
    path.write_bytes(path.read_bytes().replace(offsets.tobytes(), beyond.tobytes()))
    assert "is damaged" in refusal(lambda: open_rows(tmp_path / "x.arrow")[0][:])


def test_a_folder_may_have_the_ending_of_a_file(tmp_path: Path) -> None:
    assert_reads(open_rows(save_to_disk(tmp_path / "set.npy", x=X.tolist()))[0], X)
    save(tmp_path / "x.npy", x=X)
