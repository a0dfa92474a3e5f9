"""The precision of sums over pairs: their dtype, and the care that keeps `exp` within its range."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

WIDE = (torch.float32, torch.float64)
"""The dtypes that sums are computed in."""

NOTICEABLE = 1e-6
"""A rounding error of exponents that is noticed in float32 losses."""

INTOLERABLE = 1e-4
"""A rounding error of exponents beyond which float32 products are not good enough."""


def full_precision(function: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """Keep autocast from lowering the products within `function`.

    Their error in bfloat16 would be larger than the signal.
    """

    @functools.wraps(function)
    def exact(x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        device = x.device.type
        if device == "meta" or not torch.is_autocast_enabled(device):
            return function(x, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(x, *args, **kwargs)

    return exact


def widest(x: Tensor, *others: Tensor | None) -> torch.dtype:
    """Return one dtype for all: float32 or wider."""
    dtype = x.dtype
    if dtype not in WIDE:
        dtype = torch.promote_types(dtype, torch.float32)
    for z in others:
        if z is not None and z.dtype != dtype:
            dtype = torch.promote_types(dtype, z.dtype)
    return dtype


WITHOUT_FLOAT64 = {"mps"}
"""The types of devices that lack float64."""


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64."""
    return device.type not in WITHOUT_FLOAT64


def sum_dtype(z: Tensor) -> torch.dtype:
    """Return the dtype of sums over many tiles: float64 where the device has it."""
    return torch.float64 if has_float64(z.device) else z.dtype


def widened(z: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU if its device lacks it."""
    return (z if has_float64(z.device) else z.cpu()).double()


class Care(NamedTuple):
    """The care that exponents -t ||x_i - y_j||^2 need, given their range; all of it if that must not be read.

    An exponent is computed as a product less two half squares, which cancel: its rounding grows with t R^2, R
    being the largest distance of a row from the centre.
    """

    largest_out: bool = True
    """Take the largest exponent out of the sums, since `exp` could underflow."""
    at_most_0: bool = True
    """Clamp exponents at 0, since their rounding is noticeable."""
    wider: bool = False
    """Compute in float64, since the rounding is intolerable."""


def care(reach: float, dtype: torch.dtype) -> Care:
    """Return the care that exponents need where no t ||x_i - centre||^2 exceeds `reach`, which may be NaN."""
    eps, lowest = _limits(dtype)
    rounding = reach * eps
    return Care(
        # No two rows are more than twice a radius apart; half of the range is left for products of
        # potentials.
        not -4 * reach > lowest / 2,
        not rounding <= NOTICEABLE,
        dtype == torch.float32 and INTOLERABLE < rounding < math.inf,
    )


@functools.cache
def _limits(dtype: torch.dtype) -> tuple[float, float]:
    """Return the relative rounding of a dtype, and the lowest exponent whose `exp` is a normal number."""
    limits = torch.finfo(dtype)
    return limits.eps, math.log(limits.tiny)
