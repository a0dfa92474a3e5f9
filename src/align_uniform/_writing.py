"""Files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; it takes the place of `path` if nothing goes wrong, and is gone
    otherwise.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_replaceable(path: Path, *, force: bool) -> None:
    """Refuse to write over a file that is there, or into a folder that is not."""
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: there is no folder {path.parent}; make it first.")
    if path.exists() and not force:
        raise ValueError(f"{path} exists already; use --force to replace it.")
