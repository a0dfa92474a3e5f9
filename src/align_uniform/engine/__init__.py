"""The sums over all pairs of rows: the only O(N^2) code of the package, and the choice of its computation.

Two quantities are computed here. The first is the log of a sum of Gaussian potentials over pairs of rows,

    log_potential(x, t, pairs)       = log( 1/pairs  sum_{i<j}  exp(-t ||x_i - x_j||^2) ),
    log_potential(x, t, pairs, y=y)  = log( 1/pairs  sum_{i, j} exp(-t ||x_i - y_j||^2) ).

The second is the log-sum-exp of the rows of a matrix of logits. `log_odds` takes it of the rows and of the
columns of the logits of a batch, and subtracts each row's own logit. There are four ways to compute them:

* `plain`: the definition in differentiable operations, O(N^2) in memory; for forward-mode AD, higher
  derivatives, and graphs.
* `tiles` and `logits`: sweeps over tiles of the matrix in O(N m) memory, on any device; value and gradient in
  one pass, or in two for logits of which both sides have a gradient.
* `few`: the losses of a small batch in as few operators as possible, on a CPU.
* `triton`: the same sweeps as one fused kernel; `fused` makes values and gradients of its sums.

`autograd` gives the sweeps their derivatives, `precision` says what keeps their digits, and `routes` answers
the questions on which the choice depends.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align_uniform.engine import autograd, few, logits, plain, routes, sweeps
from align_uniform.engine.mask import Mask
from align_uniform.engine.precision import widest

__all__ = ["contrastive_of_few", "keeps_halves", "log_odds", "log_potential", "log_sum_exp", "log_sums"]


def keeps_halves(x: Tensor, *others: Tensor | None) -> bool:
    """Return whether half-precision rows are multiplied as they are, without a copy in float32."""
    if x.dtype not in routes.HALVES or torch.compiler.is_compiling():
        return False
    return all(z is None or z.dtype == x.dtype for z in others) and routes.takes_kernel(x)


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
    mask = Mask(skip, ids, y_ids)
    if routes.forward_ad_is_active():
        return plain.log_potential(x, y, t, pairs, mask)
    if y is None and ids is None and few.are_few_pairs(x):
        found = autograd.log_potential_of_few(x, t, pairs)
        if found is not None:
            return found
    needs_x, needs_y = (torch.is_grad_enabled() and z is not None and z.requires_grad for z in (x, y))
    if torch.compiler.is_compiling():
        if _belongs_into_a_graph(x, x if y is None else y):
            return plain.log_potential(x, y, t, pairs, mask)
        value: Tensor
        value, *_ = autograd.opaque_log_potential(x, y, ids, y_ids, t, pairs, needs_x, needs_y)
        return value
    if routes.is_traced():
        return plain.log_potential(x, y, t, pairs, mask)
    if needs_x or needs_y or routes.functorch_is_active():
        return autograd.log_potential(x, y, t, pairs, mask, needs_x, needs_y)
    return sweeps.sweep(x, y, t, pairs, mask).log_potential


def _belongs_into_a_graph(x: Tensor, y: Tensor) -> bool:
    """Return whether a graph that is being compiled holds the matrix of pairs; an exported one always does.

    A limit on the number of pairs would become a condition of the exported graph.
    """
    if routes.is_exporting() or routes.functorch_is_active():
        return True
    return bool(x.shape[:-1].numel() * y.shape[-2] <= routes.PLAIN_PAIRS)


def log_sum_exp(
    x: Tensor,
    y: Tensor,
    scale: float | Tensor,
    *,
    skip: int | None = None,
    ids: Tensor | None = None,
    y_ids: Tensor | None = None,
) -> Tensor:
    """Return `log sum_j exp(scale x_i . y_j)`, [..., N].

    The memory is O((N + M) m), and the result differentiable to any order. Where y is a constant, one sweep
    gives values and gradient.

    Args:
        x: rows, [..., N, m], floating point; half precision is computed in float32.
        y: columns, [..., M, m], in the dtype of x.
        scale: the factor of the logits, a number or a tensor of no dimensions, which may have a gradient.
        skip: row i of x and row `skip + i` of y are no pair.
        ids: [..., N] integers; pairs of one id are left out.
        y_ids: the ids of y, [..., M].

    Returns:
        [..., N], float32 or float64; -inf where no pair is left.
    """
    if x.shape[-2] == 0:  # a process without rows has no sums, and still takes part in the graph
        return _logits_of_nothing(x, y, scale).sum(-1)
    mask = Mask(skip, ids, y_ids)
    is_recorded = routes.is_recorded()
    if not is_recorded and routes.takes_kernel(x, y):
        return autograd.fused_log_sum_exp(x, y, _on_device(scale, x), mask)
    x, y = _scaled(x, y, scale)
    if is_recorded:
        return plain.log_sum_exp(x, y, mask)
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
        return autograd.log_sum_exp(x, y, mask)
    sums, _ = logits.log_sums(x, y, mask, columns=False)
    return sums.rows


def log_sums(
    x: Tensor,
    y: Tensor,
    scale: float | Tensor,
    *,
    skip: int,
    ids: Tensor | None = None,
    y_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `log sum_j exp(scale x_i . y_j)`, [..., N], and `log sum_i exp(scale x_i . y_j)`, [..., M].

    Arguments are those of `log_sum_exp`; one sweep gives both, except for the kernel.
    """
    mask = Mask(skip, ids, y_ids)
    is_recorded = routes.is_recorded()
    if x.shape[-2] == 0:  # a process without rows adds nothing to the sums of columns
        nothing = _logits_of_nothing(x, y, scale)
        return nothing.sum(-1), nothing.sum(-2) - math.inf
    if not is_recorded and routes.takes_kernel(x, y):
        of_rows = log_sum_exp(x, y, scale, skip=skip, ids=ids, y_ids=y_ids)
        return of_rows, log_sum_exp(y, x, scale, skip=-skip, ids=y_ids, y_ids=ids)
    x, y = _scaled(x, y, scale)
    if is_recorded:
        return plain.log_sums(x, y, mask)
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
        rows, columns = autograd.log_sums(x, y, mask)
    else:
        rows, columns = logits.log_sums(x, y, mask, columns=True)[0]
    assert columns is not None
    return rows, columns


