"""Rows that are checked, and widened to float64 a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from torch import Tensor

from align_uniform import _checks as checks
from align_uniform.engine.precision import has_float64, widened

BLOCK_NUMBERS = 2**20
"""The number of numbers that are widened to float64 at a time (8 MiB)."""


COLUMNS = 8192
"""The most rows that a few queries are multiplied with at a time (64 MiB of products for 1,024 queries)."""


class HasDim(Protocol):
    """Sums over rows that know their number of features."""

    @property
    def dim(self) -> int:
        """The number of features."""


def wide_blocks(z: Tensor) -> Iterator[Tensor]:
    """Yield all rows in float64, block by block."""
    return map(widened, z.detach().split(block_rows(z)))


def block_rows(z: Tensor) -> int:
    """Return the number of rows in a block."""
    return max(1, BLOCK_NUMBERS // z.shape[1])


def narrow_blocks(blocks: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    """Cut numbered blocks of rows, however long, into parts of at most `COLUMNS` rows."""
    for start, rows in blocks:
        for place, part in enumerate(rows.split(COLUMNS)):
            yield start + place * COLUMNS, part


def widest(z: Tensor) -> Tensor:
    """Return the rows in float64, or in float32 if their device lacks it."""
    return z.double() if has_float64(z.device) else z.float()


def check_rows(name: str, z: Tensor) -> None:
    """Refuse anything but finite rows, [N, m]; N may be 0."""
    checks.check_features(name, z)
    if z.dim() != 2:
        raise ValueError(f"{name} must be [N, m], got shape {list(z.shape)}; use {name}.flatten(0, -2).")
    if len(z) and not all(bound.isfinite() for bound in z.detach().aminmax()):
        raise ValueError(
            f"{name} must be finite, got NaN or infinity; leave those rows out: "
            f"{name}[{name}.isfinite().all(1)]."
        )


def check_same_dim(x: HasDim, y: HasDim) -> None:
    """Refuse sums over rows of different numbers of features."""
    if x.dim != y.dim:
        raise ValueError(
            f"both must have the same number of features, got {x.dim} and {y.dim}; take both from one "
            "encoder."
        )
