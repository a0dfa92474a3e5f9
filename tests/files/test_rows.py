from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform.files import open_rows, open_shards
from align_uniform.files.formats import ARRAYS
from align_uniform.files.rows import DTYPES
from tests.files.samples import OF_ANY_SHAPE, OF_FLOAT64, assert_reads, np, refusal, save
from tests.rows import normal


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("suffix", ARRAYS)
def test_a_slice_equals_the_array_that_was_written(suffix: str, name: str, tmp_path: Path) -> None:
    dtype = getattr(torch, name)
    if dtype == torch.bfloat16 and suffix not in (".pt", ".pth", ".safetensors", *OF_FLOAT64):
        pytest.skip("numpy has no bfloat16")
    x = (10 * normal(11, 3)).to(dtype)
    (rows,) = open_rows(save(tmp_path / f"x{suffix}", x=x))
    assert_reads(rows, x.double() if suffix in OF_FLOAT64 else x)


@pytest.mark.parametrize("suffix", OF_ANY_SHAPE)
def test_three_dimensions_are_views(suffix: str, tmp_path: Path) -> None:
    x = normal(2, 7, 3)
    views = open_rows(save(tmp_path / f"x{suffix}", x=x))
    assert len(views) == 2
    for v, rows in enumerate(views):
        assert rows.name.endswith(f", view {v}")
        assert_reads(rows, x[v])


def test_only_slices_of_step_1_are_read(tmp_path: Path) -> None:
    (rows,) = open_rows(save(tmp_path / "x.npy", x=normal(5, 2)))
    wrong: Any
    for wrong in (0, slice(0, 4, 2), slice(None, None, -1), (slice(2), 0)):
        assert "slices of step 1" in refusal(rows.__getitem__, wrong)


def test_rows_are_the_readers_own(tmp_path: Path) -> None:
    for suffix in ARRAYS:
        (rows,) = open_rows(save(tmp_path / f"x{suffix}", x=normal(6, 2)))
        rows[:].zero_()
        assert torch.equal(rows[:], normal(6, 2)), suffix


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
        ValueError, match=r"e\.npy must have 1 view of 4 features as .*a\.npy has, got 1 of 5"
    ):
        open_shards(tmp_path / "*.npy")
    with pytest.raises(FileNotFoundError, match=r"no file matches .*\*\.h5"):
        open_shards(tmp_path / "*.h5")


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
    lazy = [suffix for suffix in ARRAYS if suffix not in OF_FLOAT64]
    paths = [save(tmp_path / f"x{suffix}", x=torch.zeros(20_000, 128)) for suffix in lazy]
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
    assert len(grown) == len(lazy)
    assert all(int(size) < 5000 for size in grown.values()), grown  # KiB, of 10,000


@pytest.mark.parametrize("shape", [(3,), (), (2, 2, 2, 2), (0, 3), (3, 0), (0, 3, 2)], ids=str)
@pytest.mark.parametrize("suffix", OF_ANY_SHAPE)
def test_other_shapes_are_refused(suffix: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    message = refusal(open_rows, save(tmp_path / f"x{suffix}", x=torch.ones(shape)))
    assert str(tmp_path / f"x{suffix}") in message
    assert f"got shape {list(shape)}" in message


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("suffix", OF_ANY_SHAPE)
def test_other_dtypes_are_refused(suffix: str, dtype: torch.dtype, tmp_path: Path) -> None:
    message = refusal(open_rows, save(tmp_path / f"x{suffix}", x=torch.ones(5, 2).to(dtype)))
    assert "must be of float16, bfloat16, float32, float64, int8 or uint8, got" in message
