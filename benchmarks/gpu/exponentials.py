"""A kernel that computes exponentials alone: the rate of the units that the engine's kernels share."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]  # triton's decorator is not typed
def _exponentials(z: Any, out: Any, COUNT: tl.constexpr, BLOCK: tl.constexpr) -> None:  # noqa: N803  # triton's constants
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
