"""Columns next to rows, as they come from outside: labels, ids, groups, names, scores, and pairs of rows."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._messages import counted

Column = list[Any] | Tensor
"""One side of pairs: row numbers as a tensor, or values that may be anything."""

PLAIN = frozenset({int, str, bool, bytes})
"""The types of which no value is missing."""


def values_of(name: str, values: Any) -> list[Hashable]:
    """Return the values of a column: a sequence, an array, a tensor, an iterator, or the path of a file.

    Args:
        name: the name of the argument in messages.
        values: the column.

    Raises:
        ValueError: it is no column of hashable values, or a value is missing.
    """
    if isinstance(values, str | os.PathLike):
        from align_uniform.files import read_column

        values = read_column(Path(values))
    if len(shape := _shape(values)) > 1 or hasattr(values, "columns"):
        raise ValueError(_not_a_column(name, values, shape))
    found = _plain(name, values)
    if (strange := next((value for value in found if type(value).__hash__ is None), None)) is not None:
        raise ValueError(
            f"{name} must be one value for each row, a number, a text or anything hashable, got "
            f"{type(strange).__name__}; use tuple(...) for several values that belong together."
        )
    return found


def codes_of(name: str, values: Any, count: int) -> Tensor:
    """Return a whole number from 0 for each row, equal for equal values, in the order of first rows.

    An empty field of a file is no value.
    """
    numbers: dict[Hashable, int] = {}
    names = names_of(name, values, count)
    if isinstance(values, str | os.PathLike):
        empty = [row for row, value in enumerate(names) if value == ""]
        checks.refuse_missing(f"{name} ({os.fspath(values)})", empty, count)
    return torch.tensor(
        [numbers.setdefault(value, len(numbers)) for value in names],
        dtype=torch.int64,
        device="cpu",
    )


def names_of(name: str, values: Any, count: int) -> list[Hashable]:
    """Return one value for each row, from an array, a sequence, or the path of a column."""
    names = values_of(name, values)
    if len(names) != count:
        why = ""
        if isinstance(values, str | os.PathLike):
            from align_uniform.files.tables import why_miscounted

            why = why_miscounted(Path(values), names, count)
        raise ValueError(f"{name} must be one for each of the {count} rows, got {len(names)}{why}.")
    return names


def numbers_of(name: str, values: Any, count: int, of: str) -> Tensor:
    """Return one number for each of the given things, [count], float64.

    Args:
        name: the name of the argument in messages.
        values: the numbers: an array, a sequence, a tensor.
        count: how many there must be.
        of: the things that have a number, in words.
    """
    if len(shape := _shape(values)) > 1:
        raise ValueError(f"{name} must be one for each of the {count} {of}, got shape {list(shape)}.")
    found = _plain(name, values)
    strange = [row for row, value in enumerate(found) if not _is_number(value)]
    if strange:
        raise ValueError(
            f"{name} must be numbers, got {found[strange[0]]!r} in row {strange[0]}; use float(...)."
        )
    if len(found) != count:
        raise ValueError(f"{name} must be one for each of the {count} {of}, got {len(found)}.")
    return torch.tensor(found, dtype=torch.float64, device="cpu")


def pairs_of(pairs: Any, ids: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Return the row numbers of the pairs, [P] each, from row numbers or from ids of rows.

    Args:
        pairs: P pairs of two, or two columns; see `measure`.
        ids: the ids of the rows on the first and on the second side; None for a side without ids.
    """
    first, second = _two_columns(pairs)
    if len(first) != len(second):
        raise ValueError(f"pairs must be two columns of one length, got {len(first)} and {len(second)}.")
    x, y = (_row_numbers(column, names) for column, names in zip((first, second), ids, strict=True))
    return x, y


def _row_numbers(column: Column, ids: Any) -> Tensor:
    if isinstance(column, Tensor):
        return column
    column = _complete("pairs", column)
    if all(type(value) is int for value in column):
        return torch.tensor(column, dtype=torch.int64, device="cpu")
    strange = next(value for value in column if type(value) is not int)
    if isinstance(strange, bool | float):
        raise ValueError(
            f"pairs must be row numbers, whole numbers of shape [P, 2], got {type(strange).__name__} "
            f"{strange!r}; convert them to int."
        )
    if ids is None:
        raise ValueError(
            f"pairs must be row numbers, whole numbers of shape [P, 2], got {strange!r}; pass ids too if "
            "pairs are of ids."
        )
    return torch.tensor(
        rows_of_ids("pairs", column, ids, "correct them, or ids"), dtype=torch.int64, device="cpu"
    )


def rows_of_ids(name: str, column: Iterable[Hashable], ids: Iterable[Hashable], remedy: str) -> list[int]:
    """Return the number of the first row that has each id of a column.

    Args:
        name: the name of the column in messages.
        column: the ids.
        ids: the id of each row.
        remedy: what to do if an id is that of no row.
    """
    first: dict[Hashable, int] = {}
    for row, value in enumerate(ids):
        first.setdefault(value, row)
    wanted = list(column)
    if unknown := [value for value in wanted if value not in first]:
        raise ValueError(
            f"{name} has {counted(len(unknown), 'id')} that no row has, the first is {unknown[0]!r}; "
            f"{remedy}."
        )
    return [first[value] for value in wanted]


