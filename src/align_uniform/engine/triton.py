"""Sums over pairs of rows by fused Triton kernels, as operators of torch.

They wait for no value and keep O(N m) memory. Each function equals a few lines over the whole matrix of
pairs, which its docstring states; the kernels never store that matrix. Rows are float32, float16 or bfloat16,
[B, N, m] with m up to 1,024, on a CUDA device, or on a CPU in Triton's interpreter. Results are the same bits
on every run.

All launches of a function are one operator, which runs on fake and meta tensors too. A small number of rows
would occupy few multiprocessors: the columns are then split over several programs, and a second kernel
combines their results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align_uniform.engine import kernels
from align_uniform.engine.launching import MULTIPROCESSORS, Pairs, Plan, operator, padded, pairs, pieces, plan
from align_uniform.engine.mask import ALL_PAIRS, Mask

TS_PER_LAUNCH = 4
"""The number of inverse widths whose sums one launch keeps side by side."""


def log_sums(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    *,
    squared_distances: bool,
    mask: Mask = ALL_PAIRS,
    units: tuple[Tensor, Tensor] | None = None,
    needs_mean: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `l_i = log sum_j exp(e_ij)`, and the means `sum_j exp(e_ij - l_i) y_j` in float32.

    The exponents are `e_ij = min(0, -scale ||x_i - y_j||^2)` for squared distances, else `e_ij = scale x_i .
    y_j`. For squared distances the second result is the mean less x_i, computed so that little cancels. No
    exponent is too small or too large.

    Args:
        x: rows, [B, N, m].
        y: columns, [B, M, m], in the dtype of x.
        scale: for squared distances a positive number; else a tensor of one float32 on the device, which
            nobody waits for.
        squared_distances: whether exponents are negative squared distances rather than products.
        mask: the pairs that are left out: column `skip + i` of row i, which may be out of range, and pairs of
            equal ids, int64 of [B, N] and [B, M].
        units: for products: x and y are the terms that `split` returns, with their units; the means have as
            many features as the terms.
        needs_mean: whether to compute the means.

    Returns:
        The logs, [B, N], -inf where no pair is left, NaN where a row or column is NaN; float64 for squared
        distances, float32 for products. And the means, [B, N, m], 0 where no pair is left, or an empty tensor
        if they are not needed.
    """
    if squared_distances:
        assert not isinstance(scale, Tensor)
        numbers: tuple[Tensor | None, float] = (None, scale)
    else:
        assert isinstance(scale, Tensor)
        numbers = (scale, 0.0)
    x_units, y_units = units or (None, None)
    result: tuple[Tensor, Tensor] = _log_sums(x, y, *numbers, *mask, x_units, y_units, needs_mean)
    return result


def _log_sums_like(x: Tensor, y: Tensor, scale: Tensor | None, t: float, *rest: Any) -> tuple[Tensor, Tensor]:
    *_, units, _, needs_mean = rest
    means = _vectors_like(x, units) if needs_mean else x.new_empty(0, dtype=torch.float32)
    return x.new_empty(x.shape[:2], dtype=_dtype_of_logs(scale is None)), means


def _dtype_of_logs(squared_distances: bool) -> torch.dtype:
    """Return the dtype of results: a uniformity is small compared with the logs that it is made of."""
    return torch.float64 if squared_distances else torch.float32


@operator(
    "align_uniform::log_sums",
    like=_log_sums_like,
    schema="(Tensor x, Tensor y, Tensor? scale, float t, SymInt? skip, Tensor? x_ids, Tensor? y_ids,"
    " Tensor? x_units, Tensor? y_units, bool needs_mean) -> (Tensor, Tensor)",
)
def _log_sums(x: Tensor, y: Tensor, scale: Tensor | None, t: float, *rest: Any) -> tuple[Tensor, Tensor]:
    """Launch `log_sums`; without a `scale`, exponents are squared distances times -t."""
    *mask, x_units, y_units, needs_mean = rest
    with torch.cuda.device_of(x):
        units = _both(x_units, y_units)
        prepared = pairs(x, y, Mask(*mask), units=units, squared_distances=scale is None)
        features = x.shape[2] if x_units is None else x.shape[2] // 2
        logs, means = _launch_log_sums(prepared, t if scale is None else scale, features, needs_mean)
        if len(logs) == 1:
            return logs[0], means[0] if needs_mean else means
        return _combined(logs, means, needs_mean, _dtype_of_logs(scale is None))


