from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform.files import open_rows, read_columns
from tests.files.samples import assert_reads, pa, parquet, refusal, save, write_parquet
from tests.rows import normal


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
    x = normal(11, 3, dtype=torch.float32)
    columns = {f"d{j}": x[:, j].numpy() for j in range(3)}
    assert_reads(open_rows(write_parquet(tmp_path / "x.parquet", columns, rows_per_group=4))[0], x)


def test_parquet_reads_the_row_groups_of_a_slice_and_keeps_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = parquet.ParquetFile.iter_batches
    (rows,) = open_rows(save(tmp_path / "x.parquet", x=normal(20, 3)))  # in groups of 4

    def watched(self: Any, size: int, row_groups: list[int], **options: Any) -> Any:
        read.extend(row_groups)
        return plain(self, size, row_groups=row_groups, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", watched)
    assert not read
    rows[5:10], rows[10:11], rows[11:14]
    assert read == [1, 2, 3]


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
    assert "got shape [2]" in refusal(open_rows, write_parquet(path, {"a": [1.0, 2.0], "b": [1.0, 2.0]}), "a")
    assert "got shape [2, 0]" in refusal(open_rows, write_parquet(path, {"a": pa.array([None, [1.0]])}))
    assert "got string" in refusal(open_rows, write_parquet(path, {"a": [["x", "y"]]}))
    (rows,) = open_rows(write_parquet(path, {"a": [1.0, None], "b": [1.0, 2.0]}))
    assert "(key 'a') must have a number in each row" in refusal(rows.__getitem__, slice(None))


def test_a_column_of_another_length_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"x": [1, 2, 3, 4], "y": [5, 6, 7, 8]})
    plain = parquet.ParquetFile.iter_batches

    def short(self: Any, *args: Any, **options: Any) -> Any:
        return list(plain(self, *args, **options))[: 0 if options["row_groups"] == [1] else 1]

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", short)
    assert "(key 'x') is damaged: it must have 4 values, got 2" in refusal(read_columns, path)