def _two_columns(pairs: Any) -> tuple[Column, Column]:
    """Return the two columns of pairs, which are given pair by pair, or column by column."""
    if isinstance(pairs, Mapping):
        return _named_columns(pairs, list(pairs))
    if hasattr(pairs, "columns") and hasattr(pairs, "__getitem__"):
        return _named_columns(pairs, list(pairs.columns))
    if shape := _shape(pairs):
        if len(shape) != 2 or shape[1] != 2:
            raise ValueError(f"pairs must be row numbers of shape [P, 2], got shape {list(shape)}.")
        whole = _whole_numbers(pairs)
        return _split(pairs.tolist()) if whole is None else (whole[:, 0], whole[:, 1])
    if isinstance(pairs, str | os.PathLike) or not isinstance(pairs, Iterable):
        raise ValueError(
            f"pairs must be row numbers of shape [P, 2], got {type(pairs).__name__}; read a file with "
            "files.read_columns(...)."
        )
    found = list(pairs)
    if len(found) == 2 and all(map(_is_column, found)):
        return _of_two(pairs, found)
    return _split([_plain("pairs", pair) if _shape(pair) else pair for pair in found])


def _of_two(pairs: Any, found: list[Any]) -> tuple[Column, Column]:
    """Return two columns, or the columns of two pairs, unless it could be either."""
    first, second = (_column(part) if _shape(part) else list(part) for part in found)
    are_arrays = all(_shape(part) for part in found)
    parts = [part.tolist() if isinstance(part, Tensor) else list(part) for part in (first, second)]
    if not len(first) == len(second) == 2:
        if are_arrays or isinstance(pairs, tuple):
            return first, second
    elif isinstance(pairs, tuple) and are_arrays:
        return first, second
    elif isinstance(pairs, tuple) or are_arrays:
        raise ValueError(
            f"pairs could be two pairs or two columns of two, got {pairs!r}; pass two pairs as a list of "
            f"tuples, {[tuple(part) for part in parts]}, and two columns as a dictionary, "
            f"{dict(zip('xy', parts, strict=True))}."
        )
    return _split(parts)


def _named_columns(pairs: Any, names: list[Any]) -> tuple[Column, Column]:
    """Return the columns x and y of a table, or its only two."""
    wanted = ["x", "y"] if {"x", "y"} <= set(names) else names
    if len(wanted) != 2:
        raise ValueError(
            f"pairs must have two columns, or the columns x and y, got {', '.join(map(str, names))}; pass "
            "two of them."
        )
    first, second = (_column(pairs[name]) for name in wanted)
    return first, second


def _column(values: Any) -> Column:
    """Return one side of the pairs."""
    whole = _whole_numbers(values)
    return _plain("pairs", values) if whole is None else whole


def _whole_numbers(values: Any) -> Tensor | None:
    """Return an array or a tensor of whole numbers as int64, and None for anything else."""
    if isinstance(values, Tensor):
        checks.check_plain("pairs", values)
        is_whole = not values.is_floating_point() and values.dtype != torch.bool
        return values.detach().cpu().long() if is_whole else None
    is_masked = hasattr(values, "mask")
    if is_masked or getattr(getattr(values, "dtype", None), "kind", "") not in ("i", "u"):
        return None
    array = getattr(values, "to_numpy", lambda: values)()  # of a column of a data frame
    return torch.from_numpy(array.astype("int64"))


def _split(found: list[Any]) -> tuple[list[Any], list[Any]]:
    for number, pair in enumerate(found):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            is_short = isinstance(pair, Sequence) and not isinstance(pair, str)
            got = counted(len(pair), "value") if is_short else type(pair).__name__
            raise ValueError(f"pairs must be row numbers of shape [P, 2], got {got} in pair {number}.")
    return [pair[0] for pair in found], [pair[1] for pair in found]


def _is_column(part: Any) -> bool:
    return len(_shape(part)) == 1 or isinstance(part, list | tuple | range)


def _shape(values: Any) -> tuple[int, ...]:
    """Return the shape of an array, a tensor, or a column of a data frame; () for anything else."""
    return tuple(getattr(values, "shape", ()))


def _plain(name: str, values: Any) -> list[Any]:
    """Return the values of anything that has them one by one; none of them is missing."""
    if isinstance(values, Tensor):
        checks.check_plain(name, values)
        return _complete(name, values.tolist())
    if isinstance(values, Mapping | set | frozenset) or not isinstance(values, Iterable):
        raise ValueError(
            f"{name} must be one value for each row, in order, got {type(values).__name__}; use a list."
        )
    for convert in ("tolist", "to_pylist"):  # of numpy, whose masked values become None, and of Arrow
        if hasattr(values, convert):
            return _complete(name, getattr(values, convert)())
    return _complete(name, list(values))


def _complete(name: str, found: list[Any]) -> list[Any]:
    """Return the values, with numbers of numpy and of tensors as Python's, if none is missing."""
    if not set(map(type, found)) <= PLAIN:
        found = [value.item() if _is_scalar(value) else value for value in found]
        missing = [row for row, value in enumerate(found) if _is_missing(value)]
        checks.refuse_missing(name, missing, len(found))
    return found


def _is_scalar(value: Any) -> bool:
    return hasattr(value, "item") and _shape(value) == () and hasattr(value, "shape")


def _is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, or what pandas has in their place."""
    if value is None:
        return True
    try:
        return isinstance(value, Hashable) and bool(value != value)
    except (TypeError, ValueError):  # pandas' NA is neither equal nor unequal
        return True


def _is_number(value: Any) -> bool:
    return not isinstance(value, str | bytes) and hasattr(value, "__float__")


def _not_a_column(name: str, values: Any, shape: Sequence[int]) -> str:
    expected = f"{name} must be one value for each row, got"
    if hasattr(values, "columns"):
        columns = list(values.columns)
        return f'{expected} a table of the columns {", ".join(map(str, columns))}; use table["{columns[0]}"].'
    remedy = f"{name}[:, 0]" if shape[1] == 1 else f"{name}.argmax(1) for one-hot rows"
    return f"{expected} shape {list(shape)}; use {remedy}."