def _launch_log_sums(
    prepared: Pairs, scale: Tensor | float, features: int, needs_mean: bool
) -> tuple[Tensor, Tensor]:
    """Return the logs and the means of each split: [splits, B, N], and [splits, B, N, m] or nothing."""
    x, _ = prepared.values
    chosen = plan("means" if needs_mean else "logs", prepared, parts=needs_mean)
    shape = (chosen.splits, *x.shape[:2])
    is_partial = chosen.splits > 1 or not isinstance(scale, Tensor)
    logs = x.new_empty(shape, dtype=torch.float64 if is_partial else torch.float32)
    means = x.new_empty((*shape, features) if needs_mean else 0, dtype=torch.float32)
    kernels.log_sums[chosen.grid](
        *prepared.values,
        *prepared.squares,
        *prepared.units,
        prepared.x_ids,
        prepared.y_ids,
        logs,
        means if needs_mean else None,
        scale,
        prepared.skip,
        *prepared.counts,
        features,
        *prepared.strides,
        chosen.span,
        SQUARED=not isinstance(scale, Tensor),
        **chosen.constants,
    )
    return logs, means


def _combined(
    partial_logs: Tensor, partial_means: Tensor, needs_mean: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Combine the results of several splits."""
    logs = partial_logs.new_empty(partial_logs.shape[1:], dtype=dtype)
    means = torch.empty_like(partial_means[0]) if needs_mean else partial_means
    features = means.shape[-1]
    block = 4 if needs_mean else 128
    kernels.combine_log_sums[(pieces(logs.numel(), block),)](
        partial_logs,
        partial_means if needs_mean else None,
        logs,
        means if needs_mean else None,
        logs.numel(),
        features,
        len(partial_logs),
        ROWS=block,
        FEATURES=padded(features),
    )
    return logs, means


def _both(x_units: Tensor | None, y_units: Tensor | None) -> tuple[Tensor, Tensor] | None:
    return None if x_units is None or y_units is None else (x_units, y_units)


def _vectors_like(x: Tensor, units: Tensor | None) -> Tensor:
    """Return an empty vector for each row of x, which may be given as terms."""
    features = x.shape[2] if units is None else x.shape[2] // 2
    return x.new_empty((*x.shape[:2], features), dtype=torch.float32)


def log_potential(
    x: Tensor,
    y: Tensor,
    t: float,
    log_pairs: float,
    mask: Mask = ALL_PAIRS,
    *,
    needs_x: bool = False,
    needs_y: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `L = log sum_ij exp(-t ||x_i - y_j||^2) - log_pairs` and its gradients.

    Args:
        x: rows, [B, N, m].
        y: columns, [B, M, m], in the dtype of x; or x itself, whose gradient then is that of both.
        t: a positive number.
        log_pairs: a number to subtract.
        mask: the pairs that are left out, as in `log_sums`.
        needs_x: whether to compute the gradient of x.
        needs_y: whether to compute the gradient of y, where it is not x.

    Returns:
        The values, [B], and the gradients, [B, N, m] and [B, M, m], or empty tensors if they are not needed;
        float32.
    """
    result: tuple[Tensor, Tensor, Tensor] = _log_potential(
        x, None if y is x else y, t, log_pairs, *mask, needs_x, needs_y
    )
    return result


def _log_potential_like(
    x: Tensor, y: Tensor | None, t: float, log_pairs: float, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    *_, needs_x, needs_y = rest
    grad_x = x.new_empty(x.shape if needs_x else 0, dtype=torch.float32)
    grad_y = x.new_empty(y.shape if needs_y and y is not None else 0, dtype=torch.float32)
    return x.new_empty(x.shape[0], dtype=torch.float32), grad_x, grad_y


@operator(
    "align_uniform::fused_log_potential",
    like=_log_potential_like,
    schema="(Tensor x, Tensor? y, float t, float log_pairs, SymInt? skip, Tensor? x_ids, Tensor? y_ids,"
    " bool needs_x, bool needs_y) -> (Tensor, Tensor, Tensor)",
)
def _log_potential(
    x: Tensor, y: Tensor | None, t: float, log_pairs: float, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch `log_sums` for each side whose gradient is needed, and `total_log_sum` for the results."""
    *mask, needs_x, needs_y = rest
    value, grad_x, grad_y = _log_potential_like(x, y, t, log_pairs, *rest)
    with torch.cuda.device_of(x):
        prepared = pairs(x, x if y is None else y, Mask(*mask), squared_distances=True)
        features = x.shape[2]
        logs, means = _launch_log_sums(prepared, t, features, needs_x)
        of_x = (logs, means, grad_x) if needs_x else None
        _launch_total(logs, of_x, value, log_pairs, 4 * t if y is None else 2 * t)
        if needs_y and y is not None:
            of_y = (*_launch_log_sums(prepared.exchanged(), t, features, True), grad_y)
            _launch_total(logs, of_y, None, log_pairs, 2 * t)
    return value, grad_x, grad_y


def _launch_total(
    summed: Tensor,
    rows: tuple[Tensor, Tensor, Tensor] | None,
    value: Tensor | None,
    log_pairs: float,
    factor: float,
) -> None:
    """Fill in the value, and the gradient of the rows whose logs, means and gradient are given."""
    logs, means, gradient = (None, None, None) if rows is None else rows
    count = 1 if logs is None else logs.shape[2]
    features = 1 if gradient is None else gradient.shape[2]
    block = max(1, 2048 // padded(features))
    kernels.total_log_sum[(min(pieces(count, block), MULTIPROCESSORS), summed.shape[1])](
        summed,
        logs,
        means,
        value,
        gradient,
        log_pairs,
        factor,
        summed.shape[2],
        len(summed),
        count,
        0 if logs is None else len(logs),
        features,
        BLOCK=1024,
        ROWS=block,
        FEATURES=padded(features),
    )


def logit_gradient(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    *,
    mask: Mask = ALL_PAIRS,
    units: tuple[Tensor, Tensor] | None = None,
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
        mask: the pairs that are left out, as in `log_sums`.
        units: x and y are the terms that `split` returns, with their units; the result has as many features
            as the terms.
        rows: r and u, float32, [B, N] each. A row whose log-sum is -inf adds nothing.
        columns: c and v, float32, [B, M] each; None leaves out the second term.

    Returns:
        [B, N, m], float32.
    """
    result: Tensor = _logit_gradient(
        x, y, scale, *mask, *(units or (None, None)), *rows, *(columns or (None, None))
    )
    return result


def _logit_gradient_like(x: Tensor, y: Tensor, scale: Tensor, *rest: Any) -> Tensor:
    return _vectors_like(x, rest[3])


@operator(
    "align_uniform::logit_gradient",
    like=_logit_gradient_like,
    schema="(Tensor x, Tensor y, Tensor scale, SymInt? skip, Tensor? x_ids, Tensor? y_ids,"
    " Tensor? x_units, Tensor? y_units,"
    " Tensor row_logs, Tensor row_weights, Tensor? column_logs, Tensor? column_weights) -> Tensor",
)
def _logit_gradient(x: Tensor, y: Tensor, scale: Tensor, *rest: Any) -> Tensor:
    """Launch `logit_gradient`; the rest are a mask, units, and the logs and weights of rows and columns."""
    skip, ids, column_ids, x_units, y_units, *sums = rest
    gradient = _vectors_like(x, x_units)
    with torch.cuda.device_of(x):
        prepared = pairs(
            x, y, Mask(skip, ids, column_ids), units=_both(x_units, y_units), squared_distances=False
        )
        chosen = plan("gradients", prepared, parts=True)
        partial = gradient if chosen.splits == 1 else gradient.new_empty((chosen.splits, *gradient.shape))
        kernels.logit_gradient[chosen.grid](
            *prepared.values,
            *prepared.units,
            prepared.x_ids,
            prepared.y_ids,
            *(z if z is None else z.contiguous() for z in sums),
            partial,
            scale,
            prepared.skip,
            *prepared.counts,
            gradient.shape[2],
            *prepared.strides,
            chosen.span,
            **chosen.constants,
        )
        if chosen.splits > 1:
            count = gradient.numel()
            kernels.combine_gradients[(pieces(count, 512),)](
                partial, gradient, count, chosen.splits, BLOCK=512
            )
    return gradient


def potential_sums(
    x: Tensor,
    y: Tensor,
    ts: Sequence[float],
    mask: Mask = ALL_PAIRS,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each row's sums of potentials, and of their squares, relative to its largest potential.

    With d_ij the squared distances and d_i the smallest of row i, the results are `-ts[0] d_i`, `sum_j exp(t
    (d_i - d_ij))` and `sum_j exp(2 t (d_i - d_ij))` for each t.

    Args:
        x: rows, [B, N, m].
        y: columns, [B, M, m], in the dtype of x.
        ts: inverse squared widths of the Gaussian, positive, at least one.
        mask: the pairs that are left out, as in `log_sums`.

    Returns:
        The largest exponents, [B, N] in float32, -inf where no pair is left; the sums and the sums of
        squares, [len(ts), B, N] in float64, 0 where no pair is left, NaN where a row or column is not finite.
    """
    result: tuple[Tensor, Tensor, Tensor] = _potential_sums(x, y, list(ts), *mask)
    return result


def _potential_sums_like(x: Tensor, y: Tensor, ts: list[float], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    largest = x.new_empty(x.shape[:2], dtype=torch.float32)
    sums, squares = (x.new_empty((len(ts), *x.shape[:2]), dtype=torch.float64) for _ in range(2))
    return largest, sums, squares


@operator(
    "align_uniform::potential_sums",
    like=_potential_sums_like,
    schema="(Tensor x, Tensor y, float[] ts, SymInt? skip, Tensor? x_ids, Tensor? y_ids)"
    " -> (Tensor, Tensor, Tensor)",
)
def _potential_sums(x: Tensor, y: Tensor, ts: list[float], *mask: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Launch `potential_sums`, each launch for a few of `ts`."""
    largest, sums, squares = _potential_sums_like(x, y, ts)
    with torch.cuda.device_of(x):
        prepared = pairs(x, y, Mask(*mask), squared_distances=True)
        chosen = plan("potentials", prepared, parts=False)
        for first in range(0, len(ts), TS_PER_LAUNCH):
            some = slice(first, first + TS_PER_LAUNCH)
            results = largest, sums[some], squares[some]
            _launch_potential_sums(prepared, chosen, results, tuple(ts[some]), ts[0])
    return largest, sums, squares


def _launch_potential_sums(
    prepared: Pairs, chosen: Plan, results: tuple[Tensor, ...], ts: tuple[float, ...], unit: float
) -> None:
    """Fill in the results: largest exponents times `unit`, and the sums for these few ts."""
    split = chosen.splits > 1
    partial = tuple(z.new_empty((chosen.splits, *z.shape)) for z in results) if split else results
    kernels.potential_sums[chosen.grid](
        *prepared.values,
        *prepared.squares,
        *prepared.units,
        prepared.x_ids,
        prepared.y_ids,
        *partial,
        ts,
        1.0 if split else unit,
        prepared.skip,
        *prepared.counts,
        *prepared.strides,
        chosen.span,
        COUNT=len(ts),
        **chosen.constants,
    )
    if split:
        rows = results[0].numel()
        kernels.combine_potential_sums[(pieces(rows, 128),)](
            *partial, *results, ts, unit, rows, chosen.splits, COUNT=len(ts), ROWS=128
        )
