"""The rows as the sums over pairs take them: their squared norms, and float32 rows as two float16 terms.

A tensor core multiplies float16 twice as fast as TF32, and both have 11 significant bits. Two terms hold 22
bits of a number: what float32 has, less two bits. Rows are multiplied by a power of two first, so that
neither term leaves the narrow range of float16.
"""

# ruff: noqa: N803 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from align_uniform.engine.kernels.blocks import block, load, program_place, store

LARGEST_EXPONENT = tl.constexpr(13)  # of the largest number of the rows; twice as much is below 2^15


@triton.jit(do_not_specialize=["rows", "span", "first_slot", "slots"])
def survey(
    x,
    centres,
    largest,
    share,
    rows,
    features,
    x_batch,
    x_stride,
    span,
    first_slot,
    slots,
    ROWS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Store, for each `span` of rows, the sum of their finite numbers times `share`, and the largest.

    Each span has a slot of [batch, slots, FEATURES] and of [batch, slots]. Without `centres` no sum is
    stored.
    """
    part, batch = tl.program_id(0), tl.program_id(1)
    start, stop = part * span, tl.minimum(rows, (part + 1) * span)
    total, top = _sum_and_largest((x, rows, x_batch, x_stride), batch, start, stop, features, ROWS, FEATURES)
    slot = batch * slots + first_slot + part
    tl.store(largest + slot, top)
    if centres is not None:
        tl.store(centres + slot * FEATURES + tl.arange(0, FEATURES), total * share)


@triton.jit
def _sum_and_largest(matrix, batch, start, stop, features, ROWS: tl.constexpr, FEATURES: tl.constexpr):
    """Return the sum of rows `start` to `stop`, and the largest of their numbers, both of what is finite."""
    total = tl.zeros([FEATURES], tl.float32)
    top = tl.zeros([FEATURES], tl.float32)
    for first in tl.range(start, stop, ROWS):
        values = load(block(matrix, batch, first), features, 0, ROWS, FEATURES)
        finite = tl.where(tl.abs(values) < float("inf"), values, 0.0)
        total += tl.sum(finite, 0)
        top = tl.maximum(top, tl.max(tl.abs(finite), 0))
    return total, tl.max(top, 0)


@triton.jit(do_not_specialize=["rows", "slots"])
def split(
    x,
    centres,
    largest,
    terms,
    squares,
    units,
    rows,
    features,
    padded,
    x_batch,
    x_stride,
    slots,
    CENTRED: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Store the rows, in a unit of their batch entry, as two terms of float16; less their centre, if CENTRED.

    The terms of a row lie one behind the other, `padded` numbers each. If CENTRED, squared norms are stored
    too. Without the results of `survey`, every program looks at all rows by itself.
    """
    batch, first_row, _ = program_place(rows, ROWS)
    matrix = (x, rows, x_batch, x_stride)
    if largest is None:
        centre, top = _sum_and_largest(matrix, batch, 0, rows, features, ROWS, FEATURES)
        centre /= rows
    else:
        slot = tl.arange(0, SLOTS)
        top = tl.max(tl.load(largest + batch * slots + slot, mask=slot < slots, other=0.0), 0)
        if CENTRED:
            place = (batch * slots + slot)[:, None] * FEATURES + tl.arange(0, FEATURES)[None, :]
            centre = tl.sum(tl.load(centres + place, mask=(slot < slots)[:, None], other=0.0), 0)
    raised, unit = _powers_of_two(top)
    x_block = block(matrix, batch, first_row)
    values = load(x_block, features, 0, ROWS, FEATURES)
    if CENTRED:
        values = tl.where((tl.arange(0, FEATURES) < features)[None, :], values - centre[None, :], 0.0)
    values *= raised
    high = values.to(tl.float16)
    low = (values - high.to(tl.float32)).to(tl.float16)
    row = tl.arange(0, ROWS)
    inside = row < rows - first_row
    place = x_block[1] + row
    store(terms, 2 * place, high, inside, padded, 0, FEATURES)
    store(terms, 2 * place + 1, low, inside, padded, 0, FEATURES)
    tl.store(units + batch, unit, mask=first_row == 0)
    if CENTRED:
        # The products of a row with itself, in the terms that products of two rows have: equal rows cancel.
        wide = high.to(tl.float32)
        own = tl.sum(wide * wide + 2 * wide * low.to(tl.float32), 1) * unit * unit
        tl.store(squares + place, _or_nan(own), mask=inside)


@triton.jit
def _powers_of_two(largest):
    """Return the factor of rows with this largest number, and its reciprocal, the unit."""
    exponent = (largest.to(tl.int32, bitcast=True) >> 23) - 127
    exponent = tl.minimum(tl.maximum(exponent, -100), 126)
    raised = (127 + LARGEST_EXPONENT - exponent) << 23
    unit = (127 - LARGEST_EXPONENT + exponent) << 23
    return raised.to(tl.float32, bitcast=True), unit.to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["rows"])
def squared_norms(x, squares, rows, features, x_batch, x_stride, ROWS: tl.constexpr, FEATURES: tl.constexpr):
    """Store the squared norms of half-precision rows; NaN where a norm is not finite."""
    batch, first_row, _ = program_place(rows, ROWS)
    x_block = block((x, rows, x_batch, x_stride), batch, first_row)
    values = load(x_block, features, 0, ROWS, FEATURES).to(tl.float32)
    row = tl.arange(0, ROWS)
    tl.store(squares + x_block[1] + row, _or_nan(tl.sum(values * values, 1)), mask=row < rows - first_row)


@triton.jit
def _or_nan(squares):
    """Replace infinite squared norms by NaN: an infinite distance must not pass for a potential of 0."""
    return tl.where(squares < float("inf"), squares, float("nan"))
