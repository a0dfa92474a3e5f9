"""A kernel that computes exponentials alone: the rate of the units that the engine's kernels share."""

# ruff: noqa: N803 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _exponentials(z, out, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """Store the sum of COUNT exponentials for each of BLOCK numbers."""
    numbers = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exponents = tl.load(z + numbers)
    sums = tl.zeros_like(exponents)
    for number in range(COUNT):
        sums += tl.exp2(exponents - number)
    tl.store(out + numbers, sums)


def launch(z: Tensor, out: Tensor, count: int) -> None:
    """Compute `count` exponentials of each number, a multiple of 1,024 of them, and store their sum."""
    _exponentials[(z.numel() // 1024,)](z, out, COUNT=count, BLOCK=1024)
