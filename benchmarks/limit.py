"""The best that the machine could do: matrix products and exponentials of one tile, and nothing else.

The limit of a computation is `products * (seconds of a scalar product) + exponentials * (seconds of an exp)`,
with rates measured on a square tile that stays in the cache: `torch.mm(a, a.T, out=tile)`, a [1024, m], and
`torch.exp(tile, out=...)`. The rates take turns with the computation itself, so that both meet the same
machine. It is a limit for torch, not for the processor: a kernel that fuses both could go below.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.case import Work
from benchmarks.operations import unit_rows

TILE = 1024


def rate_actions(m: int) -> dict[str, Callable[[], object]]:
    """Return the two computations that `limit_seconds` needs the times of.

    They are `TILE`^2 scalar products of m features, and as many `exp`.
    """
    a = unit_rows(TILE, m)
    cosines = a @ a.T
    products, exponentials = torch.empty_like(cosines), torch.empty_like(cosines)
    return {
        "products": lambda: torch.mm(a, a.T, out=products),
        "exponentials": lambda: torch.exp(cosines, out=exponentials),
    }


def limit_seconds(work: Work, samples: dict[str, float]) -> float:
    """Return the limit, given the seconds of one call of each of `rate_actions`."""
    return (work.products * samples["products"] + work.exponentials * samples["exponentials"]) / TILE**2
