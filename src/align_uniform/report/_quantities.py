"""Alignment and uniformity, large, each on a scale between two values that are understood."""

from __future__ import annotations

from dataclasses import dataclass

from align_uniform.measuring.measurement import Alignment, Measurement, Uniformity, fixed, with_error
from align_uniform.report._numbers import typeset


@dataclass(frozen=True)
class Scale:
    """Where a number lies between two that are understood, in percent of the way."""

    at: float
    low: float
    high: float
    left: str
    right: str

    @classmethod
    def of(
        cls, value: float, interval: tuple[float, float], ends: tuple[float, float], names: tuple[str, str]
    ) -> Scale:
        at, low, high = (
            round(min(100.0, max(0.0, 100 * (number - ends[0]) / (ends[1] - ends[0]))), 2)
            for number in (value, *interval)
        )
        return cls(at, low, high, *names)


@dataclass(frozen=True)
class Quantity:
    """One of the two numbers that the page is about."""

    name: str
    value: str
    error: str
    meaning: str
    scale: Scale | None


def quantities(measurement: Measurement) -> list[Quantity]:
    """Uniformity, and alignment before it if there are pairs."""
    align = [] if measurement.align is None else [_align_quantity(measurement.align)]
    return [*align, _uniform_quantity(measurement.uniform)]


def _align_quantity(align: Alignment) -> Quantity:
    value, _, error = typeset(with_error(align.value, align.stderr)).partition(" ± ")
    power = "²" if align.alpha == 2 else f" to the power {align.alpha:g}"
    meaning = f"mean of ‖x − y‖{power} over {align.pairs:,} pairs, {align.of}"
    scale = None
    if align.relative is not None:
        meaning += f"; {align.relative:.1%} of what rows that are no pair have"
        ends = ("0: as close as can be", "1: no better than chance")
        scale = Scale.of(align.relative, (align.relative, align.relative), (0, 1), ends)
    return Quantity("Alignment", value, error, meaning, scale)


def _uniform_quantity(uniform: Uniformity) -> Quantity:
    value, _, error = typeset(with_error(uniform.value, uniform.total_stderr)).partition(" ± ")
    gap, side = (
        with_error(abs(uniform.gap), uniform.total_stderr).partition(" ± ")[0],
        "above" if uniform.gap >= 0 else "below",
    )
    meaning = f"log mean of exp(−{uniform.t:g} ‖x − y‖²) over distinct rows; {gap} {side} the optimum"
    if uniform.equivalent_dim is not None:
        meaning += f", as even as the uniform law in {uniform.equivalent_dim:,.1f} dimensions"
    ends = (f"{typeset(fixed(uniform.optimum))}: spread evenly", "0: all in one place")
    interval = uniform.interval or (uniform.value, uniform.value)
    return Quantity(
        "Uniformity", value, error, meaning, Scale.of(uniform.value, interval, (uniform.optimum, 0), ends)
    )
