"""Gradients of log-sum-exps."""

# ruff: noqa: N803 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from align_uniform.engine.kernels.blocks import (
    FP16_BITS,
    LOG2_E,
    block,
    load_vector,
    program_place,
    store,
    unit_of,
)
from align_uniform.engine.kernels.exponents import (
    add_weighted,
    exponents,
    rows_to_keep,
    values_of,
)


@triton.jit
def _largest_weight(weights, start, stop, BLOCK: tl.constexpr):
    """Return the largest absolute value among weights `start` to `stop`."""
    largest = tl.zeros([BLOCK], tl.float32)
    for first in tl.range(start, stop, BLOCK):
        place = first + tl.arange(0, BLOCK)
        largest = tl.maximum(largest, tl.abs(tl.load(weights + place, mask=place < stop, other=0.0)))
    return tl.max(largest, 0)


@triton.jit
def _shares(exponents, logs):
    """Return `exp(exponents - logs)`, and 0 where a log is -inf."""
    logs = tl.where(logs == float("-inf"), float("inf"), logs)
    return tl.exp2((exponents - logs) * LOG2_E)


@triton.jit(do_not_specialize=["skip", "rows", "columns", "span"])
def logit_gradient(
    x,
    y,
    x_units,
    y_units,
    x_ids,
    y_ids,
    row_logs,
    row_weights,
    column_logs,
    column_weights,
    gradient,
    scale,
    skip,
    rows,
    columns,
    features,
    width,
    x_batch,
    x_stride,
    y_batch,
    y_stride,
    span,
    TERMS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    VALUES: tl.constexpr,
):
    """Store, for each row, the sum of the columns, each times its shares of log-sums times their weights.

    A column has a share of the log-sum of the row, and, unless `column_logs` is None, of its own log-sum. In
    float16 the sums are taken over multiples of a unit of each row, which keeps the products in range.
    """
    batch, first_row, batches = program_place(rows, ROWS)
    split, first_value = tl.program_id(1), 0 if VALUES == FEATURES else tl.program_id(2) * VALUES
    x_block = block((x, rows, x_batch, x_stride), batch, first_row)
    y_matrix = (y, columns, y_batch, y_stride)
    start, stop = split * span, tl.minimum(columns, (split + 1) * span)
    scale = tl.load(scale)
    x_unit, y_unit = unit_of(x_units, batch), unit_of(y_units, batch)
    kept = rows_to_keep(x_block, features, ROWS, FEATURES, STEP, TERMS)
    x_logs, x_weights = load_vector(row_logs, x_block, ROWS), load_vector(row_weights, x_block, ROWS)
    if y.dtype.element_ty == tl.float16:
        largest = tl.abs(x_weights)
        if column_logs is not None:
            largest += _largest_weight(column_weights + block(y_matrix, batch, 0)[1], start, stop, 1024)
        unit = tl.where(largest > 0, tl.maximum(largest, 1e-30) * 2.0**-FP16_BITS, 1.0)

    sums = tl.zeros([ROWS, VALUES], tl.float32)
    for first in tl.range(start, stop, COLUMNS):
        y_block = block(y_matrix, batch, first)
        own = skip + first_row - first
        tile, tile_columns = exponents(
            x_block, kept, None, x_ids, y_block, None, y_ids, features, scale, x_unit * y_unit, own,
            False, ROWS, COLUMNS, FEATURES, STEP, TERMS,
        )  # fmt: skip
        weights = x_weights[:, None] * _shares(tile, x_logs[:, None])
        if column_logs is not None:
            y_logs = load_vector(column_logs, y_block, COLUMNS)
            weights += load_vector(column_weights, y_block, COLUMNS)[None, :] * _shares(tile, y_logs[None, :])
        if y.dtype.element_ty == tl.float16:
            weights *= (1 / unit)[:, None]
        values = values_of(
            y_block, tile_columns, features, first_value, COLUMNS, FEATURES, STEP, VALUES, TERMS
        )
        sums, _ = add_weighted(sums, weights, values, TERMS)

    sums *= y_unit
    if y.dtype.element_ty == tl.float16:
        sums *= unit[:, None]
    row = tl.arange(0, ROWS)
    place = tl.cast(split * batches, tl.int64) * rows + x_block[1] + row
    store(gradient, place, sums, row < rows - first_row, width, first_value, VALUES)


@triton.jit(do_not_specialize=["count", "splits"])
def combine_gradients(partial, gradient, count, splits, BLOCK: tl.constexpr):
    """Store the sums over the splits of the columns of `count` numbers each."""
    place = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for split in tl.range(0, splits):
        total += tl.load(partial + tl.cast(split, tl.int64) * count + place, mask=place < count, other=0.0)
    tl.store(gradient + place, total, mask=place < count)
