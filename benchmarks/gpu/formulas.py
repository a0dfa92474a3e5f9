"""The code that users write instead of our calls, and the definitions in float64 that judge accuracy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# ------------------------------------------------------------------------------------------- what users write


def two_lines(x: Tensor) -> Tensor:
    """Return the formula of the paper's repository with t = 2; `torch.pdist` takes no half precision."""
    return torch.pdist(x.float(), p=2).pow(2).mul(-2).exp().mean().log()


def two_lines_bytes(n: int, m: int, *, gradient: bool) -> int:
    """Return the memory that `two_lines` takes on a GPU.

    The backward pass of `torch.pdist` keeps N - 1 gradients of all rows.
    """
    return 12 * n * (n - 1) // 2 + (4 * (n - 1) * n * m if gradient else 0)


def dense_log_sum(x: Tensor) -> Tensor:
    """Return the log of the sum of all potentials at t = 2, as one would write it for `torch.compile`.

    It uses the matrix of products. Less `log_pairs` it is uniformity; in a compiled graph that logarithm
    would tie the graph to one N.
    """
    squares = x.float().square().sum(1)
    exponents = 4 * (x @ x.T).float() - 2 * squares[:, None] - 2 * squares
    numbers = torch.arange(len(x), device=x.device)
    exponents = exponents.masked_fill(numbers[:, None] == numbers, -math.inf)
    return exponents.flatten().logsumexp(0)


def log_pairs(x: Tensor) -> float:
    """Return the log of the number of ordered pairs of rows."""
    return math.log(len(x) * (len(x) - 1))


def flex(x: Tensor) -> Tensor:
    """Return the uniformity of unit rows with t = 2, by FlexAttention's log-sum-exp without the diagonal."""
    logs = _flex_log_sums()(x[None, None]).float()
    return logs.flatten().logsumexp(0) - 4 - log_pairs(x)


@functools.cache
def _flex_log_sums() -> Callable[[Tensor], Tensor]:
    from torch.nn.attention import flex_attention as module

    def off_diagonal(score: Tensor, batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return torch.where(row == column, -math.inf, score)

    def log_sums(rows: Tensor) -> Tensor:
        options: dict[str, Any] = {"score_mod": off_diagonal, "scale": 4.0}
        if hasattr(module, "AuxRequest"):
            logs: Tensor = module.flex_attention(
                rows, rows, rows, **options, return_aux=module.AuxRequest(lse=True)
            )[1].lse
        else:
            _, logs = module.flex_attention(rows, rows, rows, **options, return_lse=True)
        return logs

    compiled: Callable[[Tensor], Tensor] = torch.compile(log_sums, dynamic=False)
    return compiled


def cross_entropy(x: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
    """Return the contrastive loss in batch, both directions."""
    logits = x @ y.T / tau
    labels = torch.arange(len(x), device=x.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def queue_cross_entropy(x: Tensor, y: Tensor, tau: float, queue: Tensor) -> Tensor:
    """Return the contrastive loss with negatives from a queue, as MoCo has it."""
    logits = torch.cat([(x * y).sum(1, keepdim=True), x @ queue.T], dim=1) / tau
    return F.cross_entropy(logits, torch.zeros(len(x), dtype=torch.long, device=x.device))


def queue_uniformity(x: Tensor, queue: Tensor) -> Tensor:
    """Return the uniformity of unit rows with t = 2, pairs with the queue pooled with pairs within x."""
    across = (4 * (x @ queue.T) - 4).exp()
    within = torch.pdist(x.float()).pow(2).mul(-2).exp()
    return ((across.sum() + within.sum()) / (across.numel() + within.numel())).log()


# ------------------------------------------------------------------------------------------------ definitions


def exact_uniformity(
    x: Tensor, t: float, negatives: Tensor | None = None, ids: Tensor | None = None
) -> Tensor:
    """Return the definition of `uniform_loss` in float64."""
    counts = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1)
    if ids is not None:
        counts = counts & (ids[:, None] != ids)
    exponents = [-t * squared_distances(x, x)[counts]]
    if negatives is not None:
        exponents.append(-t * squared_distances(x, negatives).flatten())
    pairs = torch.cat(exponents)
    return pairs.logsumexp(0) - math.log(len(pairs))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return all squared distances, [N, M], from products: good in float64."""
    return (x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)
