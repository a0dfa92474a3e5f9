"""The laws that rows are drawn from: independent items, each with one row or with several views."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

Law = Callable[[int, Generator], tuple[Tensor, ...]]
"""A function that draws n independent items, and returns their views, [n, m] each, on the sphere."""


def uniform(dim: int) -> Law:
    """Return the uniform law of the sphere."""

    def draw(count: int, generator: Generator) -> tuple[Tensor, ...]:
        return (normalize(torch.randn(count, dim, generator=generator)),)

    return draw


def cone(dim: int, widths: tuple[float, ...] = (1.0,), axis: int = 0, shift: float = 0.6) -> Law:
    """Return the law of a cone around an axis; each row has one of the widths, drawn at random."""

    def draw(count: int, generator: Generator) -> tuple[Tensor, ...]:
        width = torch.tensor(widths)[torch.randint(len(widths), (count, 1), generator=generator)]
        rows = torch.randn(count, dim, generator=generator) * width / math.sqrt(dim)
        rows[:, axis] += shift
        return (normalize(rows),)

    return draw


def clusters(dim: int, count: int, noise: float = 0.3, exponent: float = 0.0) -> Law:
    """Return the law of clusters around fixed centres.

    Args:
        dim: the number of features.
        count: the number of clusters.
        noise: the length of the noise around a centre, which is of length 1.
        exponent: the exponent of the clusters' probabilities by rank: 0 for equal ones, 1 for Zipf's law.
    """
    centres = normalize(torch.randn(count, dim, generator=Generator().manual_seed(0)))
    shares = torch.arange(1, count + 1).double().pow(-exponent)

    def draw(size: int, generator: Generator) -> tuple[Tensor, ...]:
        members = torch.multinomial(shares, size, replacement=True, generator=generator)
        return (_near(centres[members], noise, generator),)

    return draw


def tight_points(dim: int, share: float = 0.02) -> Law:
    """Return the uniform law, except that a small share of the rows lies at one place."""

    def draw(count: int, generator: Generator) -> tuple[Tensor, ...]:
        rows = torch.randn(count, dim, generator=generator)
        is_tight = torch.rand(count, generator=generator) < share
        rows[is_tight] *= 0.01
        rows[is_tight, 0] += 1
        return (normalize(rows),)

    return draw


def subsphere(dim: int, used: int) -> Law:
    """Return the uniform law of a sphere of fewer dimensions."""

    def draw(count: int, generator: Generator) -> tuple[Tensor, ...]:
        rows = torch.zeros(count, dim)
        rows[:, :used] = torch.randn(count, used, generator=generator)
        return (normalize(rows),)

    return draw


def views(law: Law, noise: float, count: int = 2) -> Law:
    """Return the law of items with several views, each of which is the item with noise of its own."""

    def draw(size: int, generator: Generator) -> tuple[Tensor, ...]:
        (items,) = law(size, generator)
        return tuple(_near(items, noise, generator) for _ in range(count))

    return draw


def captioned(law: Law, noise: float, gap: float) -> Law:
    """Return the law of items in two towers, whose second row is the first with noise and a fixed shift."""

    def draw(size: int, generator: Generator) -> tuple[Tensor, ...]:
        (items,) = law(size, generator)
        moved = items.clone()
        moved[:, -1] += gap
        return items, _near(moved, noise, generator)

    return draw


def side_by_side(*laws: Law) -> Law:
    """Return the law of items with independent views, one from each law."""

    def draw(size: int, generator: Generator) -> tuple[Tensor, ...]:
        return tuple(view for law in laws for view in law(size, generator))

    return draw


def another_encoder(law: Law, noise: float, squeeze: float = 1.0) -> Law:
    """Return the law of items as two encoders see them: the views of the one, then those of the other.

    The other encoder turns the views, adds noise to each, and shortens half of the features.
    """

    @functools.cache
    def rotation(dim: int) -> Tensor:
        turn: Tensor = torch.linalg.qr(torch.randn(dim, dim, generator=Generator().manual_seed(1))).Q
        return turn

    def draw(size: int, generator: Generator) -> tuple[Tensor, ...]:
        own = law(size, generator)
        other = []
        for view in own:
            changed = _near(view, noise, generator) @ rotation(view.shape[1])
            changed[:, ::2] *= squeeze
            other.append(normalize(changed))
        return (*own, *other)

    return draw


def _near(rows: Tensor, noise: float, generator: Generator) -> Tensor:
    return normalize(rows + torch.randn(rows.shape, generator=generator) * (noise / math.sqrt(rows.shape[1])))
