"""Conditions on a result, for continuous integration: a command that printed all fails where one holds."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from align_uniform._options import Options
from align_uniform.cli.command import GATE_FAILED
from align_uniform.cli.parser import UsageError

if typing.TYPE_CHECKING:
    from align_uniform.measuring.measurement import Measurement

SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
"""The comparisons that a condition may make; signs that begin with another sign come first."""

_CONDITION = re.compile(rf"\s*([^\s<>=!]+)\s*({'|'.join(SIGNS)})\s*(\S+)\s*")


def conditions() -> Any:
    """Declare an option that takes conditions on numbers, and may be given several times."""
    return field(default=(), metadata={"metavar": "CONDITION", "repeats": True})


@dataclass(frozen=True)
class GateOptions(Options):
    """Conditions that fail the command, after everything was printed and written."""

    fail_on: Literal["warning", "problem"] | None = None
    """Exit with 3 if the verdict has a finding of this severity, or of a worse one."""
    fail_if: tuple[str, ...] = conditions()
    """Exit with 3 if a number of the JSON, named by its path, is such as in "uniform.gap > 0.5". It may be
    given several times.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for each in self.fail_if:
            Condition.read(each)


@dataclass(frozen=True)
class Condition:
    """A comparison of a number of a result with a limit."""

    text: str
    """The condition as it was typed."""
    path: str
    """The names and indices on the way to the number, with dots between them."""
    sign: str
    limit: float

    @classmethod
    def read(cls, text: str) -> Condition:
        """Read a condition such as "uniform.gap > 0.5".

        Raises:
            UsageError: the text is no path, sign and number.
        """
        found = _CONDITION.fullmatch(text)
        try:
            limit = math.nan if found is None else float(found[3])
        except ValueError:
            limit = math.nan
        if found is None or math.isnan(limit):
            raise UsageError(
                f"--fail-if takes a number of the JSON, one of {' '.join(SIGNS)}, and a limit, such as "
                f'"uniform.gap > 0.5", got {text!r}'
            )
        return cls(text, found[1], found[2], limit)

    def failure(self, numbers: Mapping[str, float]) -> str:
        """Return the number and the rule if the condition holds for these numbers; otherwise nothing.

        Raises:
            UsageError: no number has the path.
        """
        if self.path not in numbers:
            raise UsageError(
                f"--fail-if {self.text!r}: the result has no number {self.path}{near(self.path, numbers)}"
            )
        number = numbers[self.path]
        return (
            f"{self.path} is {number:g} (--fail-if {self.text!r})"
            if SIGNS[self.sign](number, self.limit)
            else ""
        )


def near(path: str, known: typing.Iterable[str]) -> str:
    """Return the known paths that are near one, in words; nothing if none are."""
    listed = sorted(known, key=len)
    last = path.rpartition(".")[2]
    found = get_close_matches(path, listed) or [each for each in listed if last in each.split(".")][:3]
    return f"; near ones are {', '.join(found)}" if found else ""


def numbers_of(document: Any, path: str = "") -> dict[str, float]:
    """Return all numbers of a JSON document by their paths; an object with a `value` stands for that number.

    Example:
        >>> numbers_of({"uniform": {"value": -3.5, "t": 2}, "rows": [5, None], "name": "x"})
        {'uniform': -3.5, 'uniform.value': -3.5, 'uniform.t': 2.0, 'rows.0': 5.0}
    """
    if isinstance(document, bool | str) or document is None:
        return {}
    if isinstance(document, int | float):
        return {path: float(document)}
    parts = document.items() if isinstance(document, Mapping) else enumerate(document)
    found: dict[str, float] = {}
    for name, part in parts:
        found |= numbers_of(part, f"{path}.{name}" if path else str(name))
    own = {path: found[f"{path}.value"]} if f"{path}.value" in found else {}
    return own | found


def check_paths(asked: Sequence[str], kind: type) -> None:
    """Refuse a condition on a path that the JSON of no result has, before anything is computed.

    Args:
        asked: the conditions.
        kind: the dataclass of the result.

    Raises:
        UsageError: a path leads nowhere.
    """
    known = ["schema_version", "findings.*", *_paths(kind, "")]
    for condition in map(Condition.read, asked):
        parts = ["0" if part.isdigit() else part for part in condition.path.split(".")]
        path = ".".join(parts)
        free = {f"{'.'.join(parts[:count])}.*" for count in range(len(parts))}
        if not {path, f"{path}.value", *free} & {*known}:
            raise UsageError(
                f"--fail-if {condition.text!r}: no result has a number {condition.path}"
                f"{near(condition.path, known)}"
            )


def _paths(kind: Any, path: str) -> Iterator[str]:
    """Yield the paths of the numbers that a type may hold, with 0 for every index, and * for any names."""
    arguments = [each for each in typing.get_args(kind) if each is not types.NoneType]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for each in arguments:
            yield from _paths(each, path)
    elif typing.get_origin(kind) is tuple:
        yield from _paths(arguments[0], f"{path}.0")
    elif typing.get_origin(kind) is Mapping and arguments[0] is int:
        yield from _paths(arguments[1], f"{path}.0")
    elif typing.get_origin(kind) is Mapping:
        yield f"{path}.*"
    elif dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        for each in dataclasses.fields(kind):
            if each.name != "details":
                yield from _paths(hints[each.name], f"{path}.{each.name}" if path else each.name)
    elif kind in (int, float):
        yield path


def failed(failures: Sequence[str]) -> int:
    """Print a line for each condition that holds, and return the exit code."""
    for each in filter(None, failures):
        print(f"align-uniform: {each}", file=sys.stderr)
    return GATE_FAILED if any(failures) else 0


def failures_of_findings(result: Measurement, least: str | None) -> list[str]:
    """Return a line for each finding that is at least as severe as asked for."""
    from align_uniform.measuring.heuristic import SEVERITIES

    if least is None:
        return []
    severe = SEVERITIES[[*SEVERITIES].index(least) :]  # type: ignore[arg-type]  # one of them
    return [
        f"{each.name}: {each.quantity} is {each.number:.3g}, {each.side} {each.threshold:g} "
        f"({each.severity}, --fail-on {least})"
        for each in result.findings
        if each.severity in severe
    ]


def failures_of_numbers(document: Any, asked: Sequence[str]) -> list[str]:
    """Return a line for each condition that holds for the numbers of a document.

    Raises:
        UsageError: a condition is on a number that the document lacks.
    """
    numbers = numbers_of(document) if asked else {}
    return [Condition.read(each).failure(numbers) for each in asked]
