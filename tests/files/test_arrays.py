from __future__ import annotations

import argparse
import gc
import os
import pickle
import re
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform.files import arrays, held, open_rows, read_column
from tests.files.samples import KEYED, assert_reads, h5py, np, pa, parquet, refusal, save
from tests.rows import normal

feather = pytest.importorskip("pyarrow.feather")


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


@pytest.mark.parametrize("suffix", KEYED)
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


def test_tensors_without_their_numbers_are_refused(tmp_path: Path) -> None:
    for x in (
        torch.eye(3).to_sparse(),
        torch.empty(3, 3, device="meta"),
        torch.zeros(1, 1).expand(10**9, 10**3),
    ):
        torch.save({"x": x}, tmp_path / "x.pt")
        refusal(open_rows, tmp_path / "x.pt")


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


def test_a_torch_that_loads_unsafely_reads_no_pickle_and_says_what_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "SAFE_TORCH", "99")
    torch.save(torch.eye(3), tmp_path / "x.pt")
    message = refusal(open_rows, tmp_path / "x.pt")
    assert "x.pt needs torch 99 or later" in message
    assert "pip install 'torch>=99', or save the rows as .npy or .safetensors" in message


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


def write_bomb(path: Path, x: Any) -> Path:
    """Write an array as compressed as its format can have it, in one piece."""
    match path.suffix:
        case ".npz":
            np.savez_compressed(path, x=x)
        case ".h5":
            with h5py.File(path, "w") as file:
                file.create_dataset("x", data=x, compression="gzip", chunks=x.shape)
        case ".parquet":
            parquet.write_table(
                pa.table({"x": pa.FixedSizeListArray.from_arrays(x.ravel(), x.shape[1])}), path
            )
        case ".feather":
            feather.write_feather(
                pa.table({f"d{j}": x[:, j] for j in range(x.shape[1])}), path, compression="zstd"
            )
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet", ".feather"])
def test_a_small_file_that_becomes_large_is_told_before_it_is_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros, noise = np.zeros((100_000, 16)), normal(2000, 16).numpy()
    assert_reads(open_rows(write_bomb(tmp_path / f"small{suffix}", zeros))[0], torch.from_numpy(zeros))
    monkeypatch.setattr(held, "UNPACKED_BYTES", 2**16)
    path = write_bomb(tmp_path / f"zeros{suffix}", zeros)
    tracemalloc.start()
    message = refusal(lambda: open_rows(path)[0][:1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(path) in message
    stated = re.search(r"takes ([\d,]+) bytes in the file and ([\d,]+) in memory", message)
    assert stated is not None
    packed, unpacked = (int(number.replace(",", "")) for number in stated.groups())
    assert packed <= path.stat().st_size
    assert unpacked > max(2**16, 100 * packed)
    assert "save it without compression as .npy, which is read in parts" in message
    assert peak < zeros.nbytes / 2
    assert_reads(open_rows(write_bomb(tmp_path / f"noise{suffix}", noise))[0], torch.from_numpy(noise))


def test_a_column_of_one_long_text_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "UNPACKED_BYTES", 2**16)
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"text": ["long" * 1000] * 100_000}), path)
    assert "takes" in refusal(read_column, path)
    parquet.write_table(pa.table({"text": [f"{number}" for number in range(20_000)]}), path)
    assert len(read_column(path)) == 20_000


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_that_is_not_compressed_is_mapped(order: str, tmp_path: Path) -> None:
    x = normal(200_000, 16)
    np.savez(tmp_path / "x.npz", y=np.ones(3), x=np.asarray(x.numpy(), order=order))
    (rows,) = open_rows(tmp_path / "x.npz")
    tracemalloc.start()
    assert torch.equal(rows[1000:1010], x[1000:1010])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    assert_reads(rows, x)


# ----------------------------------------------------------------------------------- what holds no plain rows


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        ([[1, 2], [3]], "holds Python objects, which are not loaded, since that may run code"),
        (["a", None], "np.stack(x).astype('float32') for rows, x.astype(str) for a column of text"),
        (
            np.zeros(3, [("a", "f4"), ("b", "f4")]),
            "is an array of records of a, b; save np.lib.recfunctions.",
        ),
    ],
    ids=["lists", "text", "records"],
)
def test_arrays_of_other_things_say_what_to_save(array: Any, expected: str, tmp_path: Path) -> None:
    if isinstance(array, list):
        array = np.array([*array, None], dtype=object)[:-1]
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=array)
    for name in ("x.npy", "x.npz"):
        for read in (open_rows, read_column):
            message = refusal(read, tmp_path / name)
            assert expected in message
            assert "damaged" not in message


X = normal(4, 2)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"epoch": 3, "name": "a"}, "as torch.save writes it, got a dict of epoch (int), name (str)"),
        ([[1.0, 2.0], [3.0, 4.0]], "got a list of list; save tensors"),
        ({}, "got an empty dict"),
        (3, "got int"),
        ([X, X[:2]], "is a list of 2 tensors of shape [4, 2]; save torch.cat(x) if they are batches"),
        ([X, X], "or torch.stack(x) if they are views of the same items"),
        ({"x": X.numpy()}, "_reconstruct, which is not loaded, since that may run code; save tensors alone"),
        ({"x": X, "args": argparse.Namespace(a=1)}, "holds argparse.Namespace, which is not loaded"),
        (X.to_sparse(), "is torch.sparse_coo float64 on cpu; save x.to_dense(), on the CPU"),
    ],
    ids=["no tensors", "lists", "nothing", "a number", "batches", "views", "numpy", "Namespace", "sparse"],
)  # fmt: skip
def test_a_file_of_torch_without_plain_rows_says_what_it_holds(
    held: Any, expected: str, tmp_path: Path
) -> None:
    torch.save(held, tmp_path / "x.pt")
    message = refusal(open_rows, tmp_path / "x.pt")
    assert expected in message
    assert "damaged" not in message


@pytest.mark.parametrize(
    "held",
    [[*X], tuple(X), {"train": {"x": X}, "epoch": 3}, [X, torch.arange(4)], {"a": [{"b": X}]}],
    ids=["list", "tuple", "nested", "rows and labels", "deep"],
)
def test_rows_within_lists_and_dicts_are_found(held: Any, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "x.pt")
    assert_reads(open_rows(tmp_path / "x.pt")[0], X)


def test_hdf5_leads_to_no_other_file(tmp_path: Path) -> None:
    save(tmp_path / "secret.h5", x=normal(5, 2))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    refusal(open_rows, tmp_path / "x.h5", "x")
