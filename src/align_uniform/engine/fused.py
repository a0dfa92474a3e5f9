"""The sweeps by the kernel: from the sums of each row to the value and the gradients of the whole.

The sums over logits have one log for every row, and the loss is made of these by operations of torch. No
operation here waits for a value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from align_uniform.engine import triton as launches
from align_uniform.engine.launching import split
from align_uniform.engine.logits import LogSums, flat
from align_uniform.engine.mask import ALL_PAIRS, Mask
from align_uniform.engine.precision import full_precision
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
    within = y is None
    mask = (mask.within() if within else mask).flat()
    rows, columns = _in_one_dtype(x, y)
    value, grad_x, grad_y = launches.log_potential(
        rows,
        columns,
        t,
        math.log(2 * pairs if within else pairs),
        mask=mask,
        needs_x=needs_x,
        needs_y=needs_y,
    )
    return Sweep(
        value.view(x.shape[:-2]),
        grad_x.view(x.shape) if needs_x else None,
        grad_y.view(y.shape) if needs_y and y is not None else None,
    )


class Terms(NamedTuple):
    """Rows and columns in one dtype, split in terms if they are float32."""

    x: Tensor
    y: Tensor
    x_units: Tensor | None = None
    """The units of the terms of x; None if rows and columns are half precision."""
    y_units: Tensor | None = None
    """The units of the terms of y."""

    @property
    def units(self) -> tuple[Tensor, Tensor] | None:
        """The units of both sides, if they have any."""
        return None if self.x_units is None or self.y_units is None else (self.x_units, self.y_units)

    def exchanged(self) -> Terms:
        """Return the terms with rows and columns exchanged."""
        return Terms(self.y, self.x, self.y_units, self.x_units)


def terms(x: Tensor, y: Tensor) -> Terms:
    """Return rows and columns as the sums over logits take them, [batch, N, m] and [batch, M, m]."""
    x, y = _in_one_dtype(x, y)
    return Terms(x, y) if x.dtype in HALVES else Terms(*split(x, y))


def log_sums(
    x: Tensor, y: Tensor, rows: Terms, scale: Tensor, mask: Mask, columns: bool, needs_mean: bool = False
) -> tuple[LogSums, Tensor | None]:
    """Return the log-sum-exps of `scale x_i . y_j`, and, if needed, the mean column under each row.

    The log-sum-exps are those of `logits.log_sums`; `rows` are the terms of x and y.
    """
    mask = mask.flat()
    across, mean = _log_logits(rows, scale, mask, needs_mean)
    down = _log_logits(rows.exchanged(), scale, mask.exchanged(), False)[0] if columns else None
    sums = LogSums(across.view(x.shape[:-1]), None if down is None else down.view(y.shape[:-1]))
    return sums, _like(mean, x) if needs_mean else None


def _log_logits(rows: Terms, scale: Tensor, mask: Mask, needs_mean: bool) -> tuple[Tensor, Tensor]:
    """Return the log-sum-exp of every row, and the mean of the columns under it."""
    return launches.log_sums(
        rows.x,
        rows.y,
        scale,
        squared_distances=False,
        mask=mask,
        units=rows.units,
        needs_mean=needs_mean,
    )


def logit_pulls(
    x: Tensor,
    y: Tensor,
    rows: Terms,
    scale: Tensor,
    mask: Mask,
    sums: LogSums,
    weights: LogSums,
    needs_y: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of weighted log-sums of `scale x_i . y_j`, divided by the scale.

    They are otherwise those of `logits.gradients`; `rows` are the terms of x and y.
    """
    mask = mask.flat()
    across = _flat_sums(sums.rows), _flat_sums(weights.rows)
    down = None
    if sums.columns is not None and weights.columns is not None:
        down = _flat_sums(sums.columns), _flat_sums(weights.columns)
    pulls = _like(_pulls(rows, scale, mask, across, down), x)
    if not needs_y:
        return pulls, None
    if down is None:  # sums of nothing, which pull nothing
        nothing = across[0].new_zeros(rows.y.shape[:2])
        down = nothing - math.inf, nothing
    return pulls, _like(_pulls(rows.exchanged(), scale, mask.exchanged(), down, across), y)


def _pulls(
    rows: Terms,
    scale: Tensor,
    mask: Mask,
    own: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Return the pull of the columns on every row, given the log-sums and weights of both."""
    return launches.logit_gradient(
        rows.x,
        rows.y,
        scale,
        mask=mask,
        units=rows.units,
        rows=own,
        columns=others,
    )


def _in_one_dtype(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return [batch, N, m] and [batch, M, m]: half-precision rows of one dtype as they are, else float32."""
    if y is not None and y.dtype != x.dtype:
        x, y = x.float(), y.float()
    rows = flat(x)
    return rows, rows if y is None else flat(y)


def _flat_sums(z: Tensor) -> Tensor:
    return z.reshape(-1, z.shape[-1])


def _like(vectors: Tensor, z: Tensor) -> Tensor:
    """Return a vector for each row of z, without the features that were added to its terms."""
    return vectors[..., : z.shape[-1]].reshape(z.shape)
