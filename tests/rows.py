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
