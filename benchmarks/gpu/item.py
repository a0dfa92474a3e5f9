"""An item: the smallest piece of a part that is run, recorded, and can fail by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Record: TypeAlias = dict[str, Any]
"""Numbers and words about one item, as they are written to the JSON."""


class Item(NamedTuple):
    """A piece of work, and its name."""

    name: str
    run: Callable[[], Record]
    """The function that returns the results.

    It raises `LeftOut` where it cannot be run here, anything else where it fails.
    """


class LeftOut(Exception):  # noqa: N818  # an outcome, no error
    """An item cannot be run on this machine, or not to its end.

    Args:
        message: why.
        found: the results that it found all the same.
    """

    def __init__(self, message: str, found: Record | None = None) -> None:
        super().__init__(message)
        self.found = found or {}


class Failed(Exception):  # noqa: N818  # an outcome as well
    """An item ran, and its results are wrong.

    Args:
        message: what is wrong, in a line or a few.
        found: the results that it found all the same.
    """

    def __init__(self, message: str, found: Record) -> None:
        super().__init__(message)
        self.found = found
