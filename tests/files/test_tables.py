from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align_uniform.files import read_column, read_columns
from align_uniform.files.formats import TABLES
from tests.files.samples import TABLE, refusal, write, write_table


@pytest.mark.parametrize("suffix", TABLES)
def test_columns_are_read_with_their_types(suffix: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / f"table{suffix}")
    found = read_columns(path)
    assert found == TABLE
    assert {type(value) for value in found["label"]} == {int}
    assert {type(value) for value in found["score"]} == {float}
    for key, values in TABLE.items():
        assert read_column(path, key) == read_column(f"{path}::{key}") == values


@pytest.mark.parametrize("suffix", TABLES)
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
