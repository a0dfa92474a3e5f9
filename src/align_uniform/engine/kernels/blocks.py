"""Blocks of rows: where they lie, and how kernels load and store them."""

# ruff: noqa: N803 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.44269502162933349609375)  # log2(e), rounded to float32
LN_2 = tl.constexpr(0.6931471898132927)  # its reciprocal, not rounded, so that a base is undone exactly
FP16_BITS = tl.constexpr(15)  # weights are raised by this many bits before float16, whose range is narrow


@triton.jit
def block(matrix, batch, first):
    """Return the block of a matrix that begins at row `first` of a batch entry.

    The matrix is given as its pointer, its number of rows, and the strides of batch entries and rows. The
    block is returned as its pointer, its place (the number of rows before it, in all batch entries), the
    number of rows from `first` to the last, and the stride of rows.
    """
    pointer, count, batch_stride, stride = matrix
    batch = tl.cast(batch, tl.int64)
    return (
        pointer + batch * batch_stride + tl.cast(first, tl.int64) * stride,
        batch * count + first,
        count - first,
        stride,
    )


@triton.jit
def load(block, features, first_feature, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Load WIDTH features of the first rows of a block; zeros stand for rows and features past the end."""
    pointer, _, count, stride = block
    row = tl.arange(0, ROWS)
    feature = first_feature + tl.arange(0, WIDTH)
    inside = (row < count)[:, None] & (feature < features)[None, :]
    return tl.load(pointer + row[:, None] * stride + feature[None, :], mask=inside, other=0.0)


@triton.jit
def load_terms(block, features, first_feature, ROWS: tl.constexpr, WIDTH: tl.constexpr, TERMS: tl.constexpr):
    """Load WIDTH features of the first rows of a block as two terms; of one term, both are the same."""
    pointer, place, count, stride = block
    high = load(block, features, first_feature, ROWS, WIDTH)
    low = high
    if TERMS == 2:
        low = load((pointer + features, place, count, stride), features, first_feature, ROWS, WIDTH)
    return high, low


@triton.jit
def load_vector(values, block, ROWS: tl.constexpr):
    """Load one number for each of the first rows of a block; zeros stand for rows past the end."""
    _, place, count, _ = block
    row = tl.arange(0, ROWS)
    return tl.load(values + place + row, mask=row < count, other=0.0)


@triton.jit
def load_contiguous(values, place, inside, features, WIDTH: tl.constexpr):
    """Load the rows at `place` of contiguous values."""
    feature = tl.arange(0, WIDTH)
    mask = inside[:, None] & (feature < features)[None, :]
    return tl.load(values + place[:, None] * features + feature[None, :], mask=mask, other=0.0)


@triton.jit
def store(results, place, result, inside, features, first_feature, WIDTH: tl.constexpr):
    """Store WIDTH features of the rows at `place` of contiguous results."""
    feature = first_feature + tl.arange(0, WIDTH)
    mask = inside[:, None] & (feature < features)[None, :]
    tl.store(results + place[:, None] * features + feature[None, :], result, mask=mask)


@triton.jit
def unit_of(units, batch):
    """Return the unit in which the rows of a batch entry are given: 1 if they are given as they are."""
    unit = 1.0
    if units is not None:
        unit = tl.load(units + batch)
    return unit


@triton.jit
def or_0(largest):
    """Replace infinities by 0, so that none is subtracted from itself."""
    return tl.where(tl.abs(largest) == float("inf"), 0.0, largest)


@triton.jit
def program_place(rows, ROWS: tl.constexpr):
    """Return the batch entry and the first row of this program, and the number of batch entries."""
    blocks = tl.cdiv(rows, ROWS)
    return tl.program_id(0) // blocks, (tl.program_id(0) % blocks) * ROWS, tl.num_programs(0) // blocks
