"""The sweeps over pairs and over logits, by the kernel or by the tile loop."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from align_uniform.engine import logits, routes, tiles
from align_uniform.engine.logits import Kept, LogSums
from align_uniform.engine.mask import Mask
from align_uniform.engine.tiles import Sweep


def sweep(x: Tensor, y: Tensor | None, *options: Any) -> Sweep:
    """Compute value and gradients in one sweep; arguments as in `tiles.sweep`."""
    if routes.takes_kernel(x, y):
        from align_uniform.engine import fused  # loads triton

        return fused.sweep(x, y, *options)
    return tiles.sweep(x, y, *options)


def log_sums(x: Tensor, y: Tensor, mask: Mask, columns: bool) -> tuple[LogSums, Kept | None]:
    """Return the log-sum-exps of the rows and, if requested, the columns of logits.

    The second result holds the logits themselves, if they are few.
    """
    if are_few_logits(x, y):
        return logits.dense(x, y, mask, columns)
    return logits.log_sums(x, y, mask, columns), None


def logit_gradients(
    x: Tensor,
    y: Tensor,
    mask: Mask,
    kept: Kept | None,
    sums: LogSums,
    weights: LogSums,
    needs_x: bool,
    needs_y: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of weighted log-sum-exps, given the results of `log_sums`."""
    if kept is not None:
        return logits.dense_gradients(x, y, kept, sums, weights, needs_x, needs_y)
    return logits.gradients(x, y, mask, sums, weights, needs_x, needs_y)


def are_few_logits(x: Tensor, y: Tensor) -> bool:
    """Return whether the logits of these rows and columns are few enough to be kept for the gradient."""
    return x.shape[:-1].numel() * y.shape[-2] <= logits.DENSE_LOGITS
