"""Texts, pictures and outputs: checked before any work, and an error in a report costs no number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align_uniform.cli import main

REPORT = ["measure", "x.npy", "--positives", "y.npy", "--report", "r.html"]


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    texts = [f"text {i}" for i in range(50)]
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")
    (folder / "others.txt").write_text("".join(f"other {i}\n" for i in range(50)))
    (folder / "headed.txt").write_text("\n".join(["text", *texts]) + "\n")
    (folder / "short.txt").write_text("\n".join(texts[:40]) + "\n")
    (folder / "blank.txt").write_text("\n".join(texts) + "\n\n")
    (folder / "headless.csv").write_text("\n".join(texts) + "\n")
    (folder / "nowhere.txt").write_text("".join(f"no/{i}.png\n" for i in range(50)))


@pytest.mark.parametrize("option", ["--texts", "--positive-texts"])
@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "headed.txt",
            "headed.txt must have one value for each of the 50 rows, got 51; if its first line, text,",
        ),
        ("short.txt", "short.txt must have one value for each of the 50 rows, got 40."),
        ("blank.txt", "got 51; it ends in blank lines, remove them: sed -i '51,$d' blank.txt"),
        ("headless.csv", "got 49; its first line is taken for a name"),
        ("gone.txt", "gone.txt does not exist"),
    ],
)
def test_texts_are_counted_before_any_work(
    file: str, message: str, option: str, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("align_uniform.measuring.measure.measure", no_work)
    assert main([*REPORT, option, file]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not Path("r.html").exists()


@pytest.mark.parametrize("option", ["--labels", "--groups", "--ids"])
def test_an_empty_field_is_no_class_and_no_id(
    option: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["" if i == 7 else f"c{i % 5}" for i in range(50)]
    (folder / "two.csv").write_text("id,class\n" + "".join(f"{i},{c}\n" for i, c in enumerate(rows)))
    assert main(["measure", "x.npy", option, "two.csv::class"]) == 1
    error = capsys.readouterr().err
    assert "two.csv::class" in error
    assert "1 of 50 rows with no value (rows 7); leave these rows out" in error
    assert main(["measure", "x.npy", option, "headed.txt"]) == 1


def test_pictures_of_which_none_exists_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*REPORT, "--images", "nowhere.txt"]) == 1
    assert "none of its 50 exists, the first is no/0.png; paths are relative" in capsys.readouterr().err


def test_both_texts_of_a_bad_pair_are_in_the_report(folder: Path) -> None:
    assert main([*REPORT, "--texts", "texts.txt", "--positive-texts", "others.txt"]) == 0
    page = Path("r.html").read_text(encoding="utf-8")
    assert "text 1" in page
    assert "other 1" in page


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "--report x.html --rows-out x.html --force",
            "x.html would be written for both --report and --rows-out",
        ),
        (
            "--rows-out texts.npz --positives texts.npz --force",
            "texts.npz of --rows-out is texts.npz of --positives, which is read",
        ),
        ("--report no/r.html", "there is no folder no"),
        ("--report .", "is a folder"),
        ("--rows-out r.zip", ".npz"),
    ],
)
def test_outputs_are_checked_before_any_work(
    typed: str,
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("align_uniform.measuring.measure.measure", no_work)
    assert main(["measure", "x.npy", *typed.split()]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("it is torn"), RuntimeError("it is torn"), OSError("it is torn")]
)
def test_an_error_in_a_report_costs_no_number(
    error: Exception, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("align_uniform.report.report_html", fail)
    assert main([*REPORT, "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["n"] == 50
    assert printed.err == "align-uniform: the report (r.html) could not be written: it is torn\n"


def no_work(*_: Any, **__: Any) -> None:
    raise AssertionError("it must be refused before")
