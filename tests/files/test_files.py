from __future__ import annotations

import gc
import json
import os
import pickle
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform import files
from align_uniform.files import Rows, open_rows, open_shards, read_column, read_columns, split_key
from tests.rows import normal

np = pytest.importorskip("numpy")
h5py = pytest.importorskip("h5py")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
safetensors = pytest.importorskip("safetensors.torch")

HALF, BRAIN, SINGLE, DOUBLE, BYTE = torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8
SUFFIXES = [".npy", ".npz", ".pt", ".pth", ".safetensors", ".h5", ".hdf5", ".parquet"]
KEYED = [".npz", ".pt", ".safetensors", ".h5"]


def save(path: Path, **arrays: Tensor) -> Path:
    """Write arrays by the plain means of their libraries."""
    match path.suffix:
        case ".npy":
            np.save(path, arrays["x"].numpy())
        case ".npz":
            np.savez(path, **{key: x.numpy() for key, x in arrays.items()})
        case ".pt" | ".pth":
            torch.save(arrays, path)
        case ".safetensors":
            safetensors.save_file(arrays, path)
        case ".h5" | ".hdf5":
            with h5py.File(path, "w") as file:
                file.update({key: x.numpy() for key, x in arrays.items()})
        case ".parquet":
            parquet.write_table(
                pa.table({key: list(x.numpy()) for key, x in arrays.items()}), path, row_group_size=4
            )
    return path


def write_parquet(path: Path, columns: Any, rows_per_group: int = 2) -> Path:
    parquet.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(call: Callable[..., object], *arguments: Any, error: type[Exception] = ValueError) -> str:
    """The message of the error, which is one line."""
    with pytest.raises(error) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message == " ".join(message.split())
    assert message.isprintable()
    return message


def assert_reads(rows: Rows, expected: Tensor) -> None:
    assert len(rows) == len(expected)
    assert rows.shape == tuple(expected.shape)
    assert rows.dtype == expected.dtype
    for part in (
        slice(None),
        slice(2, 5),
        slice(3, 4),
        slice(-2, None),
        slice(5, 100),
        slice(4, 4),
        slice(5, 1),
    ):
        found = rows[part]
        assert torch.equal(
            found,
            expected[max(part.start or 0, -len(expected)) : part.stop] if part != slice(5, 1) else found[:0],
        )
        assert found.dtype == expected.dtype
        assert found.is_contiguous()


# What is written is read.


@pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE, DOUBLE, BYTE], ids=str)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_slice_equals_the_array_that_was_written(suffix: str, dtype: torch.dtype, tmp_path: Path) -> None:
    if dtype == BRAIN and suffix not in (".pt", ".pth", ".safetensors"):
        pytest.skip("numpy has no bfloat16")
    x = (10 * normal(11, 3)).to(dtype)
    (rows,) = open_rows(save(tmp_path / f"x{suffix}", x=x))
    assert_reads(rows, x)


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".parquet"])
def test_three_dimensions_are_views(suffix: str, tmp_path: Path) -> None:
    x = normal(2, 7, 3)
    views = open_rows(save(tmp_path / f"x{suffix}", x=x))
    assert len(views) == 2
    for v, rows in enumerate(views):
        assert rows.name.endswith(f", view {v}")
        assert_reads(rows, x[v])


@pytest.mark.parametrize("suffix", KEYED)
def test_a_key_chooses_and_may_stand_behind_the_path(suffix: str, tmp_path: Path) -> None:
    x, y = normal(5, 2), normal(6, 2, seed=1)
    path = save(tmp_path / f"two{suffix}", x=x, y=y)
    for (rows,) in (open_rows(path, "y"), open_rows(f"{path}::y"), open_rows(Path(f"{path}::y"))):
        assert_reads(rows, y)
        assert rows.name == f"{path} (key 'y')"


@pytest.mark.parametrize("suffix", KEYED)
def test_the_only_array_of_rows_needs_no_key(suffix: str, tmp_path: Path) -> None:
    x = normal(5, 2)
    path = save(
        tmp_path / f"one{suffix}", label=torch.arange(5), tokens=torch.ones(5, 9, dtype=torch.int64), x=x
    )
    assert_reads(open_rows(path)[0], x)


