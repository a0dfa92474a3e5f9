"""The words of messages: on one line, short whatever they quote, and printable on any console."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

LONGEST = 4000
"""The number of characters of the longest message."""

LONGEST_NAME = 80
"""The number of characters of the longest name in a list."""

LEAST_ROOM = 24
"""The number of columns that are enough for a text to go on in the last column of a table."""

LISTED = 20
"""The number of names of the longest list."""

_PLAIN = {
    "±": "+/-", "→": "->", "−": "-", "–": "-", "—": "-", "…": "...", "‖": "||", "·": "*", "×": "x", "≥": ">=",
    "≤": "<=", "≠": "!=", "²": "^2", "√": "sqrt ", "α": "alpha", "τ": "tau", "“": '"', "”": '"', "‘": "'",
    "’": "'",
}  # fmt: skip
"""The spelling of characters of our own output on a console that lacks them."""

_HANDLER = "align_uniform.plain"


def one_line(text: str) -> str:
    r"""Return a text on one line, with a space in place of characters that cannot be printed.

    The middle of a text of more than `LONGEST` characters is left out: what is wrong stands at the beginning
    of a message, and what to do about it at the end.

    >>> one_line("a name\nof two lines")
    'a name of two lines'
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def shortened(name: object, most: int = LONGEST_NAME) -> str:
    """Return the beginning of a name, or all of it if it is short.

    >>> shortened("abcdefgh", most=6)
    'abc...'
    """
    text = str(name)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the singular for one.

    >>> counted(1, "row"), counted(1500, "row"), counted(2, "class", "classes")
    ('1 row', '1,500 rows', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def listed(names: Iterable[object], most: int = LISTED) -> str:
    """Return names with commas between them: the first ones, each shortened, and how many more there are.

    >>> listed("abcd", most=2)
    'a, b and 2 more'
    """
    every = [*names]
    shown = ", ".join(shortened(name) for name in every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most:,} more"


def folded(text: str, stream: TextIO) -> str:
    """Return lines that end between words where a stream is a terminal; elsewhere the text as it is.

    A line goes on below its last column, which begins after two spaces, unless little room is left there.

    Args:
        text: lines of any length.
        stream: the stream that they are written to.
    """
    if not stream.isatty():
        return text
    width = _columns_of(stream)
    lines: list[str] = []
    for line in text.split("\n"):
        columns = [found.end() for found in re.finditer(r" {2,}", line)]
        hang = columns[-1] if columns and columns[-1] <= width - LEAST_ROOM else 0
        lines += textwrap.wrap(
            line, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def _columns_of(stream: TextIO) -> int:
    try:
        columns = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size(stream.fileno()).columns
    except ValueError:
        columns = os.get_terminal_size(stream.fileno()).columns
    return columns or 80  # a terminal may not know its size


def side_by_side(rows: Sequence[Sequence[str]], most: int | None) -> str:
    """Return a table of labels and columns of numbers; columns that do not fit come in a block below.

    Args:
        rows: the label and the cells of each row, the headings first.
        most: the columns of the screen; None for one block.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    blocks: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        used = widths[0] + sum(2 + widths[each] for each in blocks[-1])
        if blocks[-1] and most is not None and used + 2 + widths[column] > most:
            blocks.append([])
        blocks[-1].append(column)
    return "\n\n".join(
        "\n".join(
            "  ".join([row[0].ljust(widths[0]), *(row[each].rjust(widths[each]) for each in block)]).rstrip()
            for row in rows
        )
        for block in blocks
    )


def print_anywhere() -> None:
    """Make stdout replace characters that its encoding lacks, which would otherwise raise an error.

    Characters of our own output are spelled in ASCII, as in +/-; all others become question marks.
    """
    codecs.register_error(_HANDLER, _plain)
    reconfigure = getattr(
        sys.stdout, "reconfigure", None
    )  # a stream of a notebook or of a test may have none
    if reconfigure is not None:
        reconfigure(errors=_HANDLER)


def print_json(text: str) -> None:
    """Print a JSON document; characters that the encoding of stdout lacks are escaped as JSON does it."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    sys.stdout.write(f"{text}\n")


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in lacking), error.end
