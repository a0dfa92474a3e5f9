"""Made-up features: the same numbers whenever and in whatever order the tests run."""

from __future__ import annotations

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return independent standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return rows drawn uniformly from the unit sphere."""
    return torch.nn.functional.normalize(normal(*shape, seed=seed), dim=-1).to(dtype)


def rotation(dim: int) -> Tensor:
    """A rotation, [dim, dim]."""
    q, _ = torch.linalg.qr(normal(dim, dim, seed=99))
    return torch.as_tensor(q)


def cone(n: int, dim: int, share: float = 0.6) -> Tensor:
    """Unit rows around a common direction."""
    return torch.nn.functional.normalize(unit(n, dim) + share * unit(1, dim, seed=7), dim=-1)
