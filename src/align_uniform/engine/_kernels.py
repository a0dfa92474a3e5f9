"""The Triton kernels of the pair engine.

A program takes a block of ROWS rows of one batch entry and walks over a range of columns, COLUMNS at a time.
`_exponents` makes the tile of exponents for all of them; the kernels differ in what they sum. Axis 0 of the
grid holds the blocks of all batch entries, axis 1 the ranges of columns ("splits"), axis 2 the parts of the
features whose weighted sums a program accumulates. With several splits a kernel stores partial results,
[splits, ...], which a `combine_...` kernel puts together in a fixed order.

Exponents are natural; `exp` is computed as 2 to the power of (exponent * LOG2_E - base), one fused
multiplication and `ex2`. Rows begin at multiples of 16 numbers, and have a multiple of 16 features, of which
the results have `width`. They are at most 2^24 numbers apart, so that offsets within a block fit in 32 bits;
the offset of a block itself has 64 bits.
"""

# ruff: noqa: N803, N806 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.44269502162933349609375)  # log2(e), rounded to float32
LN_2 = tl.constexpr(0.6931471898132927)  # its reciprocal, not rounded, so that a base is undone exactly
FP16_BITS = tl.constexpr(
    15
)  # weights are raised by this many bits before they become float16, whose range is narrow


# ----------------------------------------------------------------------------------------- blocks of a matrix


@triton.jit
def _block(matrix, batch, first):
    """Return a batch entry of a matrix from row `first` on: its pointer, place, the number of rows left, and
    their stride.

    The matrix is its pointer, the number of rows, and the strides of batch entries and rows. The place counts
    the rows before the block, of all batch entries.
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
def _load(block, features, first_feature, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Load WIDTH features of the first rows of a block; zeros stand for rows and features past the end."""
    pointer, _, count, stride = block
    row = tl.arange(0, ROWS)
    feature = first_feature + tl.arange(0, WIDTH)
    inside = (row < count)[:, None] & (feature < features)[None, :]
    return tl.load(pointer + row[:, None] * stride + feature[None, :], mask=inside, other=0.0)


@triton.jit
def _load_contiguous(values, place, inside, features, WIDTH: tl.constexpr):
    """Load the rows at `place` of contiguous values."""
    feature = tl.arange(0, WIDTH)
    mask = inside[:, None] & (feature < features)[None, :]
    return tl.load(values + place[:, None] * features + feature[None, :], mask=mask, other=0.0)


@triton.jit
def _store(results, place, result, inside, features, first_feature, WIDTH: tl.constexpr):
    """Store WIDTH features of the rows at `place` of contiguous results."""
    feature = first_feature + tl.arange(0, WIDTH)
    mask = inside[:, None] & (feature < features)[None, :]
    tl.store(results + place[:, None] * features + feature[None, :], result, mask=mask)


@triton.jit
def _squared_norms(block, features, ROWS: tl.constexpr, FEATURES: tl.constexpr, STEP: tl.constexpr):
    """Return the squared norms of the first rows of a block; NaN where a norm is not finite."""
    squares = tl.zeros([ROWS], tl.float32)
    for first in tl.range(0, FEATURES, STEP):
        part = _load(block, features, first, ROWS, STEP).to(tl.float32)
        squares += tl.sum(part * part, 1)
    return _or_nan(squares)


@triton.jit
def _or_nan(squares):
    """Replace what is not finite by NaN, lest an infinite distance pass for a potential of 0."""
    return tl.where(squares < float("inf"), squares, float("nan"))


@triton.jit
def _or_0(largest):
    """Replace infinities by 0, lest they be subtracted from themselves."""
    return tl.where(tl.abs(largest) == float("inf"), 0.0, largest)


@triton.jit
def _place(rows, ROWS: tl.constexpr):
    """Return the batch entry and the first row of this program, and the number of batch entries."""
    blocks = tl.cdiv(rows, ROWS)
    return tl.program_id(0) // blocks, (tl.program_id(0) % blocks) * ROWS, tl.num_programs(0) // blocks


# ----------------------------------------------------------------------------------------- tiles of exponents


@triton.jit
def _products(
    x_block,
    y_block,
    features,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
):
    """Return the products x_i . y_j of a tile, and the squared norms of its columns; STEP features at a
    time.
    """
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([COLUMNS], tl.float32)
    for first in tl.range(0, FEATURES, STEP):
        a = _load(x_block, features, first, ROWS, STEP)
        b = _load(y_block, features, first, COLUMNS, STEP)
        products = tl.dot(a, tl.trans(b), products, input_precision="tf32x3")
        wide = b.to(tl.float32)
        squares += tl.sum(wide * wide, 1)
    return products, squares


