"""Sample files of every format, and the checks of what is read from them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform.files import Rows, Shards
from align_uniform.files.formats import ARRAYS, TABLES
from tests.rows import normal

np = pytest.importorskip("numpy")
h5py = pytest.importorskip("h5py")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
safetensors = pytest.importorskip("safetensors.torch")

OF_ANY_SHAPE = [ending for ending in ARRAYS if ending not in TABLES]
"""Endings of files whose arrays may have any shape; the columns of tables are of one length."""

KEYED = [ending for ending in OF_ANY_SHAPE if ending != ".npy"]

OF_FLOAT64 = [".csv", ".tsv", ".jsonl"]
"""Endings of files of text, whose numbers have no dtype, and are read as float64."""

TABLE: dict[str, list[Any]] = {
    "text": ["a, b", 'say "c"', "ü"],
    "score": [1.5, 2.0, -3e-4],
    "label": [0, 10, -2],
    "id": ["007", "1_0", "12"],
}


def sample(path: Path) -> Path:
    """Write a small file of any format."""
    if path.suffix in ARRAYS:
        return save(path, x=normal(9, 4).float(), label=torch.arange(9))
    return write_table(path) if path.suffix in TABLES else write(path, "0.5\n1\n2\n")


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
            write_parquet(path, {key: list(x.numpy()) for key, x in arrays.items()}, rows_per_group=4)
        case ".arrow" | ".feather":
            write_arrow(path, {key: list(x.numpy()) for key, x in arrays.items()}, rows_per_batch=4)
        case ".csv" | ".tsv" | ".jsonl":
            write_text_table(path, {key: x.tolist() for key, x in arrays.items()})
        case ending:
            raise ValueError(f"say here how an array is written to {ending}")
    return path


def write_table(path: Path) -> Path:
    """Write `TABLE`, and a column of lists where the format has them."""
    match path.suffix:
        case ".parquet":
            write_parquet(path, TABLE | {"x": [[1.0]] * 3})
        case ".arrow" | ".feather":
            write_arrow(path, TABLE | {"x": [[1.0]] * 3})
        case ".jsonl":
            write_text_table(path, TABLE | {"x": [[1.0]] * 3})
        case ".csv" | ".tsv":
            write_text_table(path, TABLE)
        case ending:
            raise ValueError(f"say here how a table is written to {ending}")
    return path


def write_text_table(path: Path, columns: dict[str, list[Any]]) -> Path:
    """Write columns as text; lists as JSON writes them."""
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".jsonl":
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        return write(path, "\n".join(map(json.dumps, objects)) + "\n\n")
    fields = [[json.dumps(item) if isinstance(item, list) else str(item) for item in row] for row in rows]
    if path.suffix == ".tsv":
        return write(path, "".join("\t".join(row) + "\n" for row in [list(columns), *fields]))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([list(columns), *fields])
    return path


def write_arrow(path: Path, columns: Any, rows_per_batch: int = 2) -> Path:
    """Write an Arrow file, in the streaming format if it is called .arrow."""
    table = pa.table(columns)
    new = pa.ipc.new_stream if path.suffix == ".arrow" else pa.ipc.new_file
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return path


def write_parquet(path: Path, columns: Any, rows_per_group: int = 2) -> Path:
    parquet.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(call: Callable[..., object], *arguments: Any, error: type[Exception] = ValueError) -> str:
    """Return the message of the error that a call raises, after checking that it is one line."""
    with pytest.raises(error) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message == " ".join(message.split())
    assert message.isprintable()
    return message


def assert_reads(rows: Rows | Shards, expected: Tensor) -> None:
    assert len(rows) == len(expected)
    assert rows.shape == tuple(expected.shape)
    assert rows.dtype == expected.dtype
    for start, stop in ((None, None), (2, 5), (3, 4), (-2, None), (5, 100), (4, 4), (5, 1)):
        found = rows[start:stop]
        assert torch.equal(found, expected[start:stop])
        assert found.dtype == expected.dtype
        assert found.is_contiguous()
