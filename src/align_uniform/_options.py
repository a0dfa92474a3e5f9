"""The base of all dataclasses of options, the checks that they share, and which options may change on resume.

This module needs nothing but Python, so that the help of a command does not either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

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


def one_of(default: T, choices: Callable[[], Collection[T]]) -> T:
    """Declare an option, with its default, that must be one of the values that a function returns.

    Example:
        >>> sizes = ["small"]
        >>> @dataclass(frozen=True)
        ... class ShirtOptions(Options):
        ...     size: str = one_of("small", lambda: sizes)
        >>> sizes.append("large")
        >>> choices_of(ShirtOptions)
        {'size': ('small', 'large')}
    """
    declared: T = field(default=default, metadata={"choices": choices})
    return declared


def options_that_may_change(options: Any) -> set[str]:
    """Return the names of the options, of a dataclass or an instance of one, that may change on resume."""
    return {each.name for each in fields(options) if each.metadata.get("may_change")}


@dataclass(frozen=True)
class Belongs:
    """A rule: the first options have an effect only where one of the others is set.

    The others are written as they are typed: "--report" is any value except none, 0 and false,
    "--method anchors" is one value, FEATURES an argument. A name in lower case is a property of the options,
    which a message leaves out.
    """

    options: tuple[str, ...]
    to: tuple[str, ...] = ()
    """Options of which one must be set; empty if there is no such condition."""
    against: tuple[str, ...] = ()
    """Options of which none may be set."""
    words: str = ""
    """The words for `to`, where adding one of them is no remedy."""

    def fault(self, chosen: Any, given: Collection[str]) -> str:
        """Return what is wrong with the given options, and what to do; nothing if they are right."""
        if not (vain := [spelled(name) for name in self.options if name in given]):
            return ""
        names, have = " and ".join(vain), "has" if len(vain) == 1 else "have"
        if self.to and not any(_is_set(chosen, each) for each in self.to):
            typed = [each for each in self.to if not each.islower() or each.startswith("--")]
            remedy = f"leave {names} out" if self.words else f"add {typed[0]}, or leave {names} out"
            return f"{names} {have} no effect without {self.words or ' or '.join(typed)}; {remedy}"
        for each in self.against:
            if _is_set(chosen, each):
                return f"{names} {have} no effect with {each}; leave one of them out"
        return ""


def spelled(name: str) -> str:
    """Return an option as it is typed.

    >>> spelled("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def _is_set(chosen: Any, typed: str) -> bool:
    option, _, expected = typed.partition(" ")
    value = getattr(chosen, option.removeprefix("--").replace("-", "_").lower())
    return str(value) == expected if expected else bool(value)


@dataclass(frozen=True)
class Options:
    """The base of dataclasses of options: an option with choices must be one of them."""

    rules: ClassVar[tuple[Belongs, ...]] = ()
    """The options of the class that have an effect only next to others."""

    def __post_init__(self) -> None:
        choices = choices_of(type(self))
        for each in fields(self):
            if each.name in choices and getattr(self, each.name) != each.default:
                check_choice(each.name, getattr(self, each.name), choices[each.name])


def without_effect(chosen: Options, given: Collection[str]) -> str:
    """Return which of the given options have no effect, and what to do; nothing if all have one.

    Args:
        chosen: the values of all options.
        given: the names of the options that somebody chose.

    Example:
        >>> @dataclass(frozen=True)
        ... class PaintOptions(Options):
        ...     rules = (Belongs(("brush",), to=("--by hand",)),)
        ...     by: str = "machine"
        ...     brush: str = "flat"
        >>> without_effect(PaintOptions(brush="round"), {"brush"})
        '--brush has no effect without --by hand; add --by hand, or leave --brush out'
    """
    rules = [rule for owner in type(chosen).__mro__ for rule in vars(owner).get("rules", ())]
    return next(filter(None, (rule.fault(chosen, given) for rule in rules)), "")


def choices_of(options: Any) -> dict[str, tuple[Any, ...]]:
    """Return the values of each option that is `one_of` some, or annotated with a `Literal`.

    Example:
        >>> @dataclass(frozen=True)
        ... class CutOptions(Options):
        ...     crop: Literal["center", "random"] = "center"
        >>> choices_of(CutOptions)
        {'crop': ('center', 'random')}
    """
    hints = get_type_hints(options)
    found = {each.name: _choices(each, hints[each.name]) for each in fields(options)}
    return {name: choices for name, choices in found.items() if choices}


def _choices(option: Field[Any], hint: Any) -> tuple[Any, ...]:
    """Return the values of `one_of` or of a `Literal`, also one that may be None; none for other types."""
    if "choices" in option.metadata:
        return tuple(option.metadata["choices"]())
    literals = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
    return get_args(literals[0]) if literals else ()


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_positive(name: str, value: float) -> float:
    """Return a number as a float; refuse one that is not finite or not above 0."""
    if not _is_number(value):
        raise ValueError(f"{name} must be one number above 0, got {_shortly(value)}.")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}.")
    return float(value)


def _is_number(value: Any) -> bool:
    """Return whether a value is one number, of Python, or of numpy, whose arrays may have no dimensions."""
    if isinstance(value, (float, int)):  # torch 2.6 compiles no union of types
        return True
    return hasattr(value, "__float__") and getattr(value, "shape", None) in (None, ())


def _shortly(value: object) -> str:
    """Return a text as it was written, and the type of anything else."""
    return repr(value) if isinstance(value, str | bytes) else type(value).__name__


def check_seed(seed: int) -> None:
    """Refuse a seed that torch or numpy cannot take."""
    check_at_least(0, seed=seed)
    if seed >= 2**63:
        raise ValueError(f"seed must be below 2^63, got {seed}.")


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
        if value == math.inf:
            raise ValueError(f"{name} must be a finite number, got {value}.")


def check_statistics(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse means and deviations that differ in number or are not finite, or deviations not above 0."""
    if len(mean) != len(std):
        raise ValueError(
            f"mean and std must have one number for each channel, got {len(mean)} and {len(std)}."
        )
    if not all(math.isfinite(each) for each in mean):
        raise ValueError(f"mean must have finite numbers, got {list(mean)}.")
    if not all(0 < deviation < math.inf for deviation in std):
        raise ValueError(f"std must have finite numbers above 0, got {list(std)}.")
