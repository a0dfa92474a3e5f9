"""Places of rows: one file, or all files that match a pattern, in natural order."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path


def is_pattern(path: Path) -> bool:
    """Whether a path stands for all files that match it, rather than for a file of that very name."""
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def matching(pattern: Path) -> list[Path]:
    """Return the files that match a pattern with `*`, `?` or `[0-9]` in any part, in natural order.

    Hidden files match only a pattern that begins with a dot, as in a shell; `**` stands for any folders.
    """
    return sorted(map(Path, glob.glob(str(pattern), recursive=True)), key=natural_order)


def natural_order(path: Path) -> tuple[list[list[str | int]], str]:
    """Return what paths are sorted by: numbers in names by their values, and everything else as text.

    Example:
        >>> [path.name for path in sorted(map(Path, ["part_10", "part_2", "part_02"]), key=natural_order)]
        ['part_02', 'part_2', 'part_10']
    """
    names = [*path.parent.parts, path.stem, path.suffix]
    pieces = [re.split(r"([0-9]+)", name) for name in names]  # text and digits in turn
    return [[int(piece) if i % 2 else piece for i, piece in enumerate(name)] for name in pieces], str(path)