@triton.jit
def _exponents(
    x_block,
    x_squares,
    x_ids,
    y_block,
    y_ids,
    features,
    scale,
    own,
    SQUARED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
):
    """Return the exponents of a tile: min(0, -scale ||x_i - y_j||^2) if SQUARED, else scale x_i . y_j.

    Pairs that do not count are -inf: columns past the end, column `own + i` of row i, and pairs of the same
    id.
    """
    _, x_place, x_count, _ = x_block
    _, y_place, y_count, _ = y_block
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    products, y_squares = _products(x_block, y_block, features, ROWS, COLUMNS, FEATURES, STEP)
    if SQUARED:
        y_terms = tl.where(column < y_count, -scale * _or_nan(y_squares), float("-inf"))
        exponents = 2 * scale * products + y_terms[None, :] - (scale * x_squares)[:, None]
        exponents = tl.minimum(exponents, 0.0, propagate_nan=tl.PropagateNan.ALL)
    else:
        exponents = scale * products + tl.where(column < y_count, 0.0, float("-inf"))[None, :]
    if (own > -ROWS) & (own < COLUMNS):
        exponents = tl.where(row[:, None] + own == column[None, :], float("-inf"), exponents)
    if x_ids is not None:
        x_id = tl.load(x_ids + x_place + row, mask=row < x_count, other=0)
        y_id = tl.load(y_ids + y_place + column, mask=column < y_count, other=0)
        exponents = tl.where(x_id[:, None] == y_id[None, :], float("-inf"), exponents)
    return exponents


@triton.jit
def _terms(weights, dtype: tl.constexpr):
    """Split weights into two half-precision terms, of which the second holds what is rounded off the
    first.
    """
    high = weights.to(dtype)
    return high, (weights - high.to(tl.float32)).to(dtype)


@triton.jit
def _add_weighted(sums, weights, values):
    """Return `sums + weights @ values`; two terms of the weights multiply half-precision values."""
    if values.dtype == tl.float32:
        sums = tl.dot(weights, values, sums, input_precision="tf32x3")
    else:
        high, low = _terms(weights, values.dtype)
        sums = tl.dot(high, values, sums)
        sums = tl.dot(low, values, sums)
    return sums


@triton.jit
def _sum_of_terms(weights, dtype: tl.constexpr):
    """Return the sum of each row's weights as `_add_weighted` multiplies them, so that their rounding leaves
    means.
    """
    high, low = _terms(weights, dtype)
    return tl.sum(high.to(tl.float32) + low.to(tl.float32), 1)


