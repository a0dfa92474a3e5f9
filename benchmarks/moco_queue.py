"""The loss of MoCo's queries and queue, against the code that MoCo users write.

It is `uniform_loss(q, negatives=queue)`: the pairs with the queue, pooled with the pairs within q.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import uniform_loss
from benchmarks.case import Aim, Case, Operations, Work
from benchmarks.operations import unit_rows, value_and_gradient

N, M = 256, 128
AIMS = (Aim("speedup", ">=", 1), Aim("over_limit", "<=", 1.3), Aim("memory_ratio", "<=", 0.25))


def ours(output: Tensor, queue: Tensor) -> Tensor:
    """Return the loss of an encoder's output, normalised here.

    The gradient of `plain` is right only along the sphere.
    """
    return uniform_loss(normalize(output), negatives=queue)


def plain(output: Tensor, queue: Tensor) -> Tensor:
    """Return the same loss with t = 2, where ||q - k||^2 = 2 - 2 q.k."""
    q, t = normalize(output), 2
    across = (2 * t * (q @ queue.T) - 2 * t).exp()
    within = torch.pdist(q).pow(2).mul(-t).exp()
    return ((across.sum() + within.sum()) / (across.numel() + within.numel())).log()


def moco_queue(quick: bool) -> list[Case]:
    """Return the cases: value + gradient of the queries; the queue has none."""
    k = 8192 if quick else 65536
    within, across = N * (N - 1) / 2, N * k
    work = Work(3 * within + 2 * across, within + across)
    return [Case("queue", "value + gradient", {"N": N, "m": M, "K": k}, partial(_prepare, k), work, AIMS)]


def _prepare(k: int) -> Operations:
    output, queue = unit_rows(N, M).requires_grad_(), unit_rows(k, M, seed=1)
    return Operations(value_and_gradient(ours, output, queue), value_and_gradient(plain, output, queue))
