"""The sweeps by the kernel: from the sums of each row to the value and the gradients of the whole.

With l_i = log sum_j exp(e_ij) of every row, the value is L = logsumexp_i l_i - log pairs, and row i carries the share
w_i = exp(l_i - logsumexp l) of it. The kernel also gives p_i, the mean of the columns under the potentials of row i, less the
row; the gradient is then 2 t w_i p_i, and twice that where the row is a column as well. The gradient of the columns of a
rectangle is found by a second sweep with the roles exchanged. No operation here waits for a value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align_uniform.engine import triton as kernels
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
    skip: int | None = None,
    ids: Tensor | None = None,
    y_ids: Tensor | None = None,
    needs_x: bool = False,
    needs_y: bool = False,
) -> Sweep:
    """Compute the value and, if needed, gradients; arguments as in `engine.log_potential`."""
    batch = x.shape[:-2]
    rows, columns = _as_the_kernel_takes_them(x, y)
    within = y is None
    if within:
        skip, pairs, y_ids = 0, 2 * pairs, ids
    row_ids, column_ids = (z if z is None else z.reshape(-1, z.shape[-1]) for z in (ids, y_ids))

    def sums(rows: Tensor, columns: Tensor, *mask: int | Tensor | None, needs_pull: bool) -> tuple[Tensor, Tensor]:
        own, row_ids, column_ids = mask
        return kernels.log_sums(
            rows, columns, t, squared_distances=True, skip=own, x_ids=row_ids, y_ids=column_ids, needs_mean=needs_pull
        )  # type: ignore[arg-type]

    logs, pull = sums(rows, columns, skip, row_ids, column_ids, needs_pull=needs_x)
    total = logs.logsumexp(-1)
    base = total if ids is None else total.clamp(min=torch.finfo(total.dtype).min)  # -inf where no pair counts
    factor = 4 * t if within else 2 * t
    grad_x = grad_y = None
    if needs_x:
        grad_x = _gradient(pull, logs, base, factor).view(x.shape)
    if needs_y and y is not None:
        opposite = None if skip is None else -skip
        logs, pull = sums(columns, rows, opposite, column_ids, row_ids, needs_pull=True)
        grad_y = _gradient(pull, logs, base, factor).view(y.shape)
    return Sweep(total.sub_(math.log(pairs)).view(batch), grad_x, grad_y)


def _as_the_kernel_takes_them(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """[batch, N, m] and [batch, M, m]: half-precision rows as they are, others centred in float32."""
    if x.dtype not in HALVES or (y is not None and y.dtype != x.dtype):
        dtype = widest(x, y)
        x, y = x.to(dtype), None if y is None else y.to(dtype)
        centre = common_centre(x, y)
        x, y = x - centre, None if y is None else y - centre
    rows = x.reshape(-1, *x.shape[-2:])
    return rows, rows if y is None else y.reshape(-1, *y.shape[-2:])


def _gradient(pull: Tensor, logs: Tensor, base: Tensor, factor: float) -> Tensor:
    """Rows' pulls times their shares of the whole, in place."""
    shares = (logs - base.unsqueeze(-1)).exp_().mul_(factor)
    return pull.mul_(shares.unsqueeze(-1))
