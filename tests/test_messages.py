"""Messages: one line, short, and printed on any console."""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import align_uniform
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


# ----------------------------------------------------------------------------------------------------- counts

NOUNS = """
alignments anchors batches bytes channels classes columns comparisons counts differences dimensions embeddings
encoders epochs exchanges features fields files folders ids images items iterations keys labels lines matrices
neighbours numbers pairs parameters pictures processes queries ranks rows samples searches seeds steps tokens
values views
"""
PLURAL = re.compile(rf" (?:\w+ )?(?:{'|'.join(NOUNS.split())})\b")
"""A noun in the plural, perhaps with a word before it."""


def uncounted(source: str) -> Iterator[str]:
    """Yield the numbers that stand before a noun in the plural, which `counted` would put into the singular.

    A number is known by `len` or by its separator of thousands; constants are no counts.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for part, after in pairwise(node.values):
            if isinstance(part, ast.FormattedValue) and isinstance(after, ast.Constant):
                words = ast.unparse(part.value)
                spec = "" if part.format_spec is None else ast.unparse(part.format_spec)
                is_number = words.startswith("len(") or spec in ("f','", 'f","')
                if is_number and not words.isupper() and PLURAL.match(str(after.value)):
                    yield f"line {node.lineno}: {words}{str(after.value)[:20]}"


@pytest.mark.parametrize(
    "folder", ["cli", "files", "figures", "geometry", "integrations", "measuring", "recipes", "report"]
)
def test_counts_are_spelled_in_one_place(folder: str) -> None:
    paths = (Path(align_uniform.__file__).parent / folder).rglob("*.py")
    found = {str(path): [*uncounted(path.read_text(encoding="utf-8"))] for path in paths}
    assert len(found) > 3
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('f"{len(rows)} rows"', 1),
        ('f"of {n:,} test images."', 1),
        ('f"{len(classes)} classes, {len(x):,} queries"', 2),
        ("f\"{counted(n, 'row')} of {n:,}\"", 0),
        ('f"{name} rows"', 0),
        ('f"{LEAST:,} rows"', 0),
    ],
)
def test_a_count_that_is_spelled_by_hand_is_found(source: str, count: int) -> None:
    assert len([*uncounted(source)]) == count