def test_a_bare_tensor_and_the_format_of_old_torch_are_read(tmp_path: Path) -> None:
    x = normal(5, 2)
    torch.save(torch.nn.Parameter(x), tmp_path / "bare.pt")
    torch.save({"x": x, "epoch": 3}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("bare.pt", "old.pt"):
        (rows,) = open_rows(tmp_path / name)
        assert_reads(rows, x)
        assert not rows[:].requires_grad


def test_strides_and_the_other_order_of_bytes_are_read(tmp_path: Path) -> None:
    x = normal(5, 2)
    np.save(tmp_path / "columns.npy", np.asfortranarray(x.numpy()))
    np.save(tmp_path / "big.npy", x.numpy().astype(">f8"))
    torch.save(normal(2, 5).T, tmp_path / "columns.pt")
    assert_reads(open_rows(tmp_path / "columns.npy")[0], x)
    assert_reads(open_rows(tmp_path / "big.npy")[0], x)
    assert_reads(open_rows(tmp_path / "columns.pt")[0], normal(2, 5).T)


def test_compressed_arrays_are_read(tmp_path: Path) -> None:
    x = torch.zeros(4000, 64)  # which deflates a thousandfold
    np.savez_compressed(tmp_path / "x.npz", x=x.numpy())
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=x.numpy(), compression="gzip", compression_opts=9, chunks=(4000, 64))
    for name in ("x.npz", "x.h5"):
        assert_reads(open_rows(tmp_path / name)[0], x)


def test_hdf5_groups_are_keys_with_slashes(tmp_path: Path) -> None:
    path = save(tmp_path / "x.h5", **{"epoch 3/train/x": normal(6, 2), "y": normal(5, 2)})
    for key in ("epoch 3/train/x", "/epoch 3/train/x"):
        assert_reads(open_rows(f"{path}::{key}")[0], normal(6, 2))


def test_an_open_hdf5_file_outlives_the_garbage_collector(tmp_path: Path) -> None:
    (rows,) = open_rows(save(tmp_path / "x.h5", x=normal(6, 2)))
    gc.collect()
    assert_reads(rows, normal(6, 2))


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float64(), 3)], ids=str
)
def test_parquet_lists_of_every_kind_are_rows(kind: Any, tmp_path: Path) -> None:
    x = normal(11, 3)
    path = write_parquet(
        tmp_path / "x.parquet", {"id": list(range(11)), "x": pa.array(x.tolist(), kind)}, rows_per_group=4
    )
    assert_reads(open_rows(path)[0], x)


def test_parquet_without_lists_is_a_table_of_features(tmp_path: Path) -> None:
    x = normal(11, 3, dtype=SINGLE)
    columns = {f"d{j}": x[:, j].numpy() for j in range(3)}
    assert_reads(open_rows(write_parquet(tmp_path / "x.parquet", columns, rows_per_group=4))[0], x)


def test_parquet_reads_the_row_groups_of_a_slice_and_keeps_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = parquet.ParquetFile.read_row_group

    def watched(self: Any, i: int, *args: Any) -> Any:
        read.append(i)
        return plain(self, i, *args)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", watched)
    (rows,) = open_rows(save(tmp_path / "x.parquet", x=normal(20, 3)))  # in groups of 4
    assert not read
    rows[5:10], rows[10:11], rows[11:14]
    assert read == [1, 2, 3]


# Nothing more is read than is asked for.


def test_a_slice_of_a_40_gb_file_costs_a_slice(tmp_path: Path) -> None:
    path, shape = tmp_path / "x.npy", (40 * 2**30 // 512, 128)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 512 * shape[0])
    if path.stat().st_blocks * 512 > 2**20:
        pytest.skip("this file system has no sparse files")
    start, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (rows,) = open_rows(path)
    assert rows.shape == shape
    assert torch.equal(rows[-1000:], torch.zeros(1000, 128))
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 2**17  # KiB


def test_opening_reads_a_small_part_of_a_file(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"x{suffix}", x=torch.zeros(20_000, 128)) for suffix in SUFFIXES]
    script = (
        "import sys, resource, torch, numpy, h5py, pyarrow.parquet, safetensors\n"
        "from align_uniform.files import open_rows\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    rows = open_rows(path)\n"
        "    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    print(path, after - before)\n"
        "    before = after\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True, timeout=120
    )
    grown = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines())
    assert len(grown) == len(SUFFIXES)
    assert all(int(size) < 5000 for size in grown.values()), grown  # KiB, of 10,000


