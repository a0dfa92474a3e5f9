"""The sweep over pairs, by the kernel or by the tile loop."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from align_uniform.engine import routes, tiles
from align_uniform.engine.tiles import Sweep


def sweep(x: Tensor, y: Tensor | None, *options: Any) -> Sweep:
    """Compute value and gradients in one sweep; arguments as in `tiles.sweep`."""
    if routes.takes_kernel(x, y):
        from align_uniform.engine import fused  # loads triton

        return fused.sweep(x, y, *options)
    return tiles.sweep(x, y, *options)
