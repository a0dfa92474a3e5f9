"""A version of Triton's interpreter that computes as a GPU does.

By itself it ignores `input_precision`, silently returns garbage for products of bfloat16, and cuts numbers to
bfloat16 instead of rounding them. While `faithful_arithmetic` is installed, `tl.dot` decodes bfloat16, cuts
float32 operands to TF32 for "tf32", and adds three products of TF32 terms for "tf32x3"; float32 is rounded to
the nearest bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import pytest
import triton.language as tl
from numpy.typing import NDArray
from triton._C.libtriton import ir
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

Floats: TypeAlias = NDArray[np.float32]


@contextmanager
def faithful_arithmetic(*, forgotten_precision: bool = False) -> Iterator[None]:
    """Replace the interpreter's products and casts, and let numbers be infinite or NaN without a warning.

    Args:
        forgotten_precision: whether to multiply float32 as if kernels did not say how, in plain TF32.
    """
    cast = InterpreterBuilder.cast_impl

    def create_dot(self: Any, a: Any, b: Any, sums: Any, precision: Any, *_: Any) -> Any:
        if forgotten_precision:
            precision = ir.INPUT_PRECISION.TF32
        products = _product(_decoded(a), _decoded(b), precision if a.dtype.scalar == tl.float32 else None)
        return TensorHandle((products + sums.data).astype(np.float32), sums.dtype.scalar)

    def cast_impl(self: Any, source: Any, dtype: Any) -> Any:
        if source.dtype.scalar == tl.float32 and dtype.scalar == tl.bfloat16:
            return TensorHandle(_as_bfloat16(source.data), tl.bfloat16)
        return cast(self, source, dtype)

    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(InterpreterBuilder, "create_dot", create_dot)
        patch.setattr(InterpreterBuilder, "cast_impl", cast_impl)
        yield


def _product(a: Floats, b: Floats, precision: Any) -> Floats:
    if precision == ir.INPUT_PRECISION.TF32:
        return _cut_to_tf32(a) @ _cut_to_tf32(b)
    if precision == ir.INPUT_PRECISION.TF32x3:
        (a, small_a), (b, small_b) = _terms(a), _terms(b)
        small = small_a @ b + a @ small_b  # NaN where an operand is infinite, and then it is left out
        small[np.isnan(small)] = 0
        products: Floats = small + a @ b
        return products
    return a @ b


def _terms(values: Floats) -> tuple[Floats, Floats]:
    """Split float32 into two terms of TF32, each rounded to nearest, as compiled code does (cvt.rna.tf32)."""
    large = _rounded_to_tf32(values)
    return large, _rounded_to_tf32(values - large)


def _rounded_to_tf32(values: Floats) -> Floats:
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(np.isfinite(values), _cut_to_tf32((bits + np.uint32(0x1000)).view(np.float32)), values)


def _cut_to_tf32(values: Floats) -> Floats:
    """Keep the 10 bits after the binary point that TF32 has, as a tensor core does with float32."""
    return (np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _decoded(operand: Any) -> Floats:
    """Return the numbers of an operand as float32; the interpreter keeps bfloat16 as 16-bit integers."""
    if operand.dtype.scalar == tl.bfloat16:
        bits: NDArray[np.uint32] = operand.data.astype(np.uint32) << 16
        return bits.view(np.float32)
    return np.asarray(operand.data, dtype=np.float32)


def _as_bfloat16(values: Floats) -> NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, ties to even, as 16-bit integers; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)