# ----------------------------------------------------------------------------------------- log-sums and means


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
    """Store the log of the sum of exp of each row's exponents, and, unless `means` is None, the mean column
    under them.

    The sum is over a running largest exponent. If SQUARED, the row itself is subtracted from the mean.
    """
    batch, first_row, batches = _place(rows, ROWS)
    split, first_value = tl.program_id(1), 0 if VALUES == FEATURES else tl.program_id(2) * VALUES
    x_block = _block((x, rows, x_batch, x_stride), batch, first_row)
    y_matrix = (y, columns, y_batch, y_stride)
    x_squares = None
    if SQUARED:
        x_squares = _squared_norms(x_block, features, ROWS, FEATURES, STEP)
    else:
        scale = tl.load(scale)

    base = tl.full([ROWS], float("-inf"), tl.float32)  # the largest exponent so far, times LOG2_E
    total = tl.zeros([ROWS], tl.float64)
    weight = tl.zeros([ROWS], tl.float64)
    sums = tl.zeros([ROWS, VALUES], tl.float32)
    for first in tl.range(split * span, tl.minimum(columns, (split + 1) * span), COLUMNS):
        y_block = _block(y_matrix, batch, first)
        exponents = _exponents(
            x_block,
            x_squares,
            x_ids,
            y_block,
            y_ids,
            features,
            scale,
            skip + first_row - first,
            SQUARED,
            ROWS,
            COLUMNS,
            FEATURES,
            STEP,
        )
        larger = tl.maximum(base, tl.max(exponents, 1) * LOG2_E)
        raised = _or_0(larger) - FP16_BITS
        shrink = tl.exp2(base - FP16_BITS - raised)
        weights = tl.exp2(exponents * LOG2_E - raised[:, None])
        base = larger
        total = total * shrink.to(tl.float64) + tl.sum(weights, 1).to(tl.float64)
        if means is not None:
            values = _load(y_block, features, first_value, COLUMNS, VALUES)
            sums = _add_weighted(sums * shrink[:, None], weights, values)
            if y.dtype.element_ty != tl.float32:
                weight = weight * shrink.to(tl.float64) + _sum_of_terms(weights, y.dtype.element_ty).to(
                    tl.float64
                )

    row = tl.arange(0, ROWS)
    inside = row < rows - first_row
    place = tl.cast(split * batches, tl.int64) * rows + x_block[1] + row
    nothing = total == 0
    log = (_or_0(base) - FP16_BITS).to(tl.float64) * LN_2 + tl.log(tl.where(nothing, 1.0, total))
    tl.store(logs + place, tl.where(nothing, float("-inf"), log), mask=inside & (first_value == 0))
    if means is not None:
        if y.dtype.element_ty == tl.float32:
            weight = total
        result = sums * (1 / tl.where(nothing, 1.0, weight)).to(tl.float32)[:, None]
        if SQUARED:
            result -= _load(x_block, features, first_value, ROWS, VALUES).to(tl.float32)
        result = tl.where(nothing[:, None], 0.0, result)
        _store(means, place, result, inside, width, first_value, VALUES)


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
    """Store the log-sums of `count` rows, and their means, from those of each split of the columns."""
    row = tl.cast(tl.program_id(0), tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < count
    log = tl.full([ROWS], float("-inf"), tl.float64)
    total = tl.zeros([ROWS], tl.float64)
    for split in tl.range(0, splits):
        part = tl.load(partial_logs + tl.cast(split, tl.int64) * count + row, mask=inside, other=0.0)
        larger = tl.maximum(log, part)
        base = _or_0(larger)
        total = total * tl.exp(log - base) + tl.exp(part - base)
        log = larger
    nothing = total == 0
    log = tl.where(nothing, float("-inf"), _or_0(log) + tl.log(tl.where(nothing, 1.0, total)))
    tl.store(logs + row, log, mask=inside)
    if means is not None:
        mean = tl.zeros([ROWS, FEATURES], tl.float32)
        for split in tl.range(0, splits):
            place = tl.cast(split, tl.int64) * count + row
            part = tl.load(partial_logs + place, mask=inside, other=0.0)
            share = tl.where(nothing, 0.0, tl.exp(part - tl.where(nothing, 0.0, log)))
            mean += share.to(tl.float32)[:, None] * _load_contiguous(
                partial_means, place, inside, features, FEATURES
            )
        _store(means, row, mean, inside, features, 0, FEATURES)


# -------------------------------------------------------------------------------------- gradients of log-sums


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
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    VALUES: tl.constexpr,
):
    """Store the sum of the columns, each times its share of the log-sum of the row, and, unless None, of its
    own log-sum.
    """
    batch, first_row, batches = _place(rows, ROWS)
    split, first_value = tl.program_id(1), 0 if VALUES == FEATURES else tl.program_id(2) * VALUES
    x_block = _block((x, rows, x_batch, x_stride), batch, first_row)
    y_matrix = (y, columns, y_batch, y_stride)
    start, stop = split * span, tl.minimum(columns, (split + 1) * span)
    scale = tl.load(scale)
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    inside = row < rows - first_row
    x_logs = tl.load(row_logs + x_block[1] + row, mask=inside, other=0.0)
    x_weights = tl.load(row_weights + x_block[1] + row, mask=inside, other=0.0)
    if y.dtype.element_ty == tl.float16:
        largest = tl.abs(x_weights)
        if column_logs is not None:
            largest += _largest_weight(column_weights + _block(y_matrix, batch, 0)[1], start, stop, 1024)
        unit = tl.where(largest > 0, tl.maximum(largest, 1e-30) * 2.0**-FP16_BITS, 1.0)

    sums = tl.zeros([ROWS, VALUES], tl.float32)
    for first in tl.range(start, stop, COLUMNS):
        y_block = _block(y_matrix, batch, first)
        exponents = _exponents(
            x_block,
            None,
            x_ids,
            y_block,
            y_ids,
            features,
            scale,
            skip + first_row - first,
            False,
            ROWS,
            COLUMNS,
            FEATURES,
            STEP,
        )
        weights = x_weights[:, None] * _shares(exponents, x_logs[:, None])
        if column_logs is not None:
            counts = column < columns - first
            y_logs = tl.load(column_logs + y_block[1] + column, mask=counts, other=0.0)
            y_weights = tl.load(column_weights + y_block[1] + column, mask=counts, other=0.0)
            weights += y_weights[None, :] * _shares(exponents, y_logs[None, :])
        if y.dtype.element_ty == tl.float16:
            weights *= (1 / unit)[:, None]
        values = _load(y_block, features, first_value, COLUMNS, VALUES)
        sums = _add_weighted(sums, weights, values)

    if y.dtype.element_ty == tl.float16:
        sums *= unit[:, None]
    place = tl.cast(split * batches, tl.int64) * rows + x_block[1] + row
    _store(gradient, place, sums, inside, width, first_value, VALUES)


