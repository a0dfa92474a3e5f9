"""Messages: one line, short, and printed on any console."""

from __future__ import annotations

import io
import sys

import pytest

from align_uniform._messages import LISTED, LONGEST, LONGEST_NAME, listed, one_line, print_anywhere, shortened


def test_a_message_keeps_its_beginning_and_its_end() -> None:
    text = one_line("what is wrong: " + "x" * 10**6 + "; what to do")
    assert len(text) <= LONGEST + 10
    assert text.startswith("what is wrong: ")
    assert text.endswith("; what to do")
    assert one_line("short") == "short"
    assert one_line("a\x1b[1m\nb\u2028c\ud800") == "a [1m b c"


def test_a_list_of_names_is_short_whatever_their_number_and_length() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(range(LISTED)).endswith(f", {LISTED - 1}")
    assert listed(range(10**6)).endswith(", 19 and 999,980 more")
    assert len(listed(["x" * 10**6] * 10**3)) < (LISTED + 1) * (LONGEST_NAME + 2)
    assert shortened("x" * 81) == "x" * 77 + "..."


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("ascii", b"0.1 +/- 0.2 ?"), ("cp1252", b"0.1 \xb1 0.2 ?"), ("cp437", b"0.1 \xf1 0.2 ?")],
)
def test_what_an_encoding_lacks_is_spelled_or_replaced(
    encoding: str, printed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    print_anywhere()
    sys.stdout.write("0.1 ± 0.2 尺")
    sys.stdout.flush()
    assert raw.getvalue() == printed


def test_a_stream_that_cannot_be_reconfigured_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    print_anywhere()
