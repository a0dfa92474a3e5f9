"""A rule of thumb about a number of a measurement, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from align_uniform.measuring.results import Results

Severity = Literal["note", "warning", "problem"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "problem")
"""The severities of findings, the mildest first. A note is no fault of the embedding."""


@dataclass(frozen=True)
class Finding:
    """A number beyond its threshold.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0)) + 1.5
        >>> finding = measure(x).findings[0]
        >>> print(f"{finding.severity}: {finding.name}, {finding.number:.2f} is above {finding.threshold}")
        problem: cone, 0.70 is above 0.5
    """

    name: str
    """The name of the rule."""
    severity: Severity
    """The severity that goes with the threshold."""
    number: float
    """The number that crossed a threshold."""
    threshold: float
    """The threshold that the number crossed."""
    side: Literal["above", "below"]
    """The side of the threshold on which the number lies."""
    quantity: str
    """The definition of the number."""
    what: str
    """The finding in plain words."""
    advice: str
    """The advice on what to do."""


@dataclass(frozen=True)
class Heuristic:
    """A number of a measurement, and the thresholds beyond which it is worth a look.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.measuring.heuristics import HEURISTICS
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> found = measure(x)
        >>> cone = next(rule for rule in HEURISTICS if rule.name == "cone")
        >>> cone.thresholds, cone.finding(found) is None
        (((0.2, 'warning'), (0.5, 'problem')), True)
    """

    name: str
    quantity: str
    """The definition of the number."""
    number: Callable[[Results], float | None]
    """The number of a measurement; None if it says nothing about that measurement."""
    side: Literal["above", "below"]
    """The side of the threshold on which the number stands out."""
    thresholds: tuple[tuple[float, Severity], ...]
    """The thresholds with their severities, the mildest first."""
    what: str
    """The finding in plain words, a format with {number}, and {m} for the measurement."""
    advice: str
    """The advice on what to do."""
    why: str
    """The reason for the threshold."""
    more: Callable[[Results], str] = lambda _: ""
    """The sentence that a measurement adds to the finding; empty if it has nothing to add."""

    def finding(self, measurement: Results) -> Finding | None:
        """Return a finding for the last threshold that is crossed, or None if none is."""
        number = self.number(measurement)
        if number is None:
            return None
        crossed = [
            limit
            for limit in self.thresholds
            if (number > limit[0] if self.side == "above" else number < limit[0])
        ]
        if not crossed:
            return None
        threshold, severity = crossed[-1]
        what = f"{self.what.format(number=number, m=measurement)} {self.more(measurement)}".strip()
        return Finding(self.name, severity, number, threshold, self.side, self.quantity, what, self.advice)
