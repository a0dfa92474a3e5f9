"""Tiles of exponents, and the products of their exponentials with columns."""

# ruff: noqa: N803 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from align_uniform.engine.kernels.blocks import load, or_nan


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
    """Return the products x_i . y_j of a tile, and the squared norms of its columns."""
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([COLUMNS], tl.float32)
    for first in tl.range(0, FEATURES, STEP):
        a = load(x_block, features, first, ROWS, STEP)
        b = load(y_block, features, first, COLUMNS, STEP)
        products = tl.dot(a, tl.trans(b), products, input_precision="tf32x3")
        wide = b.to(tl.float32)
        squares += tl.sum(wide * wide, 1)
    return products, squares


@triton.jit
def exponents(
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
    id. STEP features are loaded and multiplied at a time.

    The squared norms of the rows are None unless SQUARED. The ids are those of all rows and columns, or None.
    """
    _, x_place, x_count, _ = x_block
    _, y_place, y_count, _ = y_block
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    products, y_squares = _products(x_block, y_block, features, ROWS, COLUMNS, FEATURES, STEP)
    if SQUARED:
        y_terms = tl.where(column < y_count, -scale * or_nan(y_squares), float("-inf"))
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
def two_terms(weights, dtype: tl.constexpr):
    """Split weights into two half-precision terms; the second holds the rounding error of the first."""
    high = weights.to(dtype)
    return high, (weights - high.to(tl.float32)).to(dtype)


@triton.jit
def add_weighted(sums, weights, values):
    """Return `sums + weights @ values`; two terms of the weights multiply half-precision values."""
    if values.dtype == tl.float32:
        sums = tl.dot(weights, values, sums, input_precision="tf32x3")
    else:
        high, low = two_terms(weights, values.dtype)
        sums = tl.dot(high, values, sums)
        sums = tl.dot(low, values, sums)
    return sums


@triton.jit
def sum_of_terms(weights, dtype: tl.constexpr):
    """Return the sum of each row's weights, rounded as in `add_weighted`, so that quotients are means."""
    high, low = two_terms(weights, dtype)
    return tl.sum(high.to(tl.float32) + low.to(tl.float32), 1)
