"""`contrastive_loss` against `F.cross_entropy`, in batch and with a queue of negatives."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from align_uniform import contrastive_loss
from align_uniform.engine.logits import KEPT_LOGITS
from benchmarks.case import Aim, Case, Operations, Work
from benchmarks.operations import unit_rows, value_and_gradient

M = 128
TAU = 0.1


def in_batch(x: Tensor, y: Tensor) -> Tensor:
    """Tell row i of x from the other rows of y, and the other way round."""
    logits = x @ y.T / TAU
    labels = torch.arange(len(x))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def from_queue(x: Tensor, y: Tensor, queue: Tensor) -> Tensor:
    """Tell row i of y from the queue, as MoCo does."""
    logits = torch.cat([(x * y).sum(1, keepdim=True), x @ queue.T], dim=1) / TAU
    return cross_entropy(logits, torch.zeros(len(x), dtype=torch.long))


def contrastive(quick: bool) -> list[Case]:
    """Return the cases: value + gradient of both views by N, and of the queries alone with K negatives."""
    return [
        *(_in_batch_case(n) for n in ((256, 1024) if quick else (256, 1024, 2048, 4096))),
        _queue_case(8192 if quick else 65536),
    ]


def _in_batch_case(n: int) -> Case:
    """Return a case in batch, whose limit is that of O(N m) memory.

    The pull of row i on column j takes the sum of row i, which takes all columns, and the other way round:
    logits that are not kept are computed a second time.
    """
    again = max(0, n**2 - KEPT_LOGITS)
    work = Work(3 * n**2 + again, n**2 + again)
    aims = [Aim("speedup", ">=", 1)]
    if n >= 2048:
        aims += [Aim("over_limit", "<=", 1.3), Aim("ours_mib", "<=", 16)]
    sizes = {"N": n, "m": M}
    what = "value + gradient, in batch"
    return Case("contrastive", what, sizes, partial(_prepare_in_batch, n), work, tuple(aims))


def _prepare_in_batch(n: int) -> Operations:
    x, y = unit_rows(n, M).requires_grad_(), unit_rows(n, M, seed=1).requires_grad_()
    ours = value_and_gradient(lambda x, y: contrastive_loss(x, y, TAU), x, y)
    return Operations(ours, value_and_gradient(in_batch, x, y))


def _queue_case(k: int, n: int = 256) -> Case:
    work = Work(2 * n * k, n * k)
    return Case(
        "contrastive",
        "value + gradient, queue",
        {"N": n, "m": M, "K": k},
        partial(_prepare_queue, k, n),
        work,
        (Aim("speedup", ">=", 1), Aim("over_limit", "<=", 1.3)),
    )


def _prepare_queue(k: int, n: int) -> Operations:
    x, y, queue = unit_rows(n, M).requires_grad_(), unit_rows(n, M, seed=1), unit_rows(k, M, seed=2)
    ours = value_and_gradient(lambda x, y, queue: contrastive_loss(x, y, TAU, negatives=queue), x, y, queue)
    return Operations(ours, value_and_gradient(from_queue, x, y, queue))
