"""The sweep over tiles of a matrix of logits: log-sum-exps of its rows, with their gradient, in O(N m + tile) memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from align_uniform.engine.precision import full_precision, sum_dtype
from align_uniform.engine.tiles import Mask, cut, in_buffer


@full_precision
def sweep(x: Tensor, y: Tensor, mask: Mask, needs_grad: bool) -> tuple[Tensor, Tensor | None]:
    """`log sum_j exp(x_i . y_j)`, [..., N], and its gradient with respect to row i, [..., N, m], in one pass over the tiles.

    The sums are over exp(largest logit so far), and are scaled down whenever a larger one comes. A row of which no pair counts
    has the value -inf, and the gradient 0.
    """
    batch = x.shape[:-2]
    x, y = (z.reshape(-1, *z.shape[-2:]) for z in (x, y))
    mask = mask.flat()
    limits = torch.finfo(x.dtype)
    largest = x.new_full(x.shape[:2], -math.inf)
    sums = x.new_zeros(x.shape[:2], dtype=sum_dtype(x))
    grad = torch.zeros_like(x) if needs_grad else None
    for rows, columns, logits in _tiles(x, y, mask):
        so_far = largest[:, rows]
        now = torch.maximum(so_far, logits.amax(2))
        base = now.clamp(min=limits.min)  # something to subtract, also where nothing has counted so far
        scale = (so_far - base).exp_()
        largest[:, rows] = now
        weights = logits.sub_(base.unsqueeze(2)).exp_()
        sums[:, rows] = sums[:, rows] * scale + weights.sum(2)
        if grad is not None:
            grad[:, rows] = torch.baddbmm(grad[:, rows].mul_(scale.unsqueeze(2)), weights, y[:, columns])
    if grad is not None:
        grad = grad.div_(sums.clamp(min=limits.tiny).unsqueeze(2).to(x.dtype)).view(*batch, *x.shape[1:])
    return (largest + sums.log().to(x.dtype)).view(*batch, x.shape[1]), grad


def _tiles(x: Tensor, y: Tensor, mask: Mask) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield `rows, columns, x_i . y_j`; each tile is overwritten by the next."""
    row_edges, column_edges, buffer = cut(x, y)
    for columns in column_edges:
        for rows in row_edges:
            tile = in_buffer(buffer, x[:, rows], y[:, columns])
            torch.bmm(x[:, rows], y[:, columns].mT, out=tile)
            yield rows, columns, mask.apply_(tile, rows, columns)
