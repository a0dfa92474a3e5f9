"""The base of all dataclasses of options, the checks that they share, and which options may change on resume.

This module needs nothing but Python, so that the help of a command does not either.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def may_change(default: T) -> T:
    """Declare an option, with its default, that may change when a run is resumed.

    Example:
        >>> @dataclass(frozen=True)
        ... class RunOptions(Options):
        ...     lr: float = 0.1
        ...     workers: int = may_change(4)
        >>> options_that_may_change(RunOptions)
        {'workers'}
    """
    declared: T = field(default=default, metadata={"may_change": True})
    return declared


def options_that_may_change(options: Any) -> set[str]:
    """Return the names of the options, of a dataclass or an instance of one, that may change on resume."""
    return {each.name for each in fields(options) if each.metadata.get("may_change")}


@dataclass(frozen=True)
class Options:
    """The base of dataclasses of options: an option annotated with a `Literal` must be one of its values."""

    def __post_init__(self) -> None:
        choices = choices_of(type(self))
        for each in fields(self):
            if each.name in choices and getattr(self, each.name) != each.default:
                check_choice(each.name, getattr(self, each.name), choices[each.name])


def choices_of(options: type) -> dict[str, tuple[Any, ...]]:
    """Return the values that each option annotated with a `Literal`, or with `Literal[...] | None`, may have.

    Example:
        >>> @dataclass(frozen=True)
        ... class CutOptions(Options):
        ...     crop: Literal["center", "random"] = "center"
        >>> choices_of(CutOptions)
        {'crop': ('center', 'random')}
    """
    return {name: found for name, hint in get_type_hints(options).items() if (found := _choices(hint))}


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the values of a `Literal`, also of one that may be None, and none of other types."""
    literals = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
    return get_args(literals[0]) if literals else ()


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_positive(name: str, value: float) -> float:
    """Return a number as a float; refuse one that is not finite or not above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}.")
    return float(value)


def check_at_least(least: float, /, **values: float | None) -> None:
    """Refuse values below `least`, each named by its keyword; None, for an option that is not set, passes.

    Example:
        >>> check_at_least(1, epochs=2, limit=None)
        >>> check_at_least(0, workers=-1)
        Traceback (most recent call last):
        ValueError: workers must not be negative, got -1.
    """
    for name, value in values.items():
        if value is not None and not value >= least:
            expected = "not be negative" if least == 0 else f"be at least {least}"
            raise ValueError(f"{name} must {expected}, got {value}.")


def check_statistics(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse means and standard deviations that differ in number, or deviations that are not above 0."""
    if len(mean) != len(std):
        raise ValueError(
            f"mean and std must have one number for each channel, got {len(mean)} and {len(std)}."
        )
    if not all(deviation > 0 for deviation in std):
        raise ValueError(f"std must be above 0, got {list(std)}.")
