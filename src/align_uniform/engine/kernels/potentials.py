"""Sums of Gaussian potentials and of their squares."""

# ruff: noqa: N803, N806 - Triton's compile-time constants are written in capitals
# The arguments of a kernel have no Python types:
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from align_uniform.engine.kernels.blocks import LOG2_E, block, load_vector, or_0, program_place, unit_of
from align_uniform.engine.kernels.exponents import exponents, rows_to_keep


@triton.jit(do_not_specialize=["skip", "rows", "columns", "span"])
def potential_sums(
    x,
    y,
    x_squares,
    y_squares,
    x_units,
    y_units,
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
    TERMS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    STEP: tl.constexpr,
    VALUES: tl.constexpr,
):
    """Store each row's largest exponent times `unit`, and its sums of potentials and of their squares.

    With d_ij the squared distances and d_i the smallest of row i, the largest exponent is -d_i, and the sums
    are, for each t, over exp(t (d_i - d_ij)) and of its square: [splits, COUNT, batch, rows].
    """
    WIDTH: tl.constexpr = 4 if COUNT > 2 else COUNT
    batch, first_row, batches = program_place(rows, ROWS)
    split = tl.program_id(1)
    x_block = block((x, rows, x_batch, x_stride), batch, first_row)
    own_squares = load_vector(x_squares, x_block, ROWS)
    units = unit_of(x_units, batch) * unit_of(y_units, batch)
    kept = rows_to_keep(x_block, features, ROWS, FEATURES, STEP, TERMS)

    base = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS, WIDTH], tl.float64)
    total_squares = tl.zeros([ROWS, WIDTH], tl.float64)
    which = tl.arange(0, WIDTH)[None, :]
    for first in tl.range(split * span, tl.minimum(columns, (split + 1) * span), COLUMNS):
        y_block = block((y, columns, y_batch, y_stride), batch, first)
        own = skip + first_row - first
        tile, _ = exponents(
            x_block, kept, own_squares, x_ids, y_block, y_squares, y_ids, features, 1.0, units, own,
            True, ROWS, COLUMNS, FEATURES, STEP, TERMS,
        )  # fmt: skip
        larger = tl.maximum(base, tl.max(tile, 1))
        now = or_0(larger)
        for k in tl.static_range(COUNT):
            t = ts[k] * LOG2_E
            shrink = tl.exp2((base - now) * t)[:, None].to(tl.float64)
            potentials = tl.exp2((tile - now[:, None]) * t)
            more = tl.sum(potentials, 1)[:, None].to(tl.float64)
            more_squares = tl.sum(potentials * potentials, 1)[:, None].to(tl.float64)
            total = tl.where(which == k, total * shrink + more, total)
            shrunk = total_squares * (shrink * shrink)
            total_squares = tl.where(which == k, shrunk + more_squares, total_squares)
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
    """Store the results of `potential_sums` for `count` rows, from the partial results of each split."""
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
            shrink = tl.exp((part - or_0(base)).to(tl.float64) * ts[k])
            place = (tl.cast(split, tl.int64) * COUNT + k) * count + row
            total += shrink * tl.load(partial_sums + place, mask=inside, other=0.0)
            total_squares += shrink * shrink * tl.load(partial_squares + place, mask=inside, other=0.0)
        tl.store(sums + tl.cast(k, tl.int64) * count + row, total, mask=inside)
        tl.store(squares + tl.cast(k, tl.int64) * count + row, total_squares, mask=inside)
