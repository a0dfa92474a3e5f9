"""Made-up embeddings with one known fault, two, or none, by which the verdict is calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from tests.rows import cone, normal, unit

N, DIM = 1000, 64


@dataclass(frozen=True)
class MadeUp:
    """An embedding, and what the verdict has to say about it: no more and no less than these, notes aside."""

    name: str
    make: Callable[[], Measurement]
    faults: dict[str, str]

    def __str__(self) -> str:
        return self.name


def turned(rows: Tensor, angle: float = 0.3) -> Tensor:
    """A second view, not far away."""
    return normalize(rows + angle * unit(*rows.shape, seed=9), dim=1)


def scaled(features: int, scale: float, dim: int) -> Tensor:
    """Normal rows, of which some features have a larger scale."""
    rows = normal(N, dim)
    rows[:, :features] *= scale
    return rows


def places(count: int, length: float, dim: int = DIM) -> Tensor:
    """Rows around several places, in turns."""
    return length * unit(count, dim, seed=3)[torch.arange(N) % count] + unit(N, dim)


def classes(count: int, noise: float, **options: Any) -> Measurement:
    """Rows of labelled classes."""
    labels = torch.arange(N) % count
    return measure(places(count, 1 / noise), labels=labels.tolist(), **options)


def languages(length: float, dim: int = 384) -> Tensor:
    """Rows of five languages, whose offsets are orthogonal."""
    return length * torch.eye(dim, dtype=torch.float64)[torch.arange(N) % 5] + unit(N, dim)


def with_hub() -> Tensor:
    """Rows with a slight common direction, which one row is."""
    rows = unit(N, 256) + 0.3 * unit(1, 256, seed=2)
    rows[0] = unit(1, 256, seed=2)[0]
    return rows


def wrong_pairs(share: float) -> Measurement:
    """Two views, some of whose rows belong to others."""
    rows = unit(N, DIM)
    other = turned(rows)
    other[: int(share * N)] = other[: int(share * N)].roll(1, 0)
    return measure(rows, other)


def repeated(share: float, jitter: float = 0.0) -> Tensor:
    """Rows of which the last ones are the first ones again, nearly."""
    rows, count = unit(N, DIM), int(share * N / 2)
    rows[N - count :] = normalize(rows[:count] + jitter * unit(count, DIM, seed=4), dim=1)
    return rows


def crowd() -> Tensor:
    """Rows of which half are one and the same."""
    rows = unit(N, DIM)
    rows[N // 2 :] = rows[0]
    return rows


def opposite(length: float, dim: int = DIM) -> Tensor:
    """Rows around two opposite places, in turns."""
    return length * unit(1, dim, seed=3) * (torch.arange(N)[:, None] % 2 * 2.0 - 1) + unit(N, dim)


def surface(dim: int) -> Tensor:
    """Rows spread over a great sphere of few dimensions."""
    basis: Tensor = torch.linalg.qr(normal(DIM, dim, seed=3)).Q
    return unit(N, dim) @ basis.T


def with_large_norm() -> Tensor:
    """Rows of norm 1, and one of norm 1,000."""
    rows = unit(N, DIM)
    rows[5] *= 1000
    return rows


def lognormal_norms() -> Tensor:
    """Rows whose norms carry the frequency of words, say."""
    return unit(N, DIM) * torch.exp(0.5 * normal(N, 1, seed=7))


def shuffled(count: int) -> list[int]:
    """Labels that have nothing to do with the rows."""
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    return (order % count).tolist()


WARNING, PROBLEM = "warning", "problem"
DIRECTIONS = {"few directions dominate": WARNING}
LOW_RANK = {"low rank": WARNING}
IDENTICAL = {"identical views": PROBLEM}

HEALTHY = [
    MadeUp("two views of uniform rows", lambda: measure(unit(N, DIM), turned(unit(N, DIM))), {}),
    MadeUp("fewer uniform rows than features", lambda: measure(unit(200, 384)), {}),
    MadeUp("more even than chance", lambda: measure(torch.cat([torch.eye(64), -torch.eye(64)])), {}),
    MadeUp("ten classes, told apart by all", lambda: classes(10, 0.5), {}),
    MadeUp("ten wide classes, relative alignment 0.69", lambda: classes(10, 1.5), {}),
    MadeUp("all pairs rather far apart", lambda: measure(unit(N, DIM), turned(unit(N, DIM), 1.5)), {}),
    MadeUp("a few wrong pairs", lambda: wrong_pairs(0.04), {}),
    MadeUp("norms that carry meaning", lambda: measure(lognormal_norms()), {}),
    MadeUp("equal norms of 5", lambda: measure(5 * unit(N, DIM)), {}),
    MadeUp("a few duplicates", lambda: measure(repeated(0.008)), {}),
    MadeUp("a sphere of ten dimensions in 32", lambda: measure(surface(10)[:, :32]), {}),
]
"""Embeddings about which nothing is to be said."""

FAULTY = [
    MadeUp("a weak cone", lambda: measure(cone(N, DIM)), {"cone": WARNING}),
    MadeUp("a strong cone", lambda: measure(cone(N, DIM, 1.5)), {"cone": PROBLEM}),
    MadeUp(
        "one feature of thirty times the scale",
        lambda: measure(scaled(1, 30, 128)),
        DIRECTIONS | {"hubs": WARNING},
    ),
    MadeUp(
        "three rogue features",
        lambda: measure(scaled(3, 30, 384)),
        DIRECTIONS | {"rows that nothing finds": WARNING},
    ),
    MadeUp("two opposite clusters", lambda: measure(opposite(1.1)), DIRECTIONS),
    MadeUp(
        "two batches, still there when the cone is centred",
        lambda: measure(places(2, 1.5, 384)),
        {"cone": WARNING} | DIRECTIONS,
    ),
    MadeUp("five languages", lambda: measure(languages(2)), DIRECTIONS),
    MadeUp("a hub", lambda: measure(with_hub()), {"hubs": WARNING}),
    MadeUp("one view twice", lambda: measure(unit(N, DIM), unit(N, DIM)), IDENTICAL),
    MadeUp(
        "one view twice, once rounded",
        lambda: measure(unit(N, DIM), unit(N, DIM).bfloat16(), pairs=(range(N), range(N))),
        IDENTICAL,
    ),
    MadeUp("20% wrong pairs", lambda: wrong_pairs(0.2), {"wrong pairs": WARNING}),
    MadeUp(
        "pairs in another order",
        lambda: wrong_pairs(1),
        {"pairs no closer than chance": PROBLEM, "wrong pairs": WARNING},
    ),
    MadeUp(
        "labels in another order",
        lambda: measure(unit(N, DIM), labels=shuffled(10)),
        {"labels no closer than chance": PROBLEM},
    ),
    MadeUp("some duplicates", lambda: measure(repeated(0.05)), {"duplicates": WARNING}),
    MadeUp("half of the rows are duplicates", lambda: measure(repeated(0.5)), {"duplicates": PROBLEM}),
    MadeUp("the same, nearly", lambda: measure(repeated(0.5, 0.03)), {"duplicates": PROBLEM}),
    MadeUp(
        "half of the rows in one place",
        lambda: measure(crowd()),
        {"duplicates": PROBLEM, "collapsed": PROBLEM, "cone": WARNING},
    ),
    MadeUp("ten dimensions of 64", lambda: measure(surface(10)), LOW_RANK),
    MadeUp("a smooth surface", lambda: measure(surface(3)), LOW_RANK | DIRECTIONS),
    MadeUp("a smooth curve", lambda: measure(surface(2)), LOW_RANK | DIRECTIONS),
    MadeUp(
        "a constant with noise",
        lambda: measure(1 + 0.01 * normal(N, 16)),
        {"collapsed": PROBLEM, "cone": PROBLEM, "duplicates": PROBLEM} | LOW_RANK,
    ),
    MadeUp(
        "shuffled pairs in a cone",
        lambda: measure(cone(N, DIM), turned(cone(N, DIM)).roll(1, 0)),
        {"cone": WARNING, "pairs no closer than chance": PROBLEM, "wrong pairs": WARNING},
    ),
    MadeUp("one norm of a thousand", lambda: measure(with_large_norm()), {"unequal norms": WARNING}),
]
"""Embeddings with faults; where there are two, both are to be named."""
