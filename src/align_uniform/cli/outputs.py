"""Files that a command writes next to what it prints: these are never lost at the cost of that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from align_uniform._messages import one_line


class Unwritten:
    """The files that could not be written, while the command went on."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Keep an error as the reason why something could not be written, instead of raising it."""
        try:
            yield
        except Exception as error:  # of any library that draws or writes: the numbers are there already
            self.reasons.append(f"{what} could not be written: {str(error) or type(error).__name__}")

    def told(self, code: int) -> int:
        """Print a line for each file that could not be written; return 1 if there is one, else the code."""
        for each in self.reasons:
            print(f"align-uniform: {one_line(each)}", file=sys.stderr)
        return 1 if self.reasons else code
