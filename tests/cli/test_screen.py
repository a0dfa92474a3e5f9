"""What a terminal of 80 columns shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from align_uniform._messages import side_by_side
from align_uniform.cli import main, screen
from tests import rows

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(
    arguments: list[str], folder: Path, *, code: int = 0, stderr: bool = False, **variables: str
) -> str:
    """Return what a command that ends with a code writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "align_uniform", *arguments],
        stdout=theirs, stderr=theirs if stderr else subprocess.DEVNULL, stdin=theirs, cwd=folder,
        env=environment | {"TERM": "xterm"} | variables,
    )  # fmt: skip
    os.close(theirs)
    parts = []
    while True:
        try:
            parts.append(os.read(ours, 65536))
        except OSError:  # the other end is closed
            break
        if not parts[-1]:
            break
    assert process.wait() == code
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def cone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screen")
    np.save(folder / "an_embedding_with_a_long_name.npy", rows.normal(200, 16).numpy() + 1)
    (folder / "labels.txt").write_text("".join(f"class {row % 3}\n" for row in range(200)))
    return folder


@pytest.mark.parametrize("plain", [False, True])
def test_lines_end_between_words_and_the_verdict_has_a_colour(cone: Path, plain: bool) -> None:
    command = ["measure", "an_embedding_with_a_long_name.npy", "--labels", "labels.txt"]
    text = shown(command, cone, NO_COLOR="1") if plain else shown(command, cone)
    lines = [CODES.sub("", line) for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert " ".join(text.split()).count("Subtract the mean of the rows") == 1
    verdict = next(place for place, line in enumerate(lines) if line.startswith("Something is wrong"))
    assert lines[verdict - 1].strip() == ""
    assert ("\x1b[1;31m" in text) == (not plain)


def test_drift_folds_notes_below_each_other_and_colours_the_verdict(cone: Path) -> None:
    name = "an_embedding_with_a_long_name.npy"
    text = shown(["drift", name, name, "--names", "old", "new", "--permutations", "99"], cone)
    lines = [CODES.sub("", line).rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    effect = next(place for place, line in enumerate(lines) if line.startswith("effect "))
    column = lines[effect].index("squared MMD")
    assert len(lines[effect + 1]) - len(lines[effect + 1].lstrip()) == column
    assert "\x1b[1;32mno movement was found" in text


def test_errors_end_between_words(tmp_path: Path) -> None:
    text = shown(["evaluate", "knn", "--weigt", "votes"], tmp_path, code=2, stderr=True)
    assert max(map(len, text.splitlines())) <= 80
    question = "there is no option --weigt; did you mean --weight? (see align-uniform evaluate knn --help)"
    assert " ".join(text.split()) == f"align-uniform: {question}"


@pytest.mark.parametrize("words", [[], ["evaluate"], ["evaluate", "knn"], ["measure"], ["encode"]])
def test_help_fits_the_screen(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*words, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_elsewhere_lines_are_as_long_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    screen.say("word " * 40, "bold red")
    assert capsys.readouterr().out == "word " * 40 + "\n"
    assert screen.width() is None


def test_columns_that_do_not_fit_come_below() -> None:
    table = [["t = 2", "first", "second", "third"], ["gap", "1.0", "2.0", "3.0"]]
    assert side_by_side(table, None).splitlines() == [
        "t = 2  first  second  third",
        "gap      1.0     2.0    3.0",
    ]
    assert side_by_side(table, 20).splitlines() == [
        "t = 2  first  second",
        "gap      1.0     2.0",
        "",
        "t = 2  third",
        "gap      3.0",
    ]
    assert len(side_by_side(table, 1).split("\n\n")) == 3
