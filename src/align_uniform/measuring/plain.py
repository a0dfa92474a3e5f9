"""Dataclasses as the plain values that JSON has, and back."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

SCALARS: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}
"""The types of plain values that a field of a type takes, its own last."""


def to_plain(value: Any) -> Any:
    """Turn dataclasses into dictionaries, tuples into lists, and numbers that are not finite into None."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(name): to_plain(part) for name, part in value.items()}  # as JSON has it
    if isinstance(value, tuple | list):
        return [to_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_plain(kind: Any, value: Any, source: str) -> Any:
    """Turn plain values back into a dataclass, or into whatever else the type is.

    None becomes NaN where the type is float. Keys that are no field are ignored. A missing field gets its
    default, or else None, an empty tuple or an empty mapping if its type allows that.

    Args:
        kind: the type, with the annotations of its fields.
        value: the plain value.
        source: the origin of the value, for error messages.

    Raises:
        ValueError: a field is missing and has no empty value, or a part has another form than its type.
    """
    try:
        return _value(kind, value, "")
    except KeyError as error:
        raise ValueError(
            f"{source} lacks a field of a measurement, {error.args[0]!r}; measure again."
        ) from error
    except TypeError as error:
        raise ValueError(f"{source} is not what a measurement looks like: {error}; measure again.") from error


def _value(kind: Any, value: Any, path: str) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
        return None if value is None else _value(kind, value, path)
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, path)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{path} must be a list, got {value!r}")
        inner = typing.get_args(kind)[0]  # every tuple of a measurement holds values of one type
        return tuple(_value(inner, part, f"{path}.{number}") for number, part in enumerate(value))
    if typing.get_origin(kind) is Mapping:
        return _mapping(kind, value, path)
    if kind is float and value is None:
        return math.nan
    if kind in SCALARS and type(value) not in SCALARS[kind]:
        raise TypeError(f"{path} must be {SCALARS[kind][-1].__name__}, got {value!r}")
    return value


def _mapping(kind: Any, values: Any, path: str) -> Any:
    """Return a mapping, whose keys are text in JSON even where they are numbers."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{path} must be an object, got {values!r}")
    of_keys, inner = typing.get_args(kind)
    try:
        return {of_keys(key): _value(inner, part, f"{path}.{key}") for key, part in values.items()}
    except ValueError as error:
        raise TypeError(f"the names in {path} must be of numbers, got {[*values]}") from error


def _object(kind: Any, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping):
        raise TypeError(f"{path} must be an object, got {values!r}")
    expected, given = _field_types(kind), {}
    for part in dataclasses.fields(kind):
        name = f"{path}.{part.name}" if path else part.name
        if part.name in values:
            given[part.name] = _value(expected[part.name], values[part.name], name)
        elif part.default is dataclasses.MISSING:
            given[part.name] = _empty(expected[part.name], name)
    return kind(**given)


@functools.cache
def _field_types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _empty(kind: Any, name: str) -> Any:
    """Return the value of a missing field, if its type has an empty one."""
    arguments = typing.get_args(kind)
    if types.NoneType in arguments:
        return None
    if arguments[1:] == (...,):
        return ()
    if typing.get_origin(kind) is Mapping:
        return {}
    raise KeyError(name)