def test_importing_costs_no_library_of_a_format() -> None:
    script = (
        "import sys, torch; before = set(sys.modules); import align_uniform.files; "
        "print(*(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert "align_uniform.files" in result.stdout
    assert not {"h5py", "pyarrow", "safetensors", "numpy"} & set(result.stdout.split())


def test_rows_are_the_readers_own(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (rows,) = open_rows(save(tmp_path / f"x{suffix}", x=normal(6, 2)))
        rows[:].zero_()
        assert torch.equal(rows[:], normal(6, 2)), suffix


# What is not as it should be is said in one line.


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
    assert message.endswith(f"say which one to read, as in two{suffix}::x.")


def test_a_long_list_of_keys_is_cut(tmp_path: Path) -> None:
    path = save(tmp_path / "many.pt", **{f"layer{i}": normal(2, 2) for i in range(1000)})
    assert refusal(open_rows, path).count("layer") == files.LISTED_KEYS + 1


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


def test_an_unknown_ending_lists_the_known(tmp_path: Path) -> None:
    path = write(tmp_path / "x.xlsx", "")
    assert ".npy, .npz, .pt" in refusal(open_rows, path)
    assert ".csv, .tsv, .jsonl, .parquet" in refusal(read_columns, path)
    assert ".txt" in refusal(read_column, path)


@pytest.mark.parametrize("shape", [(3,), (), (2, 2, 2, 2), (0, 3), (3, 0), (0, 3, 2)], ids=str)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".h5"])
def test_other_shapes_are_refused(suffix: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    message = refusal(open_rows, save(tmp_path / f"x{suffix}", x=torch.ones(shape)))
    assert str(tmp_path / f"x{suffix}") in message
    assert f"got shape {list(shape)}" in message


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".h5"])
def test_other_dtypes_are_refused(suffix: str, dtype: torch.dtype, tmp_path: Path) -> None:
    message = refusal(open_rows, save(tmp_path / f"x{suffix}", x=torch.ones(5, 2).to(dtype)))
    assert "must be of float16, bfloat16, float32, float64 or int8, got" in message


def test_tensors_without_their_numbers_are_refused(tmp_path: Path) -> None:
    for x in (
        torch.eye(3).to_sparse(),
        torch.empty(3, 3, device="meta"),
        torch.zeros(1, 1).expand(10**9, 10**3),
    ):
        torch.save({"x": x}, tmp_path / "x.pt")
        refusal(open_rows, tmp_path / "x.pt")


@pytest.mark.parametrize("last", [[3.0], [], [3.0, None], None], ids=str)
@pytest.mark.parametrize("filler", [1, 5], ids=["in the first row group", "in a later one"])
def test_ragged_and_null_lists_are_refused(
    filler: int, last: list[float | None] | None, tmp_path: Path
) -> None:
    for kind in (pa.list_(pa.float64()), pa.list_(pa.float64(), 2)):
        if kind == pa.list_(pa.float64(), 2) and last in ([3.0], []):
            continue  # arrow itself does not write them
        path = write_parquet(tmp_path / "x.parquet", {"x": pa.array([[0.0, 0.0]] * filler + [last], kind)})
        (rows,) = open_rows(path)
        assert refusal(rows.__getitem__, slice(None)).startswith(
            f"{path} (key 'x') must be lists of 2 numbers"
        )


def test_parquet_that_is_no_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    assert "a [2] double" in refusal(open_rows, write_parquet(path, {"a": [1.0, 2.0], "b": ["x", "y"]}))
    assert "got shape [2]" in refusal(open_rows, write_parquet(path, {"a": [1.0, 2.0], "b": [1.0, 2.0]}), "a")
    assert "double and int64" in refusal(open_rows, write_parquet(path, {"a": [1.0, 2.0], "b": [1, 2]}))
    assert "got shape [2, 0]" in refusal(open_rows, write_parquet(path, {"a": pa.array([None, [1.0]])}))
    assert "got string" in refusal(open_rows, write_parquet(path, {"a": [["x", "y"]]}))
    (rows,) = open_rows(write_parquet(path, {"a": [1.0, None], "b": [1.0, 2.0]}))
    assert "(key 'a') must have a number in each row" in refusal(rows.__getitem__, slice(None))


def test_only_slices_of_step_1_are_read(tmp_path: Path) -> None:
    (rows,) = open_rows(save(tmp_path / "x.npy", x=normal(5, 2)))
    wrong: Any
    for wrong in (0, slice(0, 4, 2), slice(None, None, -1), (slice(2), 0)):
        assert "slices of step 1" in refusal(rows.__getitem__, wrong)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_another_format_is_refused(suffix: str, tmp_path: Path) -> None:
    for content in (b"", b"\0" * 100, b"text\n" * 100, b"PK\x05\x06" + b"\0" * 18):
        path = tmp_path / f"x{suffix}"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        assert refusal(open_rows, path).startswith(str(path))


