"""A record of a number of a measurement, and the spelling of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from align_uniform.measuring.prefix_result import Prefix
    from align_uniform.measuring.results import Results

Face = Literal["table", "report", "compare", "difference", "scalars"]
"""A place that shows numbers; "difference" is a line of `a - b`."""

Group = Literal[
    "Alignment", "Uniformity", "Retrieval", "Classes", "Centred rows", "Two towers", "Shape", "Rows"
]

GROUPS: tuple[Group, ...] = (
    "Alignment",
    "Uniformity",
    "Retrieval",
    "Classes",
    "Centred rows",
    "Two towers",
    "Shape",
    "Rows",
)
"""The groups in the order in which they are shown."""


# ------------------------------------------------------------------------------------ how numbers are written


def with_error(value: float, stderr: float | None) -> str:
    """Return the value with its standard error, as in `-2.927 ± 0.021`.

    The error has two digits, the value as many decimals. Without a finite error the value has three decimals.
    """
    if stderr is None or not math.isfinite(stderr):
        return fixed(value)
    digits = 3 if stderr == 0 else min(7, max(0, 1 - math.floor(math.log10(stderr))))
    return f"{fixed(value, digits)} ± {stderr:.{digits}f}"


def fixed(value: float, digits: int = 3) -> str:
    """Return the value with the given number of decimals, and without a minus sign before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def count(value: float) -> str:
    """Return a whole number with commas between thousands."""
    return f"{value:,.0f}"


def dimensions(value: float) -> str:
    """Return a number of dimensions with one decimal."""
    return f"{value:,.1f}"


def four_digits(value: float) -> str:
    """Return a number with four digits."""
    return f"{value:.4g}"


# ------------------------------------------------------------------------------------------------ the records


@dataclass(frozen=True)
class Quantity:
    """A number of a measurement, or a few numbers that are shown together.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.measuring.quantities import QUANTITIES
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> found = measure(x)
        >>> for quantity in QUANTITIES:
        ...     if quantity.key in ("uniform", "uniform.gap"):
        ...         print(f"{quantity.label}: {quantity.text(found)} ({quantity.better} is better)")
        uniformity: -3.506 ± 0.010 (smaller is better)
        gap: 0.007 ± 0.010 (smaller is better)
    """

    key: str
    """The path of the number in a measurement and in its JSON. The number at an object is its `value`."""
    label: str
    """The name that people read."""
    group: Group
    """The group of numbers that this one is shown in."""
    meaning: str
    """The definition, without a full stop."""
    note: Callable[[Results], str] | None = None
    """The remark next to the value: what to compare the value with, in this measurement."""
    caution: str = ""
    """The case in which the number misleads, for the documentation."""
    errors: tuple[str, ...] = ()
    """The paths of the independent standard errors of the number."""
    form: Callable[[float], str] = fixed
    """The spelling of the value where it has no error."""
    between: str = "; "
    """The words between several values."""
    applies: Callable[[Results], bool] = lambda _: True
    """Whether the value says anything about a measurement that has it."""
    faces: frozenset[Face] = frozenset({"report", "scalars"})
    """The places that show the number."""
    better: Literal["smaller", "larger", ""] = ""
    """The better direction, other things being equal; empty where neither is."""
    is_share: bool = False
    """Whether the number is the share of hits among units, or a mean of scores from 0 to 1."""

    def value(self, measurement: Results | Prefix) -> Any:
        """Return the number, a tuple of several numbers, or None if the measurement has none."""
        return at(measurement, self.key)

    def error(self, measurement: Results | Prefix) -> float | None:
        """Return the standard error of the number, all `errors` combined, or None if one is missing."""
        errors = [at(measurement, path) for path in self.errors]
        return None if not errors or None in errors else math.hypot(*errors)

    def is_shown(self, measurement: Results, face: Face) -> bool:
        """Whether a face shows this number of a measurement."""
        return face in self.faces and self.value(measurement) is not None and self.applies(measurement)

    def text(self, measurement: Results | Prefix) -> str:
        """Return the number with its error as people read it; nothing if there is no number."""
        value, error = self.value(measurement), self.error(measurement)
        if value is None:
            return ""
        if isinstance(value, tuple):
            return self.between.join(map(self.form, value))
        return self.form(value) if error is None else with_error(value, error)

    def remark(self, measurement: Results) -> str:
        """Return the note on this measurement, or the meaning if there is no note."""
        return self.meaning if self.note is None else self.note(measurement)

    def explanation(self, measurement: Results) -> str:
        """Return the meaning, followed by the note on this measurement if there is one."""
        return self.meaning if self.note is None else f"{self.meaning}; {self.note(measurement)}"


def at(measurement: Results | Prefix, path: str) -> Any:
    """Return what a path leads to, or None if the measurement lacks a part on the way."""
    part: Any = measurement
    for name in path.split("."):
        if part is None:
            return None
        part = getattr(part, name)
    return getattr(part, "value", part)


def faces(*extra: Face) -> frozenset[Face]:
    """Return the report, the scalars, and more faces."""
    return frozenset({"report", "scalars", *extra})
