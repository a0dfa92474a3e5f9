from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from align_uniform.files import open_features, open_rows, open_shards, read_column
from tests.files.samples import KEYED, assert_reads, h5py, np, refusal, save
from tests.rows import normal

X = normal(40, 6)


@pytest.mark.parametrize("suffix", KEYED)
@pytest.mark.parametrize("rows", [6, 40])
def test_one_vector_for_each_id_is_rows_with_ids(suffix: str, rows: int, tmp_path: Path) -> None:
    vectors = {f"item {i}": x for i, x in enumerate(X[:rows])}
    path = save(tmp_path / f"x{suffix}", **vectors)
    (found,) = open_rows(path)
    assert found.ids is not None
    assert sorted(found.ids) == sorted(vectors)
    assert_reads(found, torch.stack([vectors[name] for name in found.ids]))
    message = refusal(open_rows, path, "item 0")
    assert f"is one row; leave the key out to read all {rows}, each with its id" in message
    assert read_column(path, "item 0") == X[0].tolist()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit to lower")
def test_more_vectors_than_files_can_be_open_are_read(tmp_path: Path) -> None:
    import resource

    vectors = normal(100, 4).numpy()
    np.savez(tmp_path / "x.npz", **{f"item {i}": x for i, x in enumerate(vectors)})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, limits[1]))
    try:
        (found,) = open_rows(tmp_path / "x.npz")
        assert_reads(found, torch.from_numpy(vectors))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_ids_may_be_numbers_or_groups_and_dtypes_may_differ(tmp_path: Path) -> None:
    torch.save(
        {7: X[0].float(), 3: X[1].double(), 5: X[2].half(), 1: X[3], 2: X[4], 0: X[5]}, tmp_path / "x.pt"
    )
    (rows,) = open_rows(tmp_path / "x.pt")
    assert rows.ids == ("7", "3", "5", "1", "2", "0")
    assert rows.dtype == torch.float64
    assert torch.equal(rows[1:2], X[1:2])
    save(tmp_path / "x.h5", **{f"split{i % 2}/{i}": X[i] for i in range(6)})
    assert open_rows(tmp_path / "x.h5")[0].ids == tuple(
        f"split{s}/{i}" for s in (0, 1) for i in range(s, 6, 2)
    )


def test_shards_have_the_ids_of_their_files(tmp_path: Path) -> None:
    for part in (2, 10):
        save(tmp_path / f"part_{part}.pt", **{f"{part}-{i}": X[i] for i in range(6)})
    (rows,) = open_shards(tmp_path / "*.pt")
    assert rows.ids == tuple(f"{part}-{i}" for part in (2, 10) for i in range(6))
    save(tmp_path / "part_11.pt", x=X)
    assert open_shards(tmp_path / "*.pt")[0].ids is None


@pytest.mark.parametrize("suffix", KEYED)
def test_other_vectors_are_no_rows(suffix: str, tmp_path: Path) -> None:
    for number, arrays in enumerate(
        (
            {"a": normal(500), "b": normal(500)},  # two columns
            {"a": normal(4), "b": normal(4), "c": normal(4), "d": normal(4), "e": normal(5)},
            {f"{i}": torch.arange(4) for i in range(9)},
        )
    ):
        message = refusal(open_rows, save(tmp_path / f"{number}{suffix}", **arrays))
        assert "must hold rows [N, m] of floating point, int8 or uint8, but has " in message


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "bsr_matrix", "coo_matrix", "dia_matrix"])
def test_a_sparse_matrix_says_how_to_save_it_dense(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scipy = pytest.importorskip("scipy.sparse")
    monkeypatch.chdir(tmp_path)
    scipy.save_npz("s.npz", getattr(scipy, kind)(X.numpy()))
    message = refusal(open_rows, "s.npz")
    assert message.startswith("s.npz is a sparse matrix (data, ")
    assert "is a part of a sparse matrix" in refusal(open_rows, "s.npz", "data")
    exec(
        message.partition("save it dense: ")[2].removesuffix("."),
        {"np": np, "scipy": __import__("scipy.sparse")},
    )
    assert_reads(open_rows("x.npy")[0], X)


def test_a_sparse_matrix_in_a_group_is_told_unless_there_are_rows(tmp_path: Path) -> None:
    parts = {"X/data": normal(9), "X/indices": torch.arange(9), "X/indptr": torch.arange(5)}
    assert "is a sparse matrix (X/data, X/indices, X/indptr)" in refusal(
        open_rows, save(tmp_path / "x.h5", **parts)
    )
    assert_reads(open_rows(save(tmp_path / "y.h5", **parts, pca=X))[0], X)


# --------------------------------------------------------------------------------------------- links of HDF5


@pytest.mark.parametrize("key", ["", "::x", "::t"])
def test_numbers_in_other_files_are_refused_with_their_place(key: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret\n" * 100)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        place = [(str(tmp_path / "secret.txt"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("x", (5, 2), "f4", external=place)
        file.create_dataset("t", (20,), "S9", external=place)
    assert "leads to" in refusal(open_features, f"{path}{key}")
    message = refusal(read_column, path, "t")
    assert f"(key 't') leads to {tmp_path / 'secret.txt'}, another file, and is not followed" in message


def test_virtual_datasets_and_links_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "other.h5", x=X)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(X.shape, "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", X.shape)
        file.create_virtual_dataset("virtual", layout)
        file["external"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        file["group/soft"] = h5py.SoftLink("/external")
    for key, place in (("virtual", "a virtual dataset"), ("external", "other.h5, another file")):
        assert place in refusal(open_rows, path, key)
        assert place in refusal(read_column, path, key)
    message = refusal(open_rows, path, "group/soft")
    assert f"is a link; give what it leads to: {path}::/external." in message
    assert "leads to" in refusal(open_features, f"{path}::/external")
