"""The definitions in a few differentiable operations, O(N^2) in memory.

They serve where a gradient written by hand cannot: in forward-mode AD, for higher derivatives, and in graphs,
where a loop over tiles would be unrolled.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align_uniform.engine.mask import Mask
from align_uniform.engine.precision import full_precision, widest


@full_precision
def log_potential(x: Tensor, y: Tensor | None, t: float, pairs: int, mask: Mask) -> Tensor:
    """Return `log(1/pairs sum exp(-t ||x_i - y_j||^2))`; arguments as in `engine.log_potential`."""
    dtype = widest(x, y)
    x, y = x.to(dtype), None if y is None else y.to(dtype)
    centre = common_centre(x, y)
    x = x - centre
    y = x if y is None else y - centre
    squared_distances = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2) - 2 * (x @ y.mT)
    exponents = -t * squared_distances
    # Exponents become at most 0; every derivative remains the derivative of the distance.
    exponents = exponents - exponents.detach().clamp(min=0)
    if x is y:
        mask, pairs = mask.within(), 2 * pairs  # the matrix holds every pair twice
    excluded = mask.excluded(exponents)
    if excluded is not None:
        exponents = exponents.masked_fill(excluded, -math.inf)
    exponents = exponents.flatten(-2)
    log_sum = exponents.logsumexp(-1) if mask.ids is None else log_of_sum(exponents, -1)
    return log_sum - x.new_full((), pairs).log()  # a tensor: a graph must not be made for one N


def common_centre(x: Tensor, y: Tensor | None) -> Tensor:
    """Return a common origin amid all rows; it is NaN if any row is not finite, and so is the result."""
    centre = x.mean(-2, keepdim=True)
    return centre if y is None else (centre + y.mean(-2, keepdim=True)) / 2


@full_precision
def log_sum_exp(x: Tensor, y: Tensor, mask: Mask) -> Tensor:
    """Return `log sum_j exp(x_i . y_j)`; arguments as in `engine.log_sum_exp`."""
    logits, may_be_empty = _logits(x, y, mask)
    return log_of_sum(logits, -1) if may_be_empty else logits.logsumexp(-1)


def log_sums(x: Tensor, y: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
    """Return the log-sum-exps of rows and of columns; arguments as in `engine.log_sums`."""
    return log_sum_exp(x, y, mask), log_sum_exp(y, x, mask.exchanged())


@full_precision
def log_odds(x: Tensor, y: Tensor, ids: Tensor | None) -> Tensor:
    """Return `log sum_{j != i} exp(x_i . y_j - x_i . y_i)` of rows and of columns; see `engine.log_odds`."""
    logits, may_be_empty = _logits(x, y, Mask(ids=ids).within())
    sums = [log_of_sum(logits, dim) if may_be_empty else logits.logsumexp(dim) for dim in (-1, -2)]
    return torch.stack(sums, -2) - (x * y).sum(-1).unsqueeze(-2)


def contrastive(x: Tensor, y: Tensor, ids: Tensor | None) -> Tensor:
    """Return the mean of `log(1 + exp(log-odds))` over rows and columns; see `engine.contrastive_of_few`."""
    return softplus(log_odds(x, y, ids)).mean((-2, -1))


def softplus(z: Tensor) -> Tensor:
    """Return `log(1 + exp(z))`, to the last digit of float64."""
    return torch.nn.functional.softplus(z, threshold=40)


def _logits(x: Tensor, y: Tensor, mask: Mask) -> tuple[Tensor, bool]:
    """Return x_i . y_j, -inf where a pair does not count, and whether some row or column may be empty."""
    dtype = widest(x, y)
    logits = x.to(dtype) @ y.to(dtype).mT
    excluded = mask.excluded(logits)
    if excluded is not None:
        logits = logits.masked_fill(excluded, -math.inf)
    return logits, mask.ids is not None or logits.shape[-1] == 1


def log_of_sum(logits: Tensor, dim: int) -> Tensor:
    """Return the log-sum-exp; where all logits are -inf, it is -inf with derivatives of 0."""
    # An empty sum is replaced before the logarithm as well as after it, since no derivative passes through
    # log 0.
    nothing = (logits == -math.inf).all(dim, keepdim=True)
    sums = logits.masked_fill(nothing, 0).logsumexp(dim)
    return sums.masked_fill(nothing.squeeze(dim), -math.inf)
