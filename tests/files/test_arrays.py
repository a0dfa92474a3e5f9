from __future__ import annotations

import gc
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform.files import arrays, open_rows, read_column
from tests.files.samples import KEYED, assert_reads, h5py, np, refusal, save
from tests.rows import normal


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


def test_hdf5_leads_to_no_other_file(tmp_path: Path) -> None:
    save(tmp_path / "secret.h5", x=normal(5, 2))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    refusal(open_rows, tmp_path / "x.h5", "x")