@pytest.mark.parametrize("module", ["numpy", "h5py", "pyarrow", "safetensors"])
def test_a_missing_library_names_the_pip_command(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix = {"numpy": ".npy", "h5py": ".h5", "pyarrow": ".parquet", "safetensors": ".safetensors"}[module]
    path = save(tmp_path / f"x{suffix}", x=normal(5, 2))
    for name in (
        [name for name in sys.modules if name.split(".")[0] == module] if module == "pyarrow" else [module]
    ):
        monkeypatch.setitem(sys.modules, name, None)
    message = refusal(open_rows, path)
    assert message.startswith(module)
    assert "pip install 'align-uniform[files]'" in message


# A file is a stranger.


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_pickle_is_not_executed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    trap = Trap(marker)
    torch.save({"x": trap}, tmp_path / "zip.pt")
    torch.save({"x": trap}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    np.save(tmp_path / "array.npy", np.array([[trap]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "array.npz", x=np.array([[trap]], dtype=object))
    for name in ("plain.npy", "plain.npz", "plain.pt"):
        (tmp_path / name).write_bytes(pickle.dumps(trap))
    for path in sorted(tmp_path.iterdir()):
        refusal(open_rows, path)
        refusal(read_column, path)
        assert not marker.exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())
    assert marker.exists(), "the trap is none"


def test_a_shape_beyond_the_file_allocates_nothing(tmp_path: Path) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**40, 128)}
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with h5py.File(tmp_path / "x.h5", "w") as hdf5:
        hdf5.create_dataset("x", shape=(2**40, 128), dtype="f4", chunks=(1024, 128), compression="gzip")
    for name in ("x.npz", "x.npy", "x.h5"):
        refusal(open_rows, tmp_path / name)


def test_hdf5_leads_to_no_other_file(tmp_path: Path) -> None:
    save(tmp_path / "secret.h5", x=normal(5, 2))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    refusal(open_rows, tmp_path / "x.h5", "x")


def test_names_with_line_breaks_stay_on_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "two.pt", **{"a\nb": normal(5, 2), "\x1b[1mc\u2028d": normal(5, 2)})
    assert "a b [5, 2]" in refusal(open_rows, path)


# Columns.

TABLE = {
    "text": ["a, b", 'say "c"', "ü"],
    "score": [1.5, 2.0, -3e-4],
    "label": [0, 10, -2],
    "id": ["007", "1_0", "12"],
}


def write_table(path: Path) -> Path:
    rows = list(zip(*TABLE.values(), strict=True))
    if path.suffix == ".parquet":
        return write_parquet(path, TABLE | {"x": [[1.0]] * 3})
    if path.suffix == ".jsonl":
        return write(
            path,
            "\n".join(json.dumps(dict(zip(TABLE, row, strict=True)) | {"x": [1.0]}) for row in rows) + "\n\n",
        )
    between = "," if path.suffix == ".csv" else "\t"
    fields = [list(TABLE), *rows]
    return write(
        path,
        "".join(
            between.join(f'"{str(field).replace(chr(34), chr(34) * 2)}"' for field in row) + "\r\n"
            for row in fields
        ),
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_columns_are_read_with_their_types(suffix: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / f"table{suffix}")
    found = read_columns(path)
    assert found == TABLE
    assert {type(value) for value in found["label"]} == {int}
    assert {type(value) for value in found["score"]} == {float}
    for key, values in TABLE.items():
        assert read_column(path, key) == read_column(f"{path}::{key}") == values


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_several_columns_and_no_key_are_listed(suffix: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / f"table{suffix}")
    assert "text, score, label, id" in refusal(read_column, path)
    assert "has no key 'z'; it has text, score, label, id." in refusal(read_column, path, "z")


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "2"], [1, 2]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1", " 2e3", "NaN"], None),
        (["01", "2"], ["01", "2"]),
        (["1", ""], ["1", ""]),
        (["true", "false"], ["true", "false"]),
        (["1", "[2]"], ["1", "[2]"]),
        (["9" * 5000, "1.5"], ["9" * 5000, "1.5"]),
        (["9" * 400, "1.5"], ["9" * 400, "1.5"]),
        (["[" * 100_000, "1"], ["[" * 100_000, "1"]),
    ],
)
def test_a_column_is_numbers_if_every_text_is_one(
    texts: list[str], values: list[Any] | None, tmp_path: Path
) -> None:
    found = read_column(write(tmp_path / "x.txt", "\n".join(texts) + "\n"))
    if values is None:
        assert found[:2] == [1.0, 2000.0]
        assert found[2] != found[2]
    else:
        assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