@triton.jit(do_not_specialize=["count", "splits"])
def combine_gradients(partial, gradient, count, splits, BLOCK: tl.constexpr):
    """Store the sums over the splits of the columns of `count` numbers each."""
    place = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for split in tl.range(0, splits):
        total += tl.load(partial + tl.cast(split, tl.int64) * count + place, mask=place < count, other=0.0)
    tl.store(gradient + place, total, mask=place < count)


# --------------------------------------------------------------------------- sums of potentials, with squares


@triton.jit(do_not_specialize=["skip", "rows", "columns", "span"])
def potential_sums(
    x,
    y,
    x_ids,
    y_ids,
    largest,
    sums,
    squares,
    ts,
    unit,
    skip,
    rows,
    columns,
    features,
    x_batch,
    x_stride,
    y_batch,
    y_stride,
    span,
    COUNT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    VALUES: tl.constexpr,
):
    """Store the largest exponent -d of each row times `unit`, and, for each t, the sums of exp(t (d_i - d))
    and of its square.

    Here d are squared distances, and d_i is the smallest of the row. The sums are [splits, COUNT, batch,
    rows].
    """
    WIDTH: tl.constexpr = 4 if COUNT > 2 else COUNT
    batch, first_row, batches = _place(rows, ROWS)
    split = tl.program_id(1)
    x_block = _block((x, rows, x_batch, x_stride), batch, first_row)
    y_matrix = (y, columns, y_batch, y_stride)
    x_squares = _squared_norms(x_block, features, ROWS, FEATURES, STEP)

    base = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS, WIDTH], tl.float64)
    total_squares = tl.zeros([ROWS, WIDTH], tl.float64)
    which = tl.arange(0, WIDTH)[None, :]
    for first in tl.range(split * span, tl.minimum(columns, (split + 1) * span), COLUMNS):
        y_block = _block(y_matrix, batch, first)
        exponents = _exponents(
            x_block,
            x_squares,
            x_ids,
            y_block,
            y_ids,
            features,
            1.0,
            skip + first_row - first,
            True,
            ROWS,
            COLUMNS,
            FEATURES,
            STEP,
        )
        larger = tl.maximum(base, tl.max(exponents, 1))
        now = _or_0(larger)
        for k in tl.static_range(COUNT):
            t = ts[k] * LOG2_E
            shrink = tl.exp2((base - now) * t)[:, None].to(tl.float64)
            potentials = tl.exp2((exponents - now[:, None]) * t)
            more = tl.sum(potentials, 1)[:, None].to(tl.float64)
            more_squares = tl.sum(potentials * potentials, 1)[:, None].to(tl.float64)
            total = tl.where(which == k, total * shrink + more, total)
            total_squares = tl.where(
                which == k, total_squares * (shrink * shrink) + more_squares, total_squares
            )
        base = larger

    row = tl.arange(0, ROWS)
    count = tl.cast(batches, tl.int64) * rows
    inside = row < rows - first_row
    place = x_block[1] + row
    tl.store(largest + split * count + place, base * unit, mask=inside)
    places = (split * COUNT + which) * count + place[:, None]
    tl.store(sums + places, total, mask=inside[:, None] & (which < COUNT))
    tl.store(squares + places, total_squares, mask=inside[:, None] & (which < COUNT))


@triton.jit(do_not_specialize=["count", "splits"])
def combine_potential_sums(
    partial_largest,
    partial_sums,
    partial_squares,
    largest,
    sums,
    squares,
    ts,
    unit,
    count,
    splits,
    COUNT: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Store what `potential_sums` stores, of all columns, from the results of each split of them, for `count`
    rows.
    """
    row = tl.cast(tl.program_id(0), tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < count
    base = tl.full([ROWS], float("-inf"), tl.float32)
    for split in tl.range(0, splits):
        part = tl.load(partial_largest + tl.cast(split, tl.int64) * count + row, mask=inside, other=0.0)
        base = tl.maximum(base, part)
    tl.store(largest + row, base * unit, mask=inside)
    for k in tl.static_range(COUNT):
        total = tl.zeros([ROWS], tl.float64)
        total_squares = tl.zeros([ROWS], tl.float64)
        for split in tl.range(0, splits):
            part = tl.load(partial_largest + tl.cast(split, tl.int64) * count + row, mask=inside, other=0.0)
            shrink = tl.exp((part - _or_0(base)).to(tl.float64) * ts[k])
            place = (tl.cast(split, tl.int64) * COUNT + k) * count + row
            total += shrink * tl.load(partial_sums + place, mask=inside, other=0.0)
            total_squares += shrink * shrink * tl.load(partial_squares + place, mask=inside, other=0.0)
        tl.store(sums + tl.cast(k, tl.int64) * count + row, total, mask=inside)
        tl.store(squares + tl.cast(k, tl.int64) * count + row, total_squares, mask=inside)
