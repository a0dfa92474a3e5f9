"""The losses of few rows, whose cost is that of calling operators: as few of them as possible.

A pair costs less where a product makes a tile of them, but a sweep over tiles takes twice as many operators,
each of which costs as much as many pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform.engine.mask import Mask
from align_uniform.engine.precision import WIDE, full_precision
from align_uniform.engine.routes import may_ask, takes_kernel

ROWS = 256
"""The largest number of rows whose uniformity is computed here, however few their features."""

PAIRS = 2**23
"""The largest N^2 m of rows whose uniformity is computed here: 256 rows of 128 features."""

PAIRS_WITH_GRADIENT = 2**21
"""The largest N^2 m if a gradient is needed: 128 rows of 128 features."""

LOGITS = 2**20
"""The largest number of logits of a contrastive loss that is computed here: 1,024 rows."""

LARGEST_EXPONENT = 40.0
"""The largest size of exponents that need no care: no sum, and no ratio of sums, leaves float32's range."""


def are_few_pairs(x: Tensor) -> bool:
    """Return whether the uniformity of these rows is computed here, where their numbers may be read."""
    if not may_ask(x) or x.dim() != 2 or x.dtype not in WIDE or takes_kernel(x):
        return False
    rows = x.shape[0]
    needs_grad = x.requires_grad and torch.is_grad_enabled()
    return 1 < rows <= ROWS and rows * x.numel() <= (PAIRS_WITH_GRADIENT if needs_grad else PAIRS)


def log_potential(x: Tensor, t: float, pairs: int, needs_grad: bool) -> tuple[Tensor, Tensor | None] | None:
    """Return `log(1/pairs sum_{i<j} exp(-t ||x_i - x_j||^2))` and, if needed, its gradient.

    None if rows are so far apart that the sum needs more care, or are not finite. Autocast lowers none
    of these operators.
    """
    x = x.contiguous()
    distances = torch.pdist(x)  # from differences of rows, which cancel no more than they must
    largest = distances.amax().item()
    if not t * largest * largest <= LARGEST_EXPONENT:
        return None
    potentials = distances.square_().mul_(-t).exp_()
    total = potentials.sum().item()
    value = x.new_full((), math.log(total / pairs))
    if not needs_grad:
        return value, None
    # torch multiplies each weight by (x_i - x_j) / distance: with this "distance", -2t / total comes out.
    divisor = torch.full_like(potentials, -total / (2 * t))
    return value, torch.ops.aten._pdist_backward(potentials, x, 2.0, divisor)


class Contrastive(NamedTuple):
    """The contrastive loss in batch, and its gradients if they are needed."""

    value: Tensor
    """The mean of `log(1 + exp(log-odds))` over rows and columns, [...]."""
    grad_x: Tensor | None
    grad_y: Tensor | None


def are_few_logits(x: Tensor) -> bool:
    """Return whether the contrastive loss of these rows is computed here, where numbers may be read."""
    return may_ask(x) and x.shape[-2] > 1 and x.shape[-2] * x.shape[:-1].numel() <= LOGITS


@full_precision
def contrastive(
    x: Tensor, y: Tensor, ids: Tensor | None, needs_x: bool = False, needs_y: bool = False
) -> Contrastive | None:
    """Return the contrastive loss of logits `x_i . y_j` and, if needed, its gradients.

    None if a logit is large or not finite.
    """
    matrix = x @ y.mT
    lowest, highest = torch.aminmax(matrix)
    if not max(-lowest.item(), highest.item()) <= LARGEST_EXPONENT:
        return None
    diagonal = matrix.diagonal(0, -2, -1)
    own = diagonal.exp().unsqueeze(-2)
    Mask(0, ids, ids).apply_(matrix)
    matrix.exp_()
    others = torch.stack([matrix.sum(-1), matrix.sum(-2)], -2)  # [..., 2, N]: of rows and of columns
    value = (others / own).log1p_().mean((-2, -1))
    if not (needs_x or needs_y):
        return Contrastive(value, None, None)
    shares = (own + others).reciprocal_().div_(2 * x.shape[-2])
    matrix.mul_(shares[..., 0, :].unsqueeze(-1) + shares[..., 1, :].unsqueeze(-2))
    torch.neg(others.mul_(shares).sum(-2), out=diagonal)  # the pull of a pair is that of all others, reversed
    return Contrastive(value, matrix @ y if needs_x else None, matrix.mT @ x if needs_y else None)
