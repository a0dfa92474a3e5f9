"""The change of an embedding's shape: numbers that no rotation changes, of two samples of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform.measuring.populations import Population, take

HALF_ROWS = 1000
"""The largest number of rows of each half of a side."""

COSINE_ROWS = 448
"""The largest number of rows of a half whose pairs give the distribution of cosines."""


@dataclass(frozen=True)
class ShapeChange:
    """The change of the distances within an embedding, and of its spectrum.

    Both sides are cut into two random halves of equal size. A change is the mean over two pairs of halves of
    different sides, its floor the same over the halves of one side. Where both sides are of one shape, a
    change is about its floor.

    Example:
        >>> import torch
        >>> from align_uniform import drift
        >>> x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
        >>> turned = x @ torch.linalg.qr(x[:16]).Q
        >>> shape = drift(x, turned, rotation_invariant=True).shape
        >>> abs(shape.cosines - shape.cosines_floor) < 0.01
        True
    """

    cosines: float
    """The distance by which the cosines of two rows moved: the Wasserstein distance of their distributions,
    from 0 to 2.
    """
    cosines_floor: float
    """The same distance between two halves of one side."""
    spectrum: float
    """The share of the variance that moved to principal directions of another rank: half the summed
    differences of the shares of the variance that the directions have, largest first; from 0 to 1.
    """
    spectrum_floor: float
    """The same share between two halves of one side."""


def shape_change(a: Population, b: Population, seed: int) -> ShapeChange:
    """Compare the cosines and the spectra of two populations, whose dimensions may differ."""
    generator = torch.Generator().manual_seed(seed)
    size = min(len(a), len(b), 2 * HALF_ROWS) // 2
    halves = [half for side in (a, b) for half in _halves(side, size, generator)]
    cosines, spectra = [_cosines(half) for half in halves], [_shares(half) for half in halves]
    return ShapeChange(
        *_change_and_floor(cosines, lambda x, y: float((x - y).abs().mean())),
        *_change_and_floor(spectra, _moved_share),
    )


def _change_and_floor(
    halves: list[Tensor], distance: Callable[[Tensor, Tensor], float]
) -> tuple[float, float]:
    """Return the mean distance of halves of different sides, and of halves of one side."""
    a, other_a, b, other_b = halves
    change = (distance(a, b) + distance(other_a, other_b)) / 2
    return change, (distance(a, other_a) + distance(b, other_b)) / 2


def _halves(side: Population, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return two disjoint random samples of the rows, float64."""
    chosen = torch.randperm(len(side), generator=generator, device="cpu")[: 2 * size]
    rows = take(side, chosen).cpu().double()
    return rows[:size], rows[size:]


def _cosines(rows: Tensor) -> Tensor:
    """Return the cosines of all pairs of a few rows, rising."""
    unit = torch.nn.functional.normalize(rows[:COSINE_ROWS], dim=1)
    above = torch.triu_indices(len(unit), len(unit), offset=1, device="cpu")
    return (unit @ unit.T)[above[0], above[1]].sort().values


def _shares(rows: Tensor) -> Tensor:
    """Return the share of the variance of each principal direction, the largest first."""
    values = torch.linalg.svdvals(rows - rows.mean(0)).square()
    shares: Tensor = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return shares


def _moved_share(x: Tensor, y: Tensor) -> float:
    size = max(len(x), len(y))
    x, y = (torch.nn.functional.pad(each, (0, size - len(each))) for each in (x, y))
    return float((x - y).abs().sum()) / 2
