"""Sums over all pairs of rows: the only O(N^2) code of the package, and the one place that chooses how they are computed.

Two quantities are computed here. The first is the log of a sum of Gaussian potentials over pairs of rows,

    log_potential(x, t, pairs)       = log( 1/pairs  sum_{i<j}  exp(-t ||x_i - x_j||^2) ),
    log_potential(x, t, pairs, y=y)  = log( 1/pairs  sum_{i, j} exp(-t ||x_i - y_j||^2) ),

the second, `log_sum_exp`, the row-wise and column-wise log-sum-exp of a matrix of logits. The ways:

* `plain`: the definition in differentiable operations, O(N^2) in memory; for forward-mode AD, higher derivatives, and graphs.
* `tiles` and `logits`: sweeps over tiles of the matrix in O(N m) memory, on any device; value and gradient in one pass.
* `triton`: the same sweeps as one fused kernel, with `fused` to make values and gradients of its sums.

`autograd` gives the sweeps their derivatives, `precision` says what keeps their digits, `routes` asks what the choice needs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from align_uniform.engine import autograd, plain, routes, sweeps
from align_uniform.engine.tiles import Mask

__all__ = ["keeps_halves", "log_potential", "log_sum_exp"]


def keeps_halves(x: Tensor, y: Tensor | None = None) -> bool:
    """Whether half-precision rows are multiplied as they are, without a copy in float32."""
    return x.dtype in routes.HALVES and (y is None or y.dtype == x.dtype) and routes.takes_kernel(x, y)


def log_potential(
    x: Tensor,
    t: float,
    pairs: int,
    *,
    y: Tensor | None = None,
    skip: int | None = None,
    ids: Tensor | None = None,
    y_ids: Tensor | None = None,
) -> Tensor:
    """Return `log(1/pairs sum exp(-t ||x_i - y_j||^2))` over distinct pairs of x, or over all of x and y.

    Args:
        x: rows, [..., N, m], floating point; half precision is computed in float32.
        t: inverse squared width of the Gaussian, positive.
        pairs: the number to divide the sum by, so that several sums can share one mean.
        y: the second population, [..., M, m]; None sums over the pairs i < j of x.
        skip: with `y`: row i of x is row `skip + i` of y, and is not a pair of itself.
        ids: [..., N] integers; pairs of one id are left out.
        y_ids: with `y` and `ids`: the ids of y, [..., M].

    Returns:
        [...], float32 or float64; -inf where no pair is left.
    """
    if x.shape[-2] == 0:  # a process without rows adds nothing to the sum, and still takes part in the graph
        no_rows = x if y is None else torch.cat([x, y[..., :0, :]], -2)
        return no_rows.sum((-2, -1)) - math.inf
    if routes.forward_ad_is_active():
        return plain.log_potential(x, y, t, pairs, skip, ids, y_ids)
    needs_x, needs_y = (torch.is_grad_enabled() and z is not None and z.requires_grad for z in (x, y))
    if torch.compiler.is_compiling():
        if _belongs_into_a_graph(x, x if y is None else y):
            return plain.log_potential(x, y, t, pairs, skip, ids, y_ids)
        value: Tensor
        value, *_ = autograd.opaque_log_potential(x, y, ids, y_ids, t, pairs, needs_x, needs_y)
        return value
    if routes.is_traced():
        return plain.log_potential(x, y, t, pairs, skip, ids, y_ids)
    if needs_x or needs_y or routes.functorch_is_active():
        return autograd.log_potential(x, y, ids, y_ids, t, pairs, skip, needs_x, needs_y)
    return sweeps.sweep(x, y, t, pairs, skip, ids, y_ids).log_potential


def _belongs_into_a_graph(x: Tensor, y: Tensor) -> bool:
    """Whether a graph that is being compiled holds the matrix of pairs; an exported one always does.

    A limit on the number of pairs would become a condition of the exported graph.
    """
    if torch.compiler.is_exporting() or routes.functorch_is_active():
        return True
    return bool(x.shape[:-1].numel() * y.shape[-2] <= routes.PLAIN_PAIRS)


def log_sum_exp(
    x: Tensor,
    y: Tensor,
    *,
    columns: bool,
    skip: int | None = None,
    ids: Tensor | None = None,
    y_ids: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Return `log sum_j exp(x_i . y_j)`, [..., N], and with `columns` also `log sum_i exp(x_i . y_j)`, [..., M].

    Without `columns`, and where y is a constant, one sweep gives values and gradient. Else more than `PLAIN_PAIRS` logits are
    computed in blocks of rows, and again in the backward pass. Either way the memory stays O((N + M) m + block), and the
    result is differentiable to any order.

    Args:
        x: rows, [..., N, m], float32 or float64.
        y: columns, [..., M, m].
        columns: sum over the rows as well.
        skip: row i of x and row `skip + i` of y are no pair.
        ids: [..., N] integers; pairs of one id are left out.
        y_ids: the ids of y, [..., M].

    Returns:
        One or two tensors; -inf where no pair is left.
    """
    mask = Mask(skip, ids, y_ids)
    if torch.compiler.is_compiling() or _is_transformed():
        return plain.log_sum_exp(x, y, columns, *mask)
    needs_x, needs_y = (torch.is_grad_enabled() and z.requires_grad for z in (x, y))
    logits = x.shape[:-1].numel() * y.shape[-2]
    if not columns and not needs_y and logits > routes.PLAIN_LOGITS:
        if needs_x:
            return (autograd.row_log_sum_exp(x, y, mask),)
        return (sweeps.log_sum_exp(x, y, mask, needs_grad=False)[0],)
    if logits <= routes.PLAIN_PAIRS:
        return plain.log_sum_exp(x, y, columns, *mask)
    return _in_blocks(x, y, columns, mask)


def _is_transformed() -> bool:
    return routes.forward_ad_is_active() or routes.functorch_is_active() or routes.is_traced()


def _in_blocks(x: Tensor, y: Tensor, columns: bool, mask: Mask) -> tuple[Tensor, ...]:
    """Blocks of rows, each of which keeps its logits only while it is computed."""
    size = max(1, routes.PLAIN_PAIRS // (y.shape[-2] * x.shape[:-2].numel()))
    parts = []
    for start in range(0, x.shape[-2], size):
        block = x[..., start : start + size, :]
        skip = None if mask.skip is None else mask.skip + start
        ids = None if mask.ids is None else mask.ids[..., start : start + size]
        options = block, y, columns, skip, ids, mask.column_ids
        parts.append(checkpoint(plain.log_sum_exp, *options, use_reentrant=False, preserve_rng_state=False))
    row_sums, *column_sums = zip(*parts, strict=True)
    return torch.cat(row_sums, -1), *(plain.log_of_sum(torch.stack(part), 0) for part in column_sums)
