"""The sweeps by the kernel: from the sums of each row to the value and the gradients of the whole.

With l_i = log sum_j exp(e_ij) of every row, the value is L = logsumexp_i l_i - log pairs, and row i carries
the share w_i = exp(l_i - logsumexp l) of it. The kernel also gives p_i, the mean of the columns under the
potentials of row i, less the row; the gradient is then 2 t w_i p_i, and twice that where the row is a column
as well. The gradient of the columns of a rectangle is found by a second sweep with the roles exchanged. The
logs are float64, since L is small compared with them. No operation here waits for a value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align_uniform.engine import triton as launches
from align_uniform.engine.logits import LogSums
from align_uniform.engine.mask import ALL_PAIRS, Mask
from align_uniform.engine.plain import common_centre
from align_uniform.engine.precision import full_precision, widest
from align_uniform.engine.routes import HALVES
from align_uniform.engine.tiles import Sweep


@full_precision
def sweep(
    x: Tensor,
    y: Tensor | None,
    t: float,
    pairs: int,
    mask: Mask = ALL_PAIRS,
    needs_x: bool = False,
    needs_y: bool = False,
) -> Sweep:
    """Compute the value and, if needed, gradients; arguments as in `engine.log_potential`."""
    rows, columns = _as_the_kernel_takes_them(x, y)
    within = y is None
    mask = (mask.within() if within else mask).flat()
    logs, pull = _log_potentials(rows, columns, t, mask, needs_x)
    total = logs.logsumexp(-1)
    # The total is -inf where no pair counts.
    base = total if mask.ids is None else total.clamp(min=torch.finfo(total.dtype).min)
    factor = 4 * t if within else 2 * t
    grad_x = grad_y = None
    if needs_x:
        grad_x = _gradient(pull, logs, base, factor).view(x.shape)
    if needs_y and y is not None:
        logs, pull = _log_potentials(columns, rows, t, mask.exchanged(), True)
        grad_y = _gradient(pull, logs, base, factor).view(y.shape)
    value = total - math.log(2 * pairs if within else pairs)
    return Sweep(value.float().view(x.shape[:-2]), grad_x, grad_y)


def _log_potentials(x: Tensor, y: Tensor, t: float, mask: Mask, needs_pull: bool) -> tuple[Tensor, Tensor]:
    """Return the log of every row's sum of potentials, and the pull of the columns on the row."""
    return launches.log_sums(
        x,
        y,
        t,
        squared_distances=True,
        skip=mask.skip,
        x_ids=mask.ids,
        y_ids=mask.column_ids,
        needs_mean=needs_pull,
    )


def _as_the_kernel_takes_them(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return [batch, N, m] and [batch, M, m]: half-precision rows as they are, others centred in float32."""
    if x.dtype not in HALVES or (y is not None and y.dtype != x.dtype):
        dtype = widest(x, y)
        x, y = x.to(dtype), None if y is None else y.to(dtype)
        centre = common_centre(x, y)
        x, y = x - centre, None if y is None else y - centre
    rows = _flat(x)
    return rows, rows if y is None else _flat(y)


def log_sums(
    x: Tensor, y: Tensor, scale: Tensor, mask: Mask, columns: bool, needs_mean: bool = False
) -> tuple[LogSums, Tensor | None]:
    """Return the log-sum-exps of `scale x_i . y_j`, and, if needed, the mean column under each row.

    The log-sum-exps are those of `logits.log_sums`.
    """
    rows, others, mask = _flat(x), _flat(y), mask.flat()
    across, mean = _log_logits(rows, others, scale, mask, needs_mean)
    down = (
        _log_logits(others, rows, scale, mask.exchanged(), False)[0].view(y.shape[:-1]) if columns else None
    )
    return LogSums(across.view(x.shape[:-1]), down), mean.view(x.shape) if needs_mean else None


def _log_logits(x: Tensor, y: Tensor, scale: Tensor, mask: Mask, needs_mean: bool) -> tuple[Tensor, Tensor]:
    """Return the log-sum-exp of every row, and the mean of the columns under it."""
    logs, mean = launches.log_sums(
        x,
        y,
        scale,
        squared_distances=False,
        skip=mask.skip,
        x_ids=mask.ids,
        y_ids=mask.column_ids,
        needs_mean=needs_mean,
    )
    return logs.float(), mean


def logit_pulls(
    x: Tensor, y: Tensor, scale: Tensor, mask: Mask, sums: LogSums, weights: LogSums, needs_y: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of weighted log-sums of `scale x_i . y_j`, divided by the scale.

    They are otherwise those of `logits.gradients`.
    """
    rows, others, mask = _flat(x), _flat(y), mask.flat()
    across = sums.rows.reshape(rows.shape[:2]), weights.rows.reshape(rows.shape[:2])
    down = None
    if sums.columns is not None and weights.columns is not None:
        down = sums.columns.reshape(others.shape[:2]), weights.columns.reshape(others.shape[:2])
    pulls = _pulls(rows, others, scale, mask, across, down).view(x.shape)
    if not needs_y:
        return pulls, None
    if down is None:  # sums of nothing, which pull nothing
        down = across[0].new_full(others.shape[:2], -math.inf), across[0].new_zeros(others.shape[:2])
    return pulls, _pulls(others, rows, scale, mask.exchanged(), down, across).view(y.shape)


def _pulls(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    mask: Mask,
    own: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Return the pull of the columns on every row, given the log-sums and weights of both."""
    return launches.logit_gradient(
        x,
        y,
        scale,
        skip=mask.skip,
        x_ids=mask.ids,
        y_ids=mask.column_ids,
        rows=own,
        columns=others,
    )


def _flat(z: Tensor) -> Tensor:
    return z.reshape(-1, *z.shape[-2:])


def _gradient(pull: Tensor, logs: Tensor, base: Tensor, factor: float) -> Tensor:
    """Multiply the pulls of the rows, in place, by the rows' shares of the whole."""
    shares = (logs - base.unsqueeze(-1)).exp_().mul_(factor)
    return pull.mul_(shares.unsqueeze(-1))
