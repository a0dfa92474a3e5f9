"""Log-sum-exps of rows, and the mean columns under them."""

# ruff: noqa: N803 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from align_uniform.engine.kernels.blocks import (
    FP16_BITS,
    LN_2,
    LOG2_E,
    block,
    load,
    load_contiguous,
    or_0,
    program_place,
    squared_norms,
    store,
)
from align_uniform.engine.kernels.exponents import add_weighted, exponents, sum_of_terms


@triton.jit(do_not_specialize=["skip", "rows", "columns", "span"])
def log_sums(
    x,
    y,
    x_ids,
    y_ids,
    logs,
    means,
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
    SQUARED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    VALUES: tl.constexpr,
):
    """Store the log-sum-exp of each row's exponents, and, unless `means` is None, the mean column under it.

    Exponentials are taken relative to a running largest exponent. If SQUARED, the row itself is subtracted
    from the mean.
    """
    batch, first_row, batches = program_place(rows, ROWS)
    split, first_value = tl.program_id(1), 0 if VALUES == FEATURES else tl.program_id(2) * VALUES
    x_block = block((x, rows, x_batch, x_stride), batch, first_row)
    x_squares = None
    if SQUARED:
        x_squares = squared_norms(x_block, features, ROWS, FEATURES, STEP)
    else:
        scale = tl.load(scale)

    base = tl.full([ROWS], float("-inf"), tl.float32)  # the largest exponent so far, times LOG2_E
    total, weight = tl.zeros([ROWS], tl.float64), tl.zeros([ROWS], tl.float64)
    sums = tl.zeros([ROWS, VALUES], tl.float32)
    for first in tl.range(split * span, tl.minimum(columns, (split + 1) * span), COLUMNS):
        y_block = block((y, columns, y_batch, y_stride), batch, first)
        own = skip + first_row - first
        tile = exponents(
            x_block, x_squares, x_ids, y_block, y_ids, features, scale, own,
            SQUARED, ROWS, COLUMNS, FEATURES, STEP,
        )  # fmt: skip
        base, shrink, weights = _weights(base, tile)
        total = total * shrink.to(tl.float64) + tl.sum(weights, 1).to(tl.float64)
        if means is not None:
            values = load(y_block, features, first_value, COLUMNS, VALUES)
            sums = add_weighted(sums * shrink[:, None], weights, values)
            if y.dtype.element_ty != tl.float32:
                more = sum_of_terms(weights, y.dtype.element_ty).to(tl.float64)
                weight = weight * shrink.to(tl.float64) + more

    inside = tl.arange(0, ROWS) < rows - first_row
    place = tl.cast(split * batches, tl.int64) * rows + x_block[1] + tl.arange(0, ROWS)
    tl.store(logs + place, _log_sum(base, total), mask=inside & (first_value == 0))
    if means is not None:
        if y.dtype.element_ty == tl.float32:
            weight = total
        result = sums * (1 / tl.where(total == 0, 1.0, weight)).to(tl.float32)[:, None]
        if SQUARED:
            result -= load(x_block, features, first_value, ROWS, VALUES).to(tl.float32)
        result = tl.where((total == 0)[:, None], 0.0, result)
        store(means, place, result, inside, width, first_value, VALUES)


@triton.jit
def _weights(base, tile):
    """Return the largest exponent so far times LOG2_E, the factor of earlier sums, and a tile's weights."""
    larger = tl.maximum(base, tl.max(tile, 1) * LOG2_E)
    raised = or_0(larger) - FP16_BITS
    return larger, tl.exp2(base - FP16_BITS - raised), tl.exp2(tile * LOG2_E - raised[:, None])


@triton.jit
def _log_sum(base, total):
    """Return the natural log of `total * 2 ** (base - FP16_BITS)`; -inf where nothing was added."""
    log = (or_0(base) - FP16_BITS).to(tl.float64) * LN_2 + tl.log(tl.where(total == 0, 1.0, total))
    return tl.where(total == 0, float("-inf"), log)


@triton.jit(do_not_specialize=["count", "splits"])
def combine_log_sums(
    partial_logs,
    partial_means,
    logs,
    means,
    count,
    features,
    splits,
    ROWS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Store the log-sums of `count` rows, and their means, from the partial results of each split."""
    row = tl.cast(tl.program_id(0), tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < count
    log = tl.full([ROWS], float("-inf"), tl.float64)
    total = tl.zeros([ROWS], tl.float64)
    for split in tl.range(0, splits):
        part = tl.load(partial_logs + tl.cast(split, tl.int64) * count + row, mask=inside, other=0.0)
        larger = tl.maximum(log, part)
        base = or_0(larger)
        total = total * tl.exp(log - base) + tl.exp(part - base)
        log = larger
    nothing = total == 0
    log = tl.where(nothing, float("-inf"), or_0(log) + tl.log(tl.where(nothing, 1.0, total)))
    tl.store(logs + row, log, mask=inside)
    if means is not None:
        mean = tl.zeros([ROWS, FEATURES], tl.float32)
        for split in tl.range(0, splits):
            place = tl.cast(split, tl.int64) * count + row
            part = tl.load(partial_logs + place, mask=inside, other=0.0)
            share = tl.where(nothing, 0.0, tl.exp(part - tl.where(nothing, 0.0, log)))
            values = load_contiguous(partial_means, place, inside, features, FEATURES)
            mean += share.to(tl.float32)[:, None] * values
        store(means, row, mean, inside, features, 0, FEATURES)
