"""Progress: a bar on a terminal, lines elsewhere, and nothing where it is not wanted."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from align_uniform._progress import Progress, progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_where_stderr_is_no_terminal_a_line_comes_every_so_often(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("pairs", 100, shown=True) as progress:
        progress(5)
        assert capsys.readouterr().err == ""
        clock[0] += 31
        progress(5)
        assert capsys.readouterr().err == "pairs: 10% done, 0:04:39 left\n"
        clock[0] += 29
        progress(5, "more pairs")
        assert capsys.readouterr().err == ""
        clock[0] += 1
        progress(35)
        assert capsys.readouterr().err == "more pairs: 50% done, 0:01:01 left\n"


def test_work_that_was_done_before_is_no_sign_of_speed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("epoch", 100, shown=True, done=80) as progress:
        clock[0] += 40
        progress(10)
        assert capsys.readouterr().err == "epoch: 90% done, 0:00:40 left\n"
        progress.say("a line of its own")
        assert capsys.readouterr().err == "a line of its own\n"


def test_nothing_is_written_unless_it_is_wanted(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("pairs", 10, shown=False) as progress:
        clock[0] += 1000
        progress(5)
        progress.say("a line")
    assert capsys.readouterr().err == ""


BAR = """
from align_uniform._progress import Progress, progress_bar
with progress_bar("pairs [of rows]", 10, shown=True, done=5) as progress:
    progress(1, "more [pairs]")
    progress.say("a line [that] stays")
    progress(4)
"""


def test_on_a_terminal_there_is_a_bar_and_lines_stay_above_it() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", BAR], stderr=theirs, check=True, timeout=120)
    text = os.read(ours, 1 << 16).decode()
    os.close(theirs)
    os.close(ours)
    assert "more [pairs]" in text
    assert "100%" in text
    assert "a line [that] stays\r\n" in text


def test_long_work_says_once_what_would_be_shorter(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    said: list[str] = []

    def hint(seconds: float) -> str | None:
        asked.append(seconds)
        return "use anchors"

    progress = Progress("pairs", 1000, hint=hint)
    monkeypatch.setattr(progress, "say", said.append)
    for _ in range(3):
        clock[0] += 2.0
        progress(10)
    assert asked == [pytest.approx(200, abs=1)]
    assert said == ["use anchors"]
