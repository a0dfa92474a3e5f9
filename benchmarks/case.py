"""The cases of the benchmarks: one of our calls, the code in its place without us, and our aims."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Operation = Callable[[], tuple[Tensor, ...]]
"""A computation without arguments that returns its value, and its gradients if they are part of it."""


class Operations(NamedTuple):
    """Two computations of the same numbers."""

    ours: Operation
    reference: Operation


class Aim(NamedTuple):
    """A bound on one column of a row."""

    column: str
    """The column `speedup`, `over_limit` or `ours_mib` of `Row`, or `memory_ratio`.

    The last is `ours_mib` over `reference_mib`.
    """
    sense: str
    """The direction of the bound, ">=" or "<="."""
    bound: float

    def reached(self, value: float) -> bool:
        """Return whether the value keeps the bound."""
        return bool({">=": operator.ge, "<=": operator.le}[self.sense](value, self.bound))

    def __str__(self) -> str:
        return f"{self.column} {self.sense} {self.bound:g}"


class Work(NamedTuple):
    """The work that any computation over pairs of rows must do."""

    products: float
    """Scalar products of m features: one per pair, and one more for each side of a pair with a gradient."""
    exponentials: float
    """Exponentials: one per pair."""


@dataclass(frozen=True)
class Case:
    """One row of a table, before it is measured."""

    benchmark: str
    """The name of the benchmark, a key of `BENCHMARKS`."""
    what: str
    """The computation in words, "value + gradient"."""
    sizes: Mapping[str, int]
    """The sizes: N rows of m features, and K negatives."""
    prepare: Callable[[], Operations]
    """The function that makes the operands when the turn of this case comes.

    It can be pickled, since memory is measured in another process.
    """
    work: Work
    aims: tuple[Aim, ...] = ()
