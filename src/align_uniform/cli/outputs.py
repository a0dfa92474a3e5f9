"""Files that a command writes next to what it prints: checked before any work, and never at its cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from align_uniform._messages import one_line
from align_uniform._options import spelled
from align_uniform._writing import check_replaceable


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Mapping[str, str | None], *, force: bool
) -> None:
    """Refuse files that cannot be written, that exist, that are written twice, or that are read.

    Args:
        outputs: the path of each file, by the option that names it; None if it is not asked for.
        inputs: the files that are read, by the option that names them.
        force: whether existing files may be replaced.

    Raises:
        ValueError: a file cannot or must not be written.
    """
    taken = {_place(path): name for name, path in inputs.items() if path is not None}
    for name, path in outputs.items():
        if path is None:
            continue
        check_replaceable(path, force=force)
        if (other := taken.setdefault(_place(path), name)) != name:
            raise ValueError(f"{spelled(name)} must be another file than {other}, got {path} for both.")


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


def _place(path: str | Path) -> str:
    return os.path.realpath(str(path).partition("::")[0])
