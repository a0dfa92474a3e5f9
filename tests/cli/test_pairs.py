"""The table of `--pairs`: named columns, scores, ids, and what is refused rather than ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from align_uniform.cli import main
from tests.cli.printed import printed_json

SENTENCES = "sentence1,sentence2,score\ntext 0,text 1,5\ntext 2,text 3,4.5\ntext 4,text 9,1\n"


@pytest.fixture(autouse=True)
def tables(folder: Path) -> None:
    (folder / "texts.txt").write_text("".join(f"text {i}\n" for i in range(50)))
    (folder / "sts.csv").write_text(SENTENCES)
    (folder / "sts.tsv").write_text(SENTENCES.replace(",", "\t"))
    (folder / "sim.csv").write_text("x,y,similarity\n0,1,5\n2,3,4\n4,9,1\n")
    (folder / "plain.csv").write_text("x,y\n0,1\n2,3\n")
    (folder / "headless.csv").write_text("0,1,5\n2,3,4\n4,9,1\n")
    (folder / "gap.csv").write_text("x,y,score\n0,1,5\n2,3,\n4,9,1\n")
    (folder / "blank.csv").write_text("x,y,score\n0,1,5\n2,3,4\n\n")
    (folder / "indexed.csv").write_text(",x,y\n0,0,1\n1,2,3\n")
    (folder / "numbers.csv").write_text("x,y\n0,1\n2,3\n")
    (folder / "numbers.jsonl").write_text("".join(f'{{"id": "{i}"}}\n' for i in range(50)))
    (folder / "unknown.csv").write_text("x,y\ntext 0,text 99\n")


@pytest.mark.parametrize(
    ("typed", "pairs"),
    [
        ("sts.csv --columns sentence1 sentence2 --ids texts.txt --threshold 4", 2),
        ("sts.tsv --columns sentence1 sentence2 --ids texts.txt --threshold 4.5 --inclusive", 2),
        ("sts.csv --columns sentence1 sentence2 --ids texts.txt --all-pairs", 3),
        ("sim.csv --score similarity --threshold 2", 2),
        ("plain.csv", 2),
        ("blank.csv --threshold 1", 2),
        ("indexed.csv", 2),
        ("numbers.csv --ids numbers.jsonl", 2),
    ],
)
def test_pairs_are_read_from_the_columns_that_are_named(
    typed: str, pairs: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed_json(capsys, "measure", "x.npy", "--pairs", *typed.split())["align"]["pairs"] == pairs


def test_a_column_that_nobody_asked_for_may_have_gaps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ['{"x": 0, "y": 1, "note": null}', '{"x": 2, "y": 3, "note": "good"}']
    (folder / "noted.jsonl").write_text("\n".join(lines))
    assert printed_json(capsys, "measure", "x.npy", "--pairs", "noted.jsonl")["align"]["pairs"] == 2


def test_columns_with_numbers_for_names_are_chosen_where_no_line_of_names_can_be_added(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "nameless.jsonl").write_text('{"0": 0, "1": 1}\n{"0": 2, "1": 3}\n')
    assert main(["measure", "x.npy", "--pairs", "nameless.jsonl"]) != 0
    assert "as in --columns 0 1." in capsys.readouterr().err
    typed = ("measure", "x.npy", "--pairs", "nameless.jsonl", "--columns", "0", "1")
    assert printed_json(capsys, *typed)["align"]["pairs"] == 2


def test_the_number_of_pairs_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "x.npy", "--pairs", "pairs.csv", "--threshold", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "pairs.csv: 3 pairs, from the columns x and y and score\n"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "pairs.csv",
            "pairs.csv has numbers that may be scores in the column score; give --threshold, above",
        ),
        ("sim.csv", "in the column similarity; give --threshold and --score similarity, above which"),
        ("sim.csv --threshold 4", "sim.csv has no column score; say which one has the scores, as in --score"),
        (
            "sim.csv --threshold 4 --score similarty",
            "no column similarty; it has x, y, similarity; did you mean",
        ),
        ("plain.csv --threshold 4", "plain.csv has no column score; it has x, y; leave --threshold out"),
        ("plain.csv --all-pairs", "--all-pairs has no effect: plain.csv has no column of scores"),
        (
            "sts.csv",
            "must have columns x and y, got sentence1, sentence2, score; say which two are the pairs",
        ),
        (
            "sts.csv --columns sentence sentence2",
            "has no column sentence; it has sentence1, sentence2, score",
        ),
        ("headless.csv", "if that is its first row, put a line of names above it: sed -i '1i x,y,score'"),
        (
            "gap.csv --threshold 4",
            "column score of gap.csv must have a number for each pair, got none in pair 1",
        ),
        ("unknown.csv --ids texts.txt", "column y of unknown.csv has 1 id that no row has"),
        ("unknown.csv", "column x of unknown.csv must be row numbers, from 0, got 'text 0'"),
    ],
)
def test_what_would_be_ignored_or_guessed_is_refused(
    typed: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "x.npy", "--pairs", *typed.split()]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
