"""What is measured: one of our calls, what stands in its place without us, and what we hope for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Operation = Callable[[], tuple[Tensor, ...]]
"""A computation without arguments, that returns its value, and its gradients if they are part of it."""


class Operations(NamedTuple):
    """Two computations of the same numbers."""

    ours: Operation
    reference: Operation


class Aim(NamedTuple):
    """A bound on one column of a row."""

    column: str
    """`speedup`, `over_limit` or `ours_mib` of `Row`; `memory_ratio` is `ours_mib` over `reference_mib`."""
    sense: str
    """">=" or "<="."""
    bound: float

    def reached(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return bool({">=": operator.ge, "<=": operator.le}[self.sense](value, self.bound))

    def __str__(self) -> str:
        return f"{self.column} {self.sense} {self.bound:g}"


class Work(NamedTuple):
    """What a computation over pairs of rows cannot do without."""

    products: float
    """Scalar products of m features: one per pair for the value, and one more for each side of a pair that
    has a gradient.
    """
    exponentials: float
    """One per pair."""


@dataclass(frozen=True)
class Case:
    """One row to be."""

    benchmark: str
    """Name of the benchmark, a key of `BENCHMARKS`."""
    what: str
    """The computation in words, "value + gradient"."""
    sizes: Mapping[str, int]
    """N rows of m features, and K negatives."""
    prepare: Callable[[], Operations]
    """Makes the operands, when the turn of this case comes; can be pickled, since memory is measured in
    another process.
    """
    work: Work
    aims: tuple[Aim, ...] = ()
