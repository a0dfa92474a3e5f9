"""The losses in two lines of torch, and ways to compare and differentiate losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import torch
from torch import Tensor

NAN, INF = math.nan, math.inf
HALVES = [torch.float16, torch.bfloat16]


def reference_align(x: Tensor, y: Tensor, alpha: float = 2) -> Tensor:
    distances: Tensor = (x - y).norm(dim=1)
    return distances.pow(alpha).mean()


def reference_uniform(x: Tensor, t: float = 2) -> Tensor:
    mean: Tensor = torch.pdist(x).pow(2).mul(-t).exp().mean()
    return mean.log()


def gradient(loss: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [z.detach().clone().requires_grad_() for z in inputs]
    return torch.autograd.grad(loss(*leaves), leaves)


def hessian(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return second derivatives, forward over reverse."""
    return torch.func.jacfwd(torch.func.jacrev(loss))


def close(value: Any, expected: Any, tolerance: float) -> None:
    """Assert equality to within an absolute tolerance, whatever the dtypes."""
    value, expected = (torch.as_tensor(z, dtype=torch.float64) for z in (value, expected))
    torch.testing.assert_close(value, expected, rtol=0, atol=tolerance)


numbers = st.floats(-1, 1, width=32).map(lambda v: 0.0 if abs(v) < 1e-6 else v)


@st.composite
def features(draw: st.DrawFn, least: int = 2) -> Tensor:
    """Return rows in the unit cube, duplicates and zero rows among them."""
    shape = draw(st.tuples(st.integers(least, 9), st.integers(1, 5)))
    return torch.as_tensor(draw(npst.arrays(np.float64, shape, elements=numbers)))
