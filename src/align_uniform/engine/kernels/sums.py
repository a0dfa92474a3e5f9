"""Log-sum-exps of rows, the mean columns under them, and the log-sum-exp of all."""

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
    load_contiguous,
    load_terms,
    load_vector,
    or_0,
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


@triton.jit(do_not_specialize=["skip", "rows", "columns", "span"])
def log_sums(
    x,
    y,
    x_squares,
    y_squares,
    x_units,
    y_units,
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
    TERMS: tl.constexpr,
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
    x_unit, y_unit = unit_of(x_units, batch), unit_of(y_units, batch)
    squares = None
    if SQUARED:
        squares = load_vector(x_squares, x_block, ROWS)
    else:
        scale = tl.load(scale)
    kept = rows_to_keep(x_block, features, ROWS, FEATURES, STEP, TERMS)

    base = tl.full([ROWS], float("-inf"), tl.float32)  # the largest exponent so far, times LOG2_E
    total, weight = tl.zeros([ROWS], tl.float64), tl.zeros([ROWS], tl.float64)
    sums = tl.zeros([ROWS, VALUES], tl.float32)
    for first in tl.range(split * span, tl.minimum(columns, (split + 1) * span), COLUMNS):
        y_block = block((y, columns, y_batch, y_stride), batch, first)
        own = skip + first_row - first
        tile, tile_columns = exponents(
            x_block, kept, squares, x_ids, y_block, y_squares, y_ids, features, scale, x_unit * y_unit, own,
            SQUARED, ROWS, COLUMNS, FEATURES, STEP, TERMS,
        )  # fmt: skip
        base, shrink, weights = _weights(base, tile)
        total = total * shrink.to(tl.float64) + tl.sum(weights, 1).to(tl.float64)
        if means is not None:
            values = values_of(
                y_block, tile_columns, features, first_value, COLUMNS, FEATURES, STEP, VALUES, TERMS
            )
            sums, more = add_weighted(sums * shrink[:, None], weights, values, TERMS)
            weight = weight * shrink.to(tl.float64) + more.to(tl.float64)

    inside = tl.arange(0, ROWS) < rows - first_row
    place = tl.cast(split * batches, tl.int64) * rows + x_block[1] + tl.arange(0, ROWS)
    tl.store(logs + place, _log_sum(base, total), mask=inside & (first_value == 0))
    if means is not None:
        result = sums * (1 / tl.where(total == 0, 1.0, weight)).to(tl.float32)[:, None]
        if SQUARED:  # in the same unit
            result -= _whole(load_terms(x_block, features, first_value, ROWS, VALUES, TERMS), TERMS)
        result = tl.where((total == 0)[:, None], 0.0, result * y_unit)
        store(means, place, result, inside, width, first_value, VALUES)


@triton.jit
def _whole(terms, TERMS: tl.constexpr):
    """Return the numbers that were split in terms."""
    high, low = terms
    whole = high.to(tl.float32)
    if TERMS == 2:
        whole += low.to(tl.float32)
    return whole


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
        log, total = _add_exponentials(log, total, part)
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


@triton.jit
def _add_exponentials(base, total, logs):
    """Return the largest log so far, and the sum of exponentials relative to it."""
    larger = tl.maximum(base, logs)
    now = or_0(larger)
    return larger, total * tl.exp(base - now) + tl.exp(logs - now)


@triton.jit(do_not_specialize=["summed", "summed_splits", "rows", "splits"])
def total_log_sum(
    summed_logs,
    logs,
    means,
    value,
    gradient,
    log_pairs,
    factor,
    summed,
    summed_splits,
    rows,
    splits,
    features,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Store the log-sum-exp of the `summed` rows' logs, less `log_pairs`, and the gradient of `rows` rows.

    Logs and means are those that `log_sums` stores, of each split. The gradient of a row is its mean, times
    its share of the total, times `factor`; it is 0 where nothing was summed, and not stored if it is None.
    Every program computes the total by itself.
    """
    batch, batches = tl.program_id(1), tl.num_programs(1)
    largest = tl.full([BLOCK], float("-inf"), tl.float64)
    sums = tl.zeros([BLOCK], tl.float64)
    for split in tl.range(0, summed_splits):
        first_log = summed_logs + tl.cast(split * batches + batch, tl.int64) * summed
        for first in tl.range(0, summed, BLOCK):
            place = first + tl.arange(0, BLOCK)
            part = tl.load(first_log + place, mask=place < summed, other=float("-inf"))
            largest, sums = _add_exponentials(largest, sums, part)
    base = or_0(tl.max(largest, 0))
    total = tl.sum(sums * tl.exp(largest - base), 0)
    log = tl.where(total == 0, float("-inf"), base + tl.log(tl.where(total == 0, 1.0, total)))
    if value is not None:
        tl.store(value + batch, log - log_pairs, mask=tl.program_id(0) == 0)
    if gradient is not None:
        for first in tl.range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
            row = first + tl.arange(0, ROWS)
            inside = row < rows
            result = tl.zeros([ROWS, FEATURES], tl.float32)
            for split in tl.range(0, splits):
                place = tl.cast(split * batches + batch, tl.int64) * rows + row
                part = tl.load(logs + place, mask=inside, other=0.0)
                share = tl.where(total == 0, 0.0, tl.exp(part - tl.where(total == 0, 0.0, log)))
                values = load_contiguous(means, place, inside, features, FEATURES)
                result += share.to(tl.float32)[:, None] * values
            place = tl.cast(batch, tl.int64) * rows + row
            store(gradient, place, result * factor, inside, features, 0, FEATURES)
