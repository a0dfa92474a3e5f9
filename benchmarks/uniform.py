"""A benchmark of `uniform_loss(x)` against the two-liner, over the number of rows and of features."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from align_uniform import uniform_loss
from benchmarks.case import Aim, Case, Operations, Work
from benchmarks.operations import unit_rows, value, value_and_gradient

ROWS = (32, 64, 128, 256, 512, 768, 2048, 4096, 8192, 16384)
FEATURES = (64, 512, 2048)


def reference(x: Tensor) -> Tensor:
    """Return the formula of the paper's repository, with t = 2."""
    return torch.pdist(x, p=2).pow(2).mul(-2).exp().mean().log()


def uniform(quick: bool) -> list[Case]:
    """Return the cases: value, and value + gradient, by N at m = 128, and by m at N = 4096."""
    sizes = [(n, 128) for n in ROWS] + [(4096, m) for m in FEATURES]
    if quick:
        sizes = [(n, m) for n, m in sizes if n <= 2048]
    return [_case(n, m, gradient) for gradient in (False, True) for n, m in sizes]


def _case(n: int, m: int, gradient: bool) -> Case:
    pairs = n * (n - 1) / 2
    work = Work((3 if gradient else 1) * pairs, pairs)
    what = "value + gradient" if gradient else "value"
    aims = _aims(n, gradient) if m == 128 else ()
    return Case("uniform", what, {"N": n, "m": m}, partial(_prepare, n, m, gradient), work, aims)


def _prepare(n: int, m: int, gradient: bool) -> Operations:
    x = unit_rows(n, m).requires_grad_(gradient)
    run = value_and_gradient if gradient else value
    return Operations(run(uniform_loss, x), run(reference, x))


def _aims(n: int, gradient: bool) -> tuple[Aim, ...]:
    """Return the aims at m = 128 on two cores."""
    aims = []
    if gradient:
        aims.append(Aim("speedup", ">=", 6 if n >= 4096 else 3 if n == 768 else 1 if n >= 128 else 0.87))
    elif n >= 256:
        aims.append(Aim("speedup", ">=", 1))
    if n >= 2048:
        aims.append(Aim("over_limit", "<=", 1.15 if gradient and n >= 8192 else 1.3))
    if n == 16384:
        aims.append(Aim("ours_mib", "<=", 64))
    return tuple(aims)
