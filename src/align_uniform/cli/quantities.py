"""The options of `align-uniform measure` that say which quantities are measured, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from align_uniform._apart import Reads, Writes
from align_uniform._options import Options

OWN_MEANS = "own"
"""The value of --center without a file."""


@dataclass(frozen=True)
class QuantityOptions(Options):
    """Quantities, and how they are computed."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("center",)),)
    t: tuple[float, ...] = (2.0,)
    """Temperature of uniformity, one or several."""
    alpha: float = 2.0
    """Exponent of alignment."""
    method: Literal["exact", "anchors"] = "exact"
    """Sum over all pairs (exact), or over all pairs of some rows (anchors)."""
    anchors: int = field(default=2000, metadata={"metavar": "K"})
    """Number of rows whose pairs are summed with --method anchors."""
    seed: int = 0
    """Seed of the choice of rows and of the views of images."""
    as_is: bool = False
    """Measure the rows as they are, without normalising them."""
    center: str | None = field(default=None, metadata={"metavar": "MEAN", "bare": OWN_MEANS})
    """Subtract the mean of the rows, of each view or tower, or the mean in a file, such as mean.npy. Rows are
    then normalised again.
    """
    dims: tuple[int, ...] = field(default=(), metadata={"metavar": "D"})
    """Numbers of first features, such as 64 128 256, to measure as well: rows are cut to them and normalised
    again (Matryoshka).
    """
    device: str = "auto"
    """Device that computes: auto, cpu, cuda or mps. Auto measures on cuda if there is one, else on the cpu,
    and encodes images on the best device there is.
    """
