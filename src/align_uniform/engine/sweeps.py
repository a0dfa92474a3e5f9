"""The sweeps over pairs and over logits, by whoever computes them here: the kernel or the tile loop."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from align_uniform.engine import logits, routes, tiles
from align_uniform.engine.precision import widest
from align_uniform.engine.tiles import Mask, Sweep


def sweep(x: Tensor, y: Tensor | None, *options: Any) -> Sweep:
    """Value and gradients in one sweep; arguments as in `tiles.sweep`."""
    if routes.takes_kernel(x, y):
        from align_uniform.engine import fused  # loads triton

        return fused.sweep(x, y, *options)
    return tiles.sweep(x, y, *options)


def log_sum_exp(x: Tensor, y: Tensor, mask: Mask, needs_grad: bool) -> tuple[Tensor, Tensor | None]:
    """The log-sum-exp of every row of logits and its gradient, in one pass of the tile loop; arguments as in `logits.sweep`."""
    dtype = widest(x, y)
    return logits.sweep(x.to(dtype), y.to(dtype), mask, needs_grad)
