"""Columns of a table as rows, in every format of tables."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform.files import open_features, open_rows, read_column, read_columns
from align_uniform.files.formats import TABLES
from tests.files.samples import (
    OF_FLOAT64,
    assert_reads,
    np,
    pa,
    refusal,
    write,
    write_arrow,
    write_parquet,
    write_text_table,
)
from tests.rows import normal

X = normal(7, 3)
FEATURES = {f"d{j}": X[:, j].tolist() for j in range(3)}


def table(path: Path, columns: dict[str, list[Any]]) -> Path:
    match path.suffix:
        case ".parquet":
            return write_parquet(path, columns, rows_per_group=3)
        case ".arrow" | ".feather":
            return write_arrow(path, columns, rows_per_batch=3)
        case _:
            return write_text_table(path, columns)


@pytest.mark.parametrize("suffix", TABLES)
def test_columns_of_fractions_are_rows(suffix: str, tmp_path: Path) -> None:
    assert_reads(open_rows(table(tmp_path / f"x{suffix}", FEATURES))[0], X)


@pytest.mark.parametrize("suffix", TABLES)
def test_the_only_column_of_lists_is_rows_whatever_else_there_is(suffix: str, tmp_path: Path) -> None:
    columns = {"id": list("abcdefg"), "n": [*range(7)], "score": [0.5] * 7, "x": X.tolist()}
    path = table(tmp_path / f"x{suffix}", columns)
    assert_reads(open_rows(path)[0], X)
    assert_reads(open_rows(path, "x")[0], X)
    both = table(tmp_path / f"two{suffix}", {"x": X.tolist(), "y": X.tolist()})
    assert f"say which one to read, as in {both}::x." in refusal(open_rows, both)


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize(
    "odd",
    [
        {"id": list("abcdefg")},
        {"label": [*range(7)]},
        {"a": list("abcdefg"), "label": [*range(7)]},
        {"is_new": [True, False] * 3 + [True]},
        {"dx": list("abcdefg")},
    ],
    ids=lambda odd: " ".join(odd),
)
def test_odd_columns_are_named_and_the_remedy_leaves_them_out(
    suffix: str, odd: dict[str, list[Any]], tmp_path: Path
) -> None:
    path = table(tmp_path / f"a table{suffix}", odd | FEATURES)
    message = refusal(open_rows, path)
    assert message.startswith(f"{path} must be features alone, but {next(iter(odd))} (")
    if "dx" in odd:
        assert message.endswith("may be labels or ids; if so, write a file without dx.")
        return
    (typed,) = shlex.split(message.partition("by a pattern: ")[2].removesuffix("."))
    assert typed == f"{path}::d*"
    assert_reads(open_features(typed)[0], X)
    assert all(name in message for name in odd)


@pytest.mark.parametrize("suffix", TABLES)
def test_whole_numbers_are_features_only_if_that_is_said(suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path / f"x{suffix}", {"a": [1, 2, 3], "b": [0, 0, 5]})
    message = refusal(open_rows, path)
    assert "must have columns of fractions or lists of numbers, got a (int64), b (int64)" in message
    (typed,) = shlex.split(message.partition("say so: ")[2].removesuffix("."))
    assert_reads(open_features(typed)[0], torch.tensor([[1.0, 0], [2, 0], [3, 5]], dtype=torch.float64)[:3])


@pytest.mark.parametrize("suffix", TABLES)
def test_a_pattern_takes_columns_in_the_order_of_the_file(suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path / f"x{suffix}", {"d1": [1.5, 2.5], "e": [0.5, 0.5], "d0": [3, 4]})
    assert open_rows(path, "d[01]")[0][:].tolist() == [[1.5, 3.0], [2.5, 4.0]]
    assert "has no key 'z*'; it has d1" in refusal(open_rows, path, "z*")
    text = table(tmp_path / f"text{suffix}", {"da": ["a", "b"], "d0": [0.5, 1.5]})
    assert "must be features alone, but da (" in refusal(open_rows, text, "d*")


def test_dtypes_of_features_are_the_widest(tmp_path: Path) -> None:
    narrow = {"a": pa.array(np.array([1.5, 2.5], np.float16)), "b": pa.array([0.1, 0.2], pa.float32())}
    rows = open_rows(write_parquet(tmp_path / "x.parquet", narrow))[0]
    assert rows.dtype == rows[:].dtype == torch.float32
    packed = {name: pa.array([1, 2], pa.int8()) for name in "ab"}
    assert open_rows(write_parquet(tmp_path / "i.parquet", packed))[0].dtype == torch.int8


# -------------------------------------------------------------------------------------------- pandas' index


def of_pandas(columns: dict[str, Any], index: list[Any]) -> Any:
    """Return a table with the metadata that pandas writes."""
    table = pa.table(columns)
    return table.replace_schema_metadata({"pandas": json.dumps({"index_columns": index, "columns": []})})


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize(
    "index",
    [
        ["__index_level_0__"],
        ["id"],
        ["id", "__index_level_1__"],
        [{"kind": "range", "name": None, "start": 0, "stop": 7, "step": 1}],
        [],
    ],
    ids=str,
)
def test_the_index_of_a_dataframe_is_no_feature(index: list[Any], suffix: str, tmp_path: Path) -> None:
    named = [name for name in index if isinstance(name, str)]
    columns = FEATURES | {name: [float(i) for i in range(7)] for name in named}
    write_table = write_parquet if suffix == ".parquet" else write_arrow
    path = write_table(tmp_path / f"x{suffix}", of_pandas(columns, index))
    assert_reads(open_rows(path)[0], X)
    for name in named:
        assert read_column(path, name) == [float(i) for i in range(7)]


@pytest.mark.parametrize("metadata", ["", "{", '{"index_columns": 3}', "[" * 100_000, "[]"], ids=len)
def test_metadata_that_is_no_word_of_pandas_hides_nothing(metadata: str, tmp_path: Path) -> None:
    columns = pa.table(FEATURES).replace_schema_metadata({"pandas": metadata})
    assert_reads(open_rows(write_parquet(tmp_path / "x.parquet", columns))[0], X)


def test_a_column_without_a_name_is_an_index(tmp_path: Path) -> None:
    path = write_text_table(tmp_path / "x.csv", {"": [float(2 * i) for i in range(7)], **FEATURES})
    assert_reads(open_rows(path)[0], X)
    labels = write_text_table(tmp_path / "labels.csv", {"": [0, 1, 2], "label": list("aba")})
    assert read_column(labels) == read_column(f"{labels}::") == ["a", "b", "a"]
    three = write_text_table(tmp_path / "three.csv", {"": [0, 1], "a": [0, 1], "b": [0, 1]})
    message = refusal(read_column, three)
    assert message.endswith(f"say which one to read, as in {three}::a.")
    assert read_column(message.rpartition("as in ")[2].removesuffix(".")) == [0, 1]


# ------------------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize("suffix", OF_FLOAT64)
@pytest.mark.parametrize("missing", ["", "NA", "?"])
def test_a_missing_number_is_named_with_its_row(suffix: str, missing: str, tmp_path: Path) -> None:
    path = table(tmp_path / f"x{suffix}", FEATURES | {"d1": [0.5, 1.5, missing, 2.5, 3.5, 4.5, 5.5]})
    assert f"must have a number in each row, but d1 has {missing!r} in row 2; leave that row out" in refusal(
        open_rows, path
    )


@pytest.mark.parametrize(
    ("lists", "got"),
    [
        (["[1, 2]", "[1]"], "lists of 2 numbers, as the first is, got 1 number in row 1"),
        (["[1, 2]", '[1, "b"]'], "lists of numbers, got could not convert string to float: 'b' in row 1"),
        (["[1, 2]", "[[1, 2]]"], "got shape [1, 2] in row 1"),
        (["[1, 2]", "3"], "lists of 2 numbers, as the first is, got 3 in row 1"),
        (["[1, 2]", "null"], "lists of 2 numbers, as the first is, got None in row 1"),
        (["[1, 2]", "[1, {}]"], "in row 1; leave that row out"),
    ],
)
def test_lists_that_are_no_rows_are_named_with_their_row(lists: list[str], got: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", "".join(f'{{"id": "a", "x": {each}}}\n' for each in lists))
    message = refusal(open_rows, path)
    assert message.startswith(f"{path} (key 'x') must be ")
    assert got in message


def test_lists_may_be_written_as_numpy_prints_them(tmp_path: Path) -> None:
    x = X.numpy()
    lines = "".join(f"{i},{np.array2string(row, floatmode='unique')}\n" for i, row in enumerate(x))
    assert_reads(open_rows(write(tmp_path / "x.csv", f"id,x\n{lines}"))[0], X)
    cut = write(tmp_path / "cut.csv", "id,x\n0,[0.1 ... 0.2]\n")
    assert (
        "(key 'x') must be lists of numbers, got could not convert string to float: '...' in row 0"
        in refusal(open_rows, cut)
    )


def test_whole_numbers_beyond_64_bits_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", f"a,b\n0.5,{10**30}\n1.5,2\n")
    assert open_rows(path, "*")[0][:].tolist() == [[0.5, 1e30], [1.5, 2.0]]


def test_a_table_of_features_is_still_a_table(tmp_path: Path) -> None:
    for suffix in TABLES:
        path = table(tmp_path / f"x{suffix}", {"id": ["a", "b"], "x": [[1.0], [2.0]]})
        assert read_column(path, "id") == ["a", "b"]
        assert re.match("id", next(iter(read_columns(path))))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_first_line_of_numbers_is_no_row_that_is_lost(suffix: str, tmp_path: Path) -> None:
    path, delimiter = tmp_path / f"a table{suffix}", "," if suffix == ".csv" else "\t"
    np.savetxt(path, X.numpy(), delimiter=delimiter)
    message = refusal(open_rows, path)
    assert "must name its columns in the first line, got numbers; put names above them" in message
    subprocess.run(["bash", "-c", message.partition("put names above them: ")[2]], check=True, timeout=60)
    assert_reads(open_rows(path)[0], X)


def test_names_may_be_whole_numbers(tmp_path: Path) -> None:
    path = write_text_table(tmp_path / "x.csv", {str(j): X[:, j].tolist() for j in range(3)})
    assert_reads(open_rows(path)[0], X)
