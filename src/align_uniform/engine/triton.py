"""Sums over pairs of rows by fused Triton kernels, as operators of torch.

They wait for no value and keep O(N m) memory. Each function equals a few lines over the whole matrix of
pairs, which its docstring states; the kernels never store that matrix. Rows are float32, float16 or bfloat16,
[B, N, m] with m up to 256, on a CUDA device, or on a CPU in Triton's interpreter. Results are the same bits
on every run.

All launches of a function are one operator, which runs on fake and meta tensors too. A small number of rows
would occupy few multiprocessors: the columns are then split over several programs, and a second kernel
combines their results.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from align_uniform.engine import configurations, kernels

MULTIPROCESSORS = 132
"""The number of programs that are to run at a time: as many as an H100 has multiprocessors."""

TS_PER_LAUNCH = 4
"""The number of inverse widths whose sums one launch keeps side by side."""

ALIGNMENT = 16
"""The multiple of numbers, and of bytes, at which rows begin."""

FARTHEST = 2**24
"""The largest stride of rows; with larger strides rows are copied, since offsets in a block have 32 bits."""


def log_sums(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    *,
    squared_distances: bool,
    skip: int | None = None,
    x_ids: Tensor | None = None,
    y_ids: Tensor | None = None,
    needs_mean: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `l_i = log sum_j exp(e_ij)` in float64, and the means `sum_j exp(e_ij - l_i) y_j` in float32.

    The exponents are `e_ij = min(0, -scale ||x_i - y_j||^2)` for squared distances, else `e_ij = scale x_i .
    y_j`. For squared distances the second result is the mean less x_i, computed so that little cancels. No
    exponent is too small or too large.

    Args:
        x: rows, [B, N, m]. For squared distances, float32 rows should be centred: their rounding grows with
            their norms.
        y: columns, [B, M, m], in the dtype of x.
        scale: for squared distances a positive number; else a tensor of one float32 on the device, which
            nobody waits for.
        squared_distances: whether exponents are negative squared distances rather than products.
        skip: leave out column `skip + i` of row i, which may be out of range; None leaves out nothing.
        x_ids: leave out pairs of equal numbers in `x_ids` and `y_ids`: int64, [B, N]. Both, or neither.
        y_ids: int64, [B, M].
        needs_mean: whether to compute the means.

    Returns:
        The logs, [B, N], -inf where no pair is left, NaN where a row or column is NaN; and the means, [B, N,
        m], 0 where no pair is left, or an empty tensor if they are not needed.
    """
    if squared_distances:
        assert not isinstance(scale, Tensor)
        result: tuple[Tensor, Tensor] = _log_sums(x, y, None, scale, skip, x_ids, y_ids, needs_mean)
    else:
        assert isinstance(scale, Tensor)
        result = _log_sums(x, y, scale, 0.0, skip, x_ids, y_ids, needs_mean)
    return result


@torch.library.custom_op(
    "align_uniform::log_sums",
    mutates_args=(),
    schema="(Tensor x, Tensor y, Tensor? scale, float t, SymInt? skip, Tensor? x_ids, Tensor? y_ids,"
    " bool needs_mean) -> (Tensor, Tensor)",
)
def _log_sums(
    x: Tensor,
    y: Tensor,
    scale: Tensor | None,
    t: float,
    skip: int | None,
    x_ids: Tensor | None,
    y_ids: Tensor | None,
    needs_mean: bool,
) -> tuple[Tensor, Tensor]:
    """Launch `log_sums`; without a `scale`, exponents are squared distances times -t."""
    pairs = _pairs(x, y, skip, x_ids, y_ids)
    plan = _plan("means" if needs_mean else "logs", pairs.x, pairs.y, parts=needs_mean)
    logs, means = _log_sums_like(x, needs_mean)
    partial_logs, partial_means = logs, means
    if plan.splits > 1:
        partial_logs = logs.new_empty((plan.splits, *logs.shape), dtype=torch.float64)
        partial_means = means.new_empty((plan.splits, *means.shape)) if needs_mean else means
    with torch.cuda.device_of(x):
        kernels.log_sums[plan.grid](
            pairs.x,
            pairs.y,
            pairs.x_ids,
            pairs.y_ids,
            partial_logs,
            partial_means if needs_mean else None,
            t if scale is None else scale,
            pairs.skip,
            *pairs.counts,
            x.shape[2],
            *pairs.strides,
            plan.span,
            SQUARED=scale is None,
            **plan.constants,
        )
        if plan.splits > 1:
            rows, features = logs.numel(), x.shape[2]
            block = 4 if needs_mean else 128
            kernels.combine_log_sums[(triton.cdiv(rows, block),)](
                partial_logs,
                partial_means if needs_mean else None,
                logs,
                means if needs_mean else None,
                rows,
                features,
                plan.splits,
                ROWS=block,
                FEATURES=_padded(features),
            )
    return logs, means


