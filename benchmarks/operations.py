"""Rows on the sphere, and the two operations that are timed: a loss alone, and with its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.case import Operation


def unit_rows(n: int, m: int, *, seed: int = 0) -> Tensor:
    """Return N rows, uniform on the sphere in m dimensions, float32: [N, m]."""
    rows = torch.randn(n, m, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def value(loss: Callable[..., Tensor], *operands: Tensor) -> Operation:
    """Return the loss of operands that need no gradient."""
    return lambda: (loss(*operands),)


def value_and_gradient(loss: Callable[..., Tensor], *operands: Tensor) -> Operation:
    """Return the loss, and its gradient with respect to the operands that require one."""
    leaves = [operand for operand in operands if operand.requires_grad]

    def run() -> tuple[Tensor, ...]:
        result = loss(*operands)
        return (result.detach(), *torch.autograd.grad(result, leaves))

    return run