def _logits_of_nothing(x: Tensor, y: Tensor, scale: float | Tensor) -> Tensor:
    """Return the logits of no rows, [..., 0, M], in the graph; a product would be lowered by autocast."""
    return (x.unsqueeze(-2) * y.unsqueeze(-3)).sum(-1) * scale


def log_odds(x: Tensor, y: Tensor, scale: float | Tensor, *, ids: Tensor | None = None) -> Tensor:
    """Return the log-odds of other rows against the positive, for every row of x and of y: [..., 2, N].

    These are `log sum_{j != i} exp(l_ij - l_ii)` and `log sum_{j != i} exp(l_ji - l_ii)` with logits `l_ij =
    scale x_i . y_j`. Arguments and memory are those of `log_sum_exp`, row i of x and row i of y being a pair;
    with ids, other rows of the same id are left out.
    """
    is_recorded = routes.is_recorded()
    if not is_recorded and routes.takes_kernel(x, y):
        return autograd.fused_log_odds(x, y, _on_device(scale, x), ids)
    x, y = _scaled(x, y, scale)
    if is_recorded:
        return plain.log_odds(x, y, ids)
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
        return autograd.log_odds(x, y, ids)
    sums, _ = logits.log_sums(x, y, Mask(ids=ids).within(), columns=True)
    return logits.odds(x, y, sums)


def contrastive_of_few(
    x: Tensor, y: Tensor, scale: float | Tensor, *, ids: Tensor | None = None
) -> Tensor | None:
    """Return the mean of `log(1 + exp(log-odds))`, [...], for few rows; None if `log_odds` is to be used."""
    if routes.is_recorded() or routes.takes_kernel(x, y) or not few.are_few_logits(x):
        return None
    return autograd.contrastive_of_few(*_scaled(x, y, scale), ids)


def _scaled(x: Tensor, y: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor]:
    dtype = widest(x, y)
    return x.to(dtype) * scale, y.to(dtype)


def _on_device(scale: float | Tensor, x: Tensor) -> Tensor:
    """Return the scale as the kernel reads it, without waiting for its value."""
    if not isinstance(scale, Tensor):
        return x.new_full((), scale, dtype=torch.float32)
    if scale.device != x.device:  # a number on the CPU goes along with a launch, where a copy would wait
        scale = x.new_ones((), dtype=scale.dtype) * scale
    return scale.float()