def test_lines_of_text_may_hold_any_character_but_the_line_break(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffa, b\r\n\r\nc\u2028d\x0be".encode())
    assert read_column(path) == ["a, b", "", "c\u2028d\x0be"]


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors", ".h5"])
def test_one_dimension_is_a_column(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"x{suffix}", x=normal(3, 2), label=torch.tensor([3, 1, 2]))
    assert read_column(path) == read_column(path, "label") == [3, 1, 2]
    assert "must be a column [N], got shape [3, 2]" in refusal(read_column, path, "x")


def test_arrays_of_text_are_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array(["a", "ü"]))
    np.save(tmp_path / "bytes.npy", np.array([b"a", b"b"]))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["id"] = ["a", "ü"]
    assert read_column(tmp_path / "x.npy") == read_column(tmp_path / "x.h5") == ["a", "ü"]
    assert read_column(tmp_path / "bytes.npy") == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.csv", "", "got an empty one"),
        ("x.csv", "a,b\n", "at least one item"),
        ("x.csv", "a,b\n1,2\n3\n", "must have 2 fields a row, got 1 in row 3"),
        ("x.csv", "a,a\n1,2\n", "name each column once"),
        ("x.csv", 'a,b\n1,"2\n', "is damaged or is not comma-separated"),
        ("x.jsonl", "", "got an empty one"),
        ("x.jsonl", '{"a": 1}\n{"b": 1}\n', "must have the keys a in each line, got b in 2"),
        ("x.jsonl", '{"a": 1}\n[1]\n', "line 2, is damaged or is not UTF-8 text of one JSON object a line"),
        ("x.jsonl", '{"a": 1}\n{"a"\n', "line 2, is damaged"),
        ("x.jsonl", '{"a": 1}\n{"a": null}\n', "(key 'a') must hold text or numbers, got None at item 1"),
        ("x.jsonl", '{"a": 1}\n{"a": [1]}\n', "got [1] at item 1"),
        ("x.jsonl", '{"a": ' + "[" * 100_000, "line 1, is damaged"),
    ],
)
def test_what_is_no_table_is_refused(name: str, text: str, expected: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, text)
    for call in (lambda: read_columns(path), lambda: read_column(path, "a")):
        message = refusal(call)
        assert message.startswith(str(path))
        assert expected in message


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


def test_keys_are_split_at_two_colons() -> None:
    assert split_key("a/x.h5::epoch/3::x") == (Path("a/x.h5"), "epoch/3::x")
    assert split_key("c:/x.npy") == (Path("c:/x.npy"), None)
    assert split_key("x.npy::") == (Path("x.npy"), None)


def test_files_that_match_a_star_are_the_rows_of_one(tmp_path: Path) -> None:
    whole = np.arange(40, dtype=np.float32).reshape(10, 4)
    for name, part in (("b", whole[3:4]), ("a", whole[:3]), ("c", whole[4:].astype(np.float16))):
        np.save(tmp_path / f"{name}.npy", part)
    (shards,) = open_shards(tmp_path / "*.npy")
    assert (shards.shape, len(shards), shards.dtype) == ((10, 4), 10, torch.float32)
    for start, stop in ((0, 10), (2, 5), (3, 4), (4, 9), (9, 10), (7, 7)):
        np.testing.assert_array_equal(shards[start:stop].numpy(), whole[start:stop])
    np.savez(tmp_path / "d.npz", x=whole[None], y=whole)
    (view,) = open_shards(f"{tmp_path}/*.npz::x")
    assert view.shape == (10, 4)
    np.save(tmp_path / "e.npy", np.ones((2, 5)))
    with pytest.raises(
        ValueError, match=r"e\.npy must have 1 views of 4 features as .*a\.npy has, got 1 of 5"
    ):
        open_shards(tmp_path / "*.npy")
    with pytest.raises(FileNotFoundError, match=r"no file matches .*\*\.h5"):
        open_shards(tmp_path / "*.h5")
