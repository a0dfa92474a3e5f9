"""The sums of the kernels, as their definitions in float64 numpy, and the pairs that they leave out."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.oracle import numbers

Array: TypeAlias = NDArray[np.float64]


class Mask(NamedTuple):
    """The pairs that are left out."""

    skip: int | None = None
    x_ids: Tensor | None = None
    y_ids: Tensor | None = None

    @property
    def reversed(self) -> Mask:
        """Return the same pairs with rows and columns exchanged."""
        return Mask(None if self.skip is None else -self.skip, self.y_ids, self.x_ids)


EVERYONE = Mask()


def mask(name: str, x: Tensor, y: Tensor) -> Mask:
    if name == "ids":
        generator = torch.Generator().manual_seed(7)
        return Mask(1, *(torch.randint(4, z.shape[:2], generator=generator) for z in (x, y)))
    return Mask({"everyone": None, "itself": 0, "later": 3, "earlier": -2}[name])


# ------------------------------------------------------------------------------------------------ definitions


def squared_distances(x: Tensor, y: Tensor) -> Array:
    """Return ||x_i - y_j||^2 by explicit differences: [B, N, M]."""
    return np.stack(
        [((a[:, None] - b[None]) ** 2).sum(-1) for a, b in zip(numbers(x), numbers(y), strict=True)]
    )


def masked(exponents: Array, without: Mask) -> Array:
    """Return the exponents, with -inf for pairs that are left out."""
    rows, columns = exponents.shape[1:]
    left_out = np.zeros(exponents.shape, dtype=bool)
    if without.skip is not None:
        left_out |= np.arange(rows)[:, None] + without.skip == np.arange(columns)
    if without.x_ids is not None and without.y_ids is not None:
        left_out |= without.x_ids.numpy()[:, :, None] == without.y_ids.numpy()[:, None, :]
    return np.where(left_out, -np.inf, exponents)


def exponents_of(x: Tensor, y: Tensor, scale: float, squared: bool, without: Mask) -> Array:
    if squared:
        return masked(-scale * squared_distances(x, y), without)
    return masked(scale * numbers(x) @ numbers(y).swapaxes(1, 2), without)


def log_sums(exponents: Array) -> Array:
    largest = exponents.max(-1)
    base = np.where(np.isinf(largest), 0, largest)
    result: Array = base + np.log(np.exp(exponents - base[..., None]).sum(-1))
    return result


def shares(exponents: Array) -> Array:
    """Return each pair's share of its row's sum; 0 where a row has no pair."""
    logs = log_sums(exponents)
    return np.exp(exponents - np.where(np.isinf(logs), 0, logs)[..., None])


def means(x: Tensor, y: Tensor, exponents: Array, squared: bool) -> Array:
    weights, a, b = shares(exponents), numbers(x), numbers(y)
    if not squared:
        return weights @ b
    return np.stack(
        [(w[..., None] * (v[None] - u[:, None])).sum(1) for w, u, v in zip(weights, a, b, strict=True)]
    )


def reach(x: Tensor, y: Tensor, scale: float) -> float:
    """Return t R^2, at least 1: the rounding of exponents grows with it."""
    return max(1.0, abs(scale) * max(float((numbers(z) ** 2).sum(-1).max()) for z in (x, y)))
