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
        ("x.csv", "a,b\n1,2\n3\n", "must have 2 fields a row, as its first line has, got 1 in line 3"),
        ("x.csv", "a,a\n1,2\n", "name each column once in its first line, got a twice"),
        ("x.csv", 'a,b\n1,"2\n', "line 2, is damaged or is not comma-separated"),
        ("x.csv", 'a,b\n1,"2"3\n', "line 2, is damaged or is not comma-separated"),
        ("x.csv", "a,b\n1,2\n\n3,4\n", "got 0 in line 3"),
        ("x.tsv", '"a"\t"b"\n"c"\t1\n', ".tsv has no quoting; write it without"),
        ("x.tsv", "a\tb\n1\t2\n3\n", "got 1 in line 3"),
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


def test_a_tsv_has_no_quoting(tmp_path: Path) -> None:
    lines = ["text\tscore", '"Yes\t5', "a cat\t3", 'he said "no"\t2', 'bye"\t1', '"a"\t0']
    found = read_columns(write(tmp_path / "sts.tsv", "\n".join(lines) + "\n"))
    assert found["score"] == [5, 3, 2, 1, 0]
    assert found["text"] == ['"Yes', "a cat", 'he said "no"', 'bye"', '"a"']


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('text,score\n"Yes,5\na cat,3\nbye",1\n', "line 2 that makes one field of lines 2 to 4"),
        ('text,score\na dog,4\n"Yes,5\nbye",1\n', "line 3 that makes one field of lines 3 to 4"),
        ('a,b\n"u0,u1\nu2,u3"\n', "line 2 that makes one field of lines 2 to 3"),
        ('score,text\n1,"Yes\n2,no"\n3,a\n', "line 2 that makes one field of lines 2 to 3"),
        ('score,text\r\n1,"Yes\r\n2,no"\r\n', "line 2 that makes one field of lines 2 to 3"),
    ],
)
def test_lines_that_a_quotation_mark_would_swallow_are_refused(text: str, lines: str, tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    path.write_bytes(text.encode())
    message = refusal(read_columns, path)
    assert lines in message
    assert "save the table as .tsv" in message


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ('text,score\n"two\nlines",5\na cat,3\n', ["two\nlines", "a cat"]),
        ('text,score\n"Dear, hi\nyes",5\na cat,3\n', ["Dear, hi\nyes", "a cat"]),
        ('text,score\n"say ""yes"", or","5"\na cat,3\n', ['say "yes", or', "a cat"]),
        ('text,score\n5" pipe,3\na 6",1\n', ['5" pipe', 'a 6"']),
        ('text\n"a\nb"\nc\n', ["a\nb", "c"]),
    ],
)
def test_quotation_marks_that_are_well_formed_are_read(text: str, texts: list[str], tmp_path: Path) -> None:
    assert read_columns(write(tmp_path / "x.csv", text))["text"] == texts


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\n\n\n"])
def test_blank_lines_at_the_end_are_no_rows(suffix: str, end: str, tmp_path: Path) -> None:
    separator = {".csv": ",", ".tsv": "\t"}[suffix]
    path = write(tmp_path / f"x{suffix}", f"a{separator}b\n1{separator}2" + end)
    assert read_columns(path) == {"a": [1], "b": [2]}
    assert read_column(write(tmp_path / f"y{suffix}", "a\n1\n2" + end)) == [1, 2]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_field_may_have_any_length(suffix: str, tmp_path: Path) -> None:
    separator = {".csv": ",", ".tsv": "\t"}[suffix]
    path = write(tmp_path / f"x{suffix}", f"text{separator}score\n{'a' * 200_000}{separator}1\n")
    assert read_columns(path)["text"] == ["a" * 200_000]
