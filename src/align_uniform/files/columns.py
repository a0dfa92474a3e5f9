"""Columns of a table as rows: a column of lists, or columns of numbers side by side."""

from __future__ import annotations

import fnmatch
import glob
import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from align_uniform._messages import listed
from align_uniform.files.held import Array, File, Index, Key

FLOATS = ("float16", "float32", "float64")
"""The dtypes of numbers that may be told from ids and labels, the narrowest first."""

WHOLE = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
"""The dtypes of whole numbers, which may be features, ids or labels."""

Getter = Callable[[Index], Any]
"""A function that reads the part of an array at an index."""


class Columns(dict[Key, Array]):
    """The columns of a table as arrays, and under None its features if they need no choice.

    Features are the columns of numbers side by side, unless there is a column of lists. Whole numbers next
    to fractions may be labels or ids: they are features only where a pattern of names asks for them.

    Args:
        file: the table.
        arrays: each column: numbers [N], lists of numbers [N, m], or anything else with a dtype in words.
        count: the number of rows.
        side_by_side: returns a function that reads columns of numbers as a matrix of a dtype.
        index: the columns that are no features, since they number or name the rows.
    """

    def __init__(
        self,
        file: File,
        arrays: Mapping[str, Array],
        count: int,
        side_by_side: Callable[[list[str], str], Getter],
        index: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.update(arrays)
        self._file, self._count, self._side_by_side = file, count, side_by_side
        names = [name for name in arrays if name not in index]
        if names and not any(len(array.shape) > 1 for array in arrays.values()):
            self[None] = self._together(names, self._odd(names))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, str) and bool(self._matching(key)))

    def __missing__(self, pattern: Key) -> Array:
        """Return the columns whose names match a pattern such as d*, whole numbers included."""
        names = self._matching(pattern or "")
        if not names:
            raise KeyError(pattern)
        return self._together(names, [name for name in names if self[name].dtype not in (*FLOATS, *WHOLE)])

    def _matching(self, pattern: str) -> list[str]:
        if not glob.has_magic(pattern):
            return []
        return [name for name in self if name is not None and fnmatch.fnmatchcase(name, pattern)]

    def _odd(self, names: list[str]) -> list[str]:
        """Return the columns that may be no features: not of fractions, unless all of them are bytes."""
        dtypes = {self[name].dtype for name in names}
        if len(dtypes) == 1 and dtypes <= {"int8", "uint8"}:
            return []
        return [name for name in names if self[name].dtype not in FLOATS]

    def _together(self, names: list[str], odd: list[str]) -> Array:
        dtypes = {self[name].dtype for name in names}
        dtype = next((each for each in reversed(FLOATS) if each in dtypes), "float64")
        if len(dtypes) == 1 and dtypes <= {"int8", "uint8"}:
            (dtype,) = dtypes
        elif dtypes & {*WHOLE}:
            dtype = "float64"
        problem = self._problem(names, odd) if odd else ""
        read = self._side_by_side(names, dtype)
        return Array((self._count, len(names)), dtype, read, problem=problem)

    def _problem(self, names: list[str], odd: list[str]) -> str:
        """Return which columns are no features, and how to do without them."""
        if problems := [f"{name} {self[name].problem}" for name in odd if self[name].problem]:
            return f"must have a number in each row, but {problems[0]}; leave that row out"
        others = [name for name in names if name not in odd]
        what = listed(f"{name} ({self[name].dtype})" for name in odd)
        if not others:
            whole = all(self[name].dtype in WHOLE for name in odd)
            remedy = (
                f"if they are features, say so: {self._file.keyed('*')}" if whole else "give other columns"
            )
            return f"must have columns of fractions or lists of numbers, got {what}; {remedy}"
        reason = f"must be features alone, but {what} may be labels or ids"
        for pattern in (f"{_common_beginning(others)}*", "[0-9]*"):
            if [name for name in names if fnmatch.fnmatchcase(name, pattern)] == others:
                return f"{reason}; if so, choose the others by a pattern: {self._file.keyed(pattern)}"
        return f"{reason}; if so, {self._file.without(odd)}"


def _common_beginning(names: list[str]) -> str:
    letters = itertools.takewhile(lambda each: len(set(each)) == 1, zip(*names, strict=False))
    return "".join(each[0] for each in letters)
