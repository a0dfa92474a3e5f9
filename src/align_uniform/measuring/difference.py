"""The difference of two measurements, with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from align_uniform.measuring import quantities
from align_uniform.measuring.quantities import with_error
from align_uniform.measuring.results import Results


@dataclass(frozen=True)
class Difference:
    """The numbers of one measurement less those of another."""

    names: tuple[str, str]
    """The names of the two measurements."""
    align: float | None
    """The difference of alignment; None if one of the two has none."""
    align_stderr: float | None
    """The standard error of `align`."""
    uniform: float
    """The difference of uniformity at the first t."""
    uniform_stderr: float | None
    """The standard error of `uniform`."""
    paired: bool
    """Whether the errors were computed row by row, which takes the details of both, exact and of the same
    items.
    """

    @classmethod
    def between(cls, a: Results, b: Results) -> Difference:
        """Subtract the second measurement from the first.

        Raises:
            ValueError: the measurements have different t, or both have an alignment and different alpha.
        """
        if a.uniform.t != b.uniform.t:
            raise ValueError(
                f"both must be measured at one t, got {a.uniform.t:g} and {b.uniform.t:g}; measure one again."
            )
        if a.align and b.align and a.align.alpha != b.align.alpha:
            raise ValueError(
                f"both must have one alpha, got {a.align.alpha:g} and {b.align.alpha:g}; measure one again."
            )
        aligned = a.align is not None and b.align is not None
        pair = _paired_errors(a, b)
        if pair is None:
            align_stderr = _unpaired_error(*(part.align.stderr if part.align else None for part in (a, b)))
            uniform_stderr = _unpaired_error(a.uniform.total_stderr, b.uniform.total_stderr)
        else:
            align_stderr, uniform_stderr = pair
        return cls(
            names=(a.name, b.name),
            align=a.align.value - b.align.value if a.align and b.align else None,
            align_stderr=align_stderr if aligned else None,
            uniform=a.uniform.value - b.uniform.value,
            uniform_stderr=uniform_stderr,
            paired=pair is not None,
        )

    def __str__(self) -> str:
        """Return the differences line by line."""
        records = quantities.shown_by("difference")
        width = max(len(record.label) for record in records)
        lines = [f"{self.names[0]} − {self.names[1]} ({'paired' if self.paired else 'unpaired'})"]
        for record in records:
            value = getattr(self, record.key)
            if value is not None:
                error = getattr(self, f"{record.key}_stderr")
                lines.append(f"{record.label:<{width}}  {with_error(value, error)}")
        return "\n".join(lines)


def _paired_errors(a: Results, b: Results) -> tuple[float | None, float] | None:
    """Return standard errors from the items' own differences, or None if items cannot be matched.

    The influence of item i on L_U is 2 (h_i / U - 1) / n. Near the optimum the noise in h_i makes this error
    too wide, by up to the square root of 2; the correction for one measurement has no counterpart for two.
    """
    if (
        a.details is None
        or b.details is None
        or a.uniform.approximation_stderr
        or b.uniform.approximation_stderr
    ):
        return None
    rows = a.details.uniform, b.details.uniform
    if rows[0] is None or rows[1] is None or rows[0].shape != rows[1].shape or len(rows[0]) < 2:
        return None
    uniform = 2 * standard_error(rows[0] - rows[1])
    align = None
    if a.details.align is not None and b.details.align is not None:
        if a.details.align.shape != b.details.align.shape:
            return None
        align = standard_error(a.details.align - b.details.align)
    return align, uniform


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of at least two values."""
    return float(values.std()) / math.sqrt(len(values))


def _unpaired_error(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else math.hypot(a, b)
