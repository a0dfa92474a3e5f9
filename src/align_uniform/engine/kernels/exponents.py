"""Tiles of exponents, and the products of their exponentials with columns."""

# ruff: noqa: N803 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from align_uniform.engine.kernels.blocks import load_terms, load_vector


@triton.jit
def rows_to_keep(
    x_block,
    features,
    ROWS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    TERMS: tl.constexpr,
):
    """Return the rows of this program, which it keeps if it multiplies all features at a time, else zeros."""
    rows = 0.0, 0.0
    if STEP == FEATURES:
        rows = load_terms(x_block, features, 0, ROWS, FEATURES, TERMS)
    return rows


@triton.jit
def _multiply(
    x_block,
    kept_rows,
    y_block,
    features,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    TERMS: tl.constexpr,
):
    """Return the products x_i . y_j of a tile, and its columns, or zeros if it does not load them at once."""
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    columns = 0.0, 0.0
    if STEP == FEATURES:
        columns = load_terms(y_block, features, 0, COLUMNS, FEATURES, TERMS)
        products = _add_products(products, kept_rows, columns, TERMS)
    else:
        for first in tl.range(0, FEATURES, STEP):
            a = load_terms(x_block, features, first, ROWS, STEP, TERMS)
            b = load_terms(y_block, features, first, COLUMNS, STEP, TERMS)
            products = _add_products(products, a, b, TERMS)
    return products, columns


@triton.jit
def _add_products(products, a, b, TERMS: tl.constexpr):
    """Return `products + a @ b.T`; the product of the two small terms is below the rounding of float32."""
    a_high, a_low = a
    b_high, b_low = b
    if TERMS == 2:
        products = tl.dot(a_low, tl.trans(b_high), products)
        products = tl.dot(a_high, tl.trans(b_low), products)
    return tl.dot(a_high, tl.trans(b_high), products)


@triton.jit
def exponents(
    x_block,
    kept_rows,
    x_squares,
    x_ids,
    y_block,
    y_squares,
    y_ids,
    features,
    scale,
    units,
    own,
    SQUARED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    TERMS: tl.constexpr,
):
    """Return the exponents of a tile: min(0, -scale ||x_i - y_j||^2) if SQUARED, else scale x_i . y_j.

    Pairs that do not count are -inf: columns past the end, column `own + i` of row i, and pairs of the same
    id. The second result is the columns, or zeros if they are not loaded at once.

    `kept_rows` are those of `rows_to_keep`. The squared norms of these rows, and those of all columns, are
    None unless SQUARED. The ids are those of all rows and columns, or None. Products are multiples of
    `units`, the product of both sides' units.
    """
    _, x_place, x_count, _ = x_block
    _, y_place, y_count, _ = y_block
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    products, columns = _multiply(x_block, kept_rows, y_block, features, ROWS, COLUMNS, FEATURES, STEP, TERMS)
    if SQUARED:
        y_terms = tl.where(column < y_count, -scale * load_vector(y_squares, y_block, COLUMNS), float("-inf"))
        exponents = (2 * scale * units) * products + y_terms[None, :] - (scale * x_squares)[:, None]
        exponents = tl.minimum(exponents, 0.0, propagate_nan=tl.PropagateNan.ALL)
    else:
        y_terms = tl.where(column < y_count, 0.0, float("-inf"))
        exponents = (scale * units) * products + y_terms[None, :]
    if (own > -ROWS) & (own < COLUMNS):
        exponents = tl.where(row[:, None] + own == column[None, :], float("-inf"), exponents)
    if x_ids is not None:
        x_id = tl.load(x_ids + x_place + row, mask=row < x_count, other=0)
        y_id = tl.load(y_ids + y_place + column, mask=column < y_count, other=0)
        exponents = tl.where(x_id[:, None] == y_id[None, :], float("-inf"), exponents)
    return exponents, columns


@triton.jit
def two_terms(weights, dtype: tl.constexpr):
    """Split weights into two half-precision terms; the second holds the rounding error of the first."""
    high = weights.to(dtype)
    return high, (weights - high.to(tl.float32)).to(dtype)


@triton.jit
def values_of(
    y_block,
    columns,
    features,
    first_value,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    VALUES: tl.constexpr,
    TERMS: tl.constexpr,
):
    """Return the VALUES features of the columns that this program sums; they may have been loaded before."""
    if STEP == FEATURES and VALUES == FEATURES:
        values = columns
    else:
        values = load_terms(y_block, features, first_value, COLUMNS, VALUES, TERMS)
    return values


@triton.jit
def add_weighted(sums, weights, values, TERMS: tl.constexpr):
    """Return `sums + weights @ values`, the weights in two terms, and the sum of each row's weights.

    The second result is of the weights as they were rounded, so that quotients are means.
    """
    value_high, value_low = values
    high, low = two_terms(weights, value_high.dtype)
    sums = tl.dot(low, value_high, sums)
    if TERMS == 2:
        sums = tl.dot(high, value_low, sums)
    sums = tl.dot(high, value_high, sums)
    return sums, tl.sum(high.to(tl.float32) + low.to(tl.float32), 1)