@_log_sums.register_fake
def _(
    x: Tensor, y: Tensor, scale: Tensor | None, t: float, skip: int | None, *rest: Any
) -> tuple[Tensor, Tensor]:
    return _log_sums_like(x, rest[-1])


def _log_sums_like(x: Tensor, needs_mean: bool) -> tuple[Tensor, Tensor]:
    means = x.new_empty(x.shape if needs_mean else 0, dtype=torch.float32)
    return x.new_empty(x.shape[:2], dtype=torch.float64), means


def logit_gradient(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    *,
    skip: int | None = None,
    x_ids: Tensor | None = None,
    y_ids: Tensor | None = None,
    rows: tuple[Tensor, Tensor],
    columns: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return `sum_j (u_i exp(e_ij - r_i) + v_j exp(e_ij - c_j)) y_j`, where `e_ij = scale x_i . y_j`.

    With r and c the log-sums of the rows and columns, and u and v the derivatives of a loss with respect to
    them, this times `scale` is the derivative of the loss with respect to x. For the derivative with respect
    to y, exchange the roles of rows and columns.

    Args:
        x: rows, [B, N, m].
        y: columns, [B, M, m], in the dtype of x.
        scale: one float32 on the device.
        skip: leave out column `skip + i` of row i, as in `log_sums`.
        x_ids: leave out pairs of equal numbers in `x_ids` and `y_ids`: int64, [B, N]. Both, or neither.
        y_ids: int64, [B, M].
        rows: r and u, float32, [B, N] each. A row whose log-sum is -inf adds nothing.
        columns: c and v, float32, [B, M] each; None leaves out the second term.

    Returns:
        [B, N, m], float32.
    """
    result: Tensor = _logit_gradient(x, y, scale, skip, x_ids, y_ids, *rows, *(columns or (None, None)))
    return result


@torch.library.custom_op(
    "align_uniform::logit_gradient",
    mutates_args=(),
    schema="(Tensor x, Tensor y, Tensor scale, SymInt? skip, Tensor? x_ids, Tensor? y_ids, Tensor row_logs,"
    " Tensor row_weights, Tensor? column_logs, Tensor? column_weights) -> Tensor",
)
def _logit_gradient(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    skip: int | None,
    x_ids: Tensor | None,
    y_ids: Tensor | None,
    *sums: Tensor | None,
) -> Tensor:
    """Launch `logit_gradient`; `sums` are the logs and weights of rows and columns."""
    pairs = _pairs(x, y, skip, x_ids, y_ids)
    plan = _plan("gradients", pairs.x, pairs.y, parts=True)
    gradient = _logit_gradient_like(x)
    partial = gradient if plan.splits == 1 else gradient.new_empty((plan.splits, *gradient.shape))
    with torch.cuda.device_of(x):
        kernels.logit_gradient[plan.grid](
            pairs.x,
            pairs.y,
            pairs.x_ids,
            pairs.y_ids,
            *(z if z is None else z.contiguous() for z in sums),
            partial,
            scale,
            pairs.skip,
            *pairs.counts,
            x.shape[2],
            *pairs.strides,
            plan.span,
            **plan.constants,
        )
        if plan.splits > 1:
            count = gradient.numel()
            kernels.combine_gradients[(triton.cdiv(count, 512),)](
                partial, gradient, count, plan.splits, BLOCK=512
            )
    return gradient


@_logit_gradient.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return _logit_gradient_like(x)


def _logit_gradient_like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape, dtype=torch.float32)


def potential_sums(
    x: Tensor,
    y: Tensor,
    ts: Sequence[float],
    *,
    skip: int | None = None,
    x_ids: Tensor | None = None,
    y_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each row's sums of potentials, and of their squares, relative to its largest potential.

    With d_ij the squared distances and d_i the smallest of row i, the results are `-ts[0] d_i`, `sum_j exp(t
    (d_i - d_ij))` and `sum_j exp(2 t (d_i - d_ij))` for each t.

    Args:
        x: rows, [B, N, m]; float32 rows should be centred.
        y: columns, [B, M, m], in the dtype of x.
        ts: inverse squared widths of the Gaussian, positive, at least one.
        skip: leave out column `skip + i` of row i, as in `log_sums`.
        x_ids: leave out pairs of equal numbers in `x_ids` and `y_ids`: int64, [B, N]. Both, or neither.
        y_ids: int64, [B, M].

    Returns:
        The largest exponents, [B, N] in float32, -inf where no pair is left; the sums and the sums of
        squares, [len(ts), B, N] in float64, 0 where no pair is left, NaN where a row or column is not finite.
    """
    result: tuple[Tensor, Tensor, Tensor] = _potential_sums(x, y, list(ts), skip, x_ids, y_ids)
    return result


@torch.library.custom_op(
    "align_uniform::potential_sums",
    mutates_args=(),
    schema="(Tensor x, Tensor y, float[] ts, SymInt? skip, Tensor? x_ids, Tensor? y_ids)"
    " -> (Tensor, Tensor, Tensor)",
)
def _potential_sums(
    x: Tensor, y: Tensor, ts: list[float], skip: int | None, x_ids: Tensor | None, y_ids: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch `potential_sums`, each launch for a few of `ts`."""
    pairs = _pairs(x, y, skip, x_ids, y_ids)
    plan = _plan("potentials", pairs.x, pairs.y, parts=False)
    largest, sums, squares = _potential_sums_like(x, ts)
    with torch.cuda.device_of(x):
        for first in range(0, len(ts), TS_PER_LAUNCH):
            some = slice(first, first + TS_PER_LAUNCH)
            _launch_potential_sums(pairs, plan, (largest, sums[some], squares[some]), tuple(ts[some]), ts[0])
    return largest, sums, squares


@_potential_sums.register_fake
def _(x: Tensor, y: Tensor, ts: list[float], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _potential_sums_like(x, ts)


def _potential_sums_like(x: Tensor, ts: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    largest = x.new_empty(x.shape[:2], dtype=torch.float32)
    sums, squares = (x.new_empty((len(ts), *x.shape[:2]), dtype=torch.float64) for _ in range(2))
    return largest, sums, squares


def _launch_potential_sums(
    pairs: _Pairs, plan: _Plan, results: tuple[Tensor, ...], ts: tuple[float, ...], unit: float
) -> None:
    """Fill in the results: largest exponents times `unit`, and the sums for these few ts."""
    split = plan.splits > 1
    partial = tuple(z.new_empty((plan.splits, *z.shape)) for z in results) if split else results
    kernels.potential_sums[plan.grid](
        pairs.x,
        pairs.y,
        pairs.x_ids,
        pairs.y_ids,
        *partial,
        ts,
        1.0 if split else unit,
        pairs.skip,
        *pairs.counts,
        *pairs.strides,
        plan.span,
        COUNT=len(ts),
        **plan.constants,
    )
    if split:
        rows = results[0].numel()
        kernels.combine_potential_sums[(triton.cdiv(rows, 128),)](
            *partial, *results, ts, unit, rows, plan.splits, COUNT=len(ts), ROWS=128
        )


# --------------------------------------------------------------------------------------------------- launches


class _Pairs(NamedTuple):
    """The rows and columns as the kernels read them, and the pairs that are left out."""

    x: Tensor
    y: Tensor
    skip: int
    x_ids: Tensor | None
    y_ids: Tensor | None

    @property
    def counts(self) -> tuple[int, int, int]:
        """The number of rows, of columns, and of features, counting the zeros that were added."""
        return self.x.shape[1], self.y.shape[1], self.x.shape[2]

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """The strides of batch entries and rows of both sides."""
        return self.x.stride(0), self.x.stride(1), self.y.stride(0), self.y.stride(1)


def _pairs(x: Tensor, y: Tensor, skip: int | None, x_ids: Tensor | None, y_ids: Tensor | None) -> _Pairs:
    columns = y.shape[1]
    # At the ends no pair is left out.
    skip = columns if skip is None else max(-x.shape[1], min(skip, columns))
    x_ids, y_ids = (z if z is None else z.contiguous() for z in (x_ids, y_ids))
    readable = _readable(x)
    return _Pairs(readable, readable if y is x else _readable(y), skip, x_ids, y_ids)


def _readable(z: Tensor) -> Tensor:
    """Return the rows as kernels load them, 16 numbers at a time: a copy, padded with zeros, if need be.

    Kernels for rows that begin anywhere would need more registers than there are.
    """
    if missing := -z.shape[2] % ALIGNMENT:
        return torch.nn.functional.pad(z, (0, missing))
    aligned = all(stride % ALIGNMENT == 0 for stride in z.stride()[:2]) and z.data_ptr() % ALIGNMENT == 0
    if aligned and z.stride(2) == 1 and z.stride(1) <= FARTHEST:
        return z
    return z.clone(memory_format=torch.contiguous_format)


class _Plan(NamedTuple):
    """The grid and the compile-time constants of a launch."""

    grid: tuple[int, int, int]
    span: int
    """The number of columns of each split."""
    constants: dict[str, int]

    @property
    def splits(self) -> int:
        """The number of programs that share the columns of a block of rows."""
        return self.grid[1]


def _plan(kernel: configurations.Kernel, x: Tensor, y: Tensor, *, parts: bool) -> _Plan:
    """Choose blocks and grid.

    With `parts`, rows of more than 128 features have a program for each 128 of their sums.
    """
    features = _padded(x.shape[2])
    assert features <= 256
    chosen = configurations.configuration(
        kernel, half=x.dtype != torch.float32, features=features, capability=_capability(x.get_device())
    )
    blocks = x.shape[0] * triton.cdiv(x.shape[1], chosen.rows)
    values = min(features, 128)
    per_row = features // values if parts else 1
    tiles = triton.cdiv(y.shape[1], chosen.columns)
    splits = min(tiles, triton.cdiv(MULTIPROCESSORS, blocks * per_row))
    span = triton.cdiv(tiles, splits) * chosen.columns
    constants = {
        "ROWS": chosen.rows,
        "COLUMNS": chosen.columns,
        "FEATURES": features,
        "STEP": chosen.step,
        "VALUES": values,
        "num_warps": chosen.warps,
        "num_stages": chosen.stages,
    }
    return _Plan((blocks, triton.cdiv(y.shape[1], span), per_row), span, constants)


def _padded(features: int) -> int:
    """Return the number of features of a block: a power of two that a matrix product takes."""
    return 1 << max(4, (features - 1).bit_length())


@functools.cache
def _capability(device: int) -> configurations.Capability | None:
    """Return the compute capability of a CUDA device, None for the CPU."""
    return None if device < 0 else torch.cuda.get_device_capability(device)
