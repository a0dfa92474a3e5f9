"""The sweeps over tiles of a matrix of logits: log-sum-exps of rows and columns, and their gradients.

The memory is O((N + M) m). Where the columns are constants, values and gradient come out of one sweep.
Otherwise the gradient, which needs the sums of both rows and columns, is a second sweep that computes the
tiles again. Either way no matrix of logits is kept, unless it is small (`dense`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform.engine.mask import Mask
from align_uniform.engine.precision import full_precision, sum_dtype
from align_uniform.engine.routes import may_ask
from align_uniform.engine.tiles import cut, in_buffer

DENSE_LOGITS = 2**18
"""The largest number of logits (1 MiB in float32) that are computed without a loop, and kept."""


class LogSums(NamedTuple):
    """The log-sum-exps of a matrix of logits, -inf where no pair counts."""

    rows: Tensor
    """The sums over columns, `log sum_j exp(x_i . y_j)`, [..., N]."""
    columns: Tensor | None
    """The sums over rows, `log sum_i exp(x_i . y_j)`, [..., M]; None if not requested."""


def odds(x: Tensor, y: Tensor, sums: LogSums) -> Tensor:
    """Return the log-sums of rows and columns less the logit of each row's own pair: [..., 2, N]."""
    assert sums.columns is not None
    return torch.stack([sums.rows, sums.columns], -2).sub_((x * y).sum(-1).unsqueeze(-2))


def add_own_pairs_(
    x: Tensor, y: Tensor, weights: LogSums, grad_x: Tensor | None, grad_y: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Turn the gradients of weighted log-sums, in place, into those of `odds`."""
    assert weights.columns is not None
    own = (weights.rows + weights.columns).unsqueeze(-1)
    for grad, other in ((grad_x, y), (grad_y, x)):
        if grad is not None:
            grad.addcmul_(own, other, value=-1)
    return grad_x, grad_y


class Kept(NamedTuple):
    """All logits, or their exponentials, kept for the gradient."""

    matrix: Tensor
    """The logits, or, with sums, exp(logit - bound): [..., N, M]."""
    row_sums: Tensor | None = None
    """The sums of the rows of exponentials, above 0 also where no pair counts: [..., N]."""
    column_sums: Tensor | None = None
    """The sums of the columns of exponentials: [..., M]."""


@full_precision
def dense(x: Tensor, y: Tensor, mask: Mask, columns: bool) -> tuple[LogSums, Kept]:
    """Return the sums as in `log_sums`, and all logits."""
    matrix = x @ y.mT
    bound = _largest_size(matrix) if may_ask(x) else None
    mask.apply_(matrix)
    if bound is None:
        return LogSums(matrix.logsumexp(-1), matrix.logsumexp(-2) if columns else None), Kept(matrix)
    matrix.sub_(bound).exp_()
    row_sums, column_sums = matrix.sum(-1), matrix.sum(-2) if columns else None
    logs = LogSums(row_sums.log().add_(bound), None if column_sums is None else column_sums.log().add_(bound))
    if mask.ids is not None or 1 in matrix.shape[-2:]:  # a sum may be 0, and is divided by
        tiny = torch.finfo(matrix.dtype).tiny
        row_sums, column_sums = (
            row_sums.clamp(min=tiny),
            None if column_sums is None else column_sums.clamp(min=tiny),
        )
    return logs, Kept(matrix, row_sums, column_sums)


@full_precision
def dense_gradients(
    x: Tensor, y: Tensor, kept: Kept, sums: LogSums, weights: LogSums, needs_x: bool, needs_y: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients as in `gradients`, from all logits."""
    if kept.row_sums is None:
        pulls = _Shares(sums.rows, weights.rows, -1).pulls(kept.matrix)
        if sums.columns is not None and weights.columns is not None:
            pulls.add_(_Shares(sums.columns, weights.columns, -2).pulls(kept.matrix))
    else:
        factors = (weights.rows / kept.row_sums).unsqueeze(-1)
        if kept.column_sums is not None and weights.columns is not None:
            factors = factors + (weights.columns / kept.column_sums).unsqueeze(-2)
        pulls = kept.matrix * factors
    return pulls @ y if needs_x else None, pulls.mT @ x if needs_y else None


@full_precision
def log_sums(x: Tensor, y: Tensor, mask: Mask, columns: bool) -> LogSums:
    """Sum over the columns and, if requested, over the rows, in one pass over the tiles."""
    batch = x.shape[:-2]
    x, y, mask = _flat(x), _flat(y), mask.flat()
    bound = _bound(x, y)
    down, across = (_Sums(z) for z in (y, x))
    for rows, part, tile in _tiles(x, y, mask, bound):
        if bound is not None:  # one exp serves both sums
            tile.exp_()
            across.add(rows, tile.sum(2))
            if columns:
                down.add(part, tile.sum(1))
        elif columns:
            across.add_over_largest_(rows, tile.clone(), 2)
            down.add_over_largest_(part, tile, 1)
        else:
            across.add_over_largest_(rows, tile, 2)
    return LogSums(across.log(bound).view(*batch, -1), down.log(bound).view(*batch, -1) if columns else None)


@full_precision
def gradients(
    x: Tensor, y: Tensor, mask: Mask, sums: LogSums, weights: LogSums, needs_x: bool, needs_y: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the weighted log-sums of rows and columns, in one pass over the tiles.

    They are those of `sum_i weights.rows_i sums.rows_i + sum_j weights.columns_j sums.columns_j`.
    """
    shapes = x.shape, y.shape
    x, y, mask = _flat(x), _flat(y), mask.flat()
    grad_x, grad_y = (torch.zeros_like(z) if needs else None for z, needs in ((x, needs_x), (y, needs_y)))
    bound = _bound(x, y)
    for rows, columns, tile in _tiles(x, y, mask, bound):
        pulls = _pulls(tile, rows, columns, sums, weights, bound)
        if grad_x is not None:
            grad_x[:, rows].baddbmm_(pulls, y[:, columns])
        if grad_y is not None:
            grad_y[:, columns].baddbmm_(pulls.mT, x[:, rows])
    grad_x, grad_y = (
        z if z is None else z.view(shape) for z, shape in zip((grad_x, grad_y), shapes, strict=True)
    )
    return grad_x, grad_y


def _pulls(
    tile: Tensor, rows: slice, columns: slice, sums: LogSums, weights: LogSums, bound: float | None
) -> Tensor:
    """Return the pull of every logit of a tile: its shares of the sums that hold it, times their weights."""
    across = _Shares(_flat_part(sums.rows, rows), _flat_part(weights.rows, rows), -1)
    down = None
    if sums.columns is not None and weights.columns is not None:
        down = _Shares(_flat_part(sums.columns, columns), _flat_part(weights.columns, columns), -2)
    if bound is not None:  # one exp serves both sums
        factors = across.factors(bound)
        return tile.exp_().mul_(factors if down is None else factors + down.factors(bound))
    return across.pulls(tile) if down is None else down.pulls(tile).add_(across.pulls(tile))


def _flat_part(z: Tensor, part: slice) -> Tensor:
    return z.reshape(-1, z.shape[-1])[:, part]


@full_precision
def row_sums_and_gradient(x: Tensor, y: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
    """Return `log sum_j exp(x_i . y_j)`, [..., N], and its gradient with respect to x_i, [..., N, m].

    Both come out of one pass over the tiles. The sums are relative to exp(largest logit so far), and are
    scaled down whenever a larger one comes. A row of which no pair counts has the value -inf, and the
    gradient 0.
    """
    shape = x.shape
    x, y, mask = _flat(x), _flat(y), mask.flat()
    sums = _Sums(x)
    grad = torch.zeros_like(x)
    for rows, columns, logits in _tiles(x, y, mask, None):
        scale = sums.add_over_largest_(rows, logits, 2)
        grad[:, rows] = torch.baddbmm(grad[:, rows].mul_(scale.unsqueeze(2)), logits, y[:, columns])
    grad.div_(sums.sums.clamp(min=torch.finfo(x.dtype).tiny).unsqueeze(2).to(x.dtype))
    return sums.log(None).view(shape[:-1]), grad.view(shape)


class _Sums:
    """The sums, over the tiles, of the exponentials of every row's logits, or of every column's."""

    def __init__(self, z: Tensor) -> None:
        self.dtype = z.dtype
        self.sums = z.new_zeros(z.shape[:2], dtype=sum_dtype(z))
        self.largest = z.new_full(z.shape[:2], -math.inf)

    def add(self, part: slice, sums: Tensor) -> None:
        """Add sums of exponentials less the common bound."""
        self.sums[:, part] += sums

    def add_over_largest_(self, part: slice, tile: Tensor, dim: int) -> Tensor:
        """Add a tile of logits, which become exp(logit - largest so far); return the factor of older sums."""
        so_far = self.largest[:, part]
        now = torch.maximum(so_far, tile.amax(dim))
        # A number to subtract, also where nothing has counted so far:
        base = now.clamp(min=torch.finfo(self.dtype).min)
        scale = (so_far - base).exp_()
        self.largest[:, part] = now
        weights = tile.sub_(base.unsqueeze(dim)).exp_()
        self.sums[:, part] = self.sums[:, part] * scale + weights.sum(dim)
        return scale

    def log(self, bound: float | None) -> Tensor:
        """Return the log-sum-exps of exponentials less a bound, or less the largest of their line."""
        return self.sums.log().to(self.dtype).add_(self.largest if bound is None else bound)


class _Shares:
    """The share of each logit in its row's sum, or in its column's, times the weight of that sum."""

    def __init__(self, logs: Tensor, weights: Tensor, dim: int) -> None:
        self.logs, self.weights = logs.unsqueeze(dim), weights.unsqueeze(dim)

    def factors(self, bound: float) -> Tensor:
        """Return the shares over exp(logit - bound), 0 where nothing was summed."""
        return (bound - self.logs).exp_().mul_(self.weights).masked_fill_(self.logs == -math.inf, 0)

    def pulls(self, logits: Tensor) -> Tensor:
        """Return the shares of these logits."""
        finite = self.logs.clamp(min=torch.finfo(logits.dtype).min)  # a sum of nothing is -inf
        return (logits - finite).exp_().mul_(self.weights)


SAFE_LOGIT = 40.0
"""The largest size of logits that one bound serves: neither sums nor shares leave the range of float32."""


def _bound(x: Tensor, y: Tensor) -> float | None:
    """Return a number that no logit exceeds in size; None if it is too large, or must not be read."""
    if not may_ask(x):
        return None
    return _if_safe(math.prod(float(torch.linalg.vector_norm(z, dim=-1).amax()) for z in (x, y)))


def _largest_size(logits: Tensor) -> float | None:
    """Return the size of the largest logit; None if it is too large."""
    lowest, highest = torch.aminmax(logits)
    return _if_safe(max(-float(lowest), float(highest)))


def _if_safe(bound: float) -> float | None:
    return bound if bound <= SAFE_LOGIT else None


def _flat(z: Tensor) -> Tensor:
    return z.reshape(-1, *z.shape[-2:])


def _tiles(x: Tensor, y: Tensor, mask: Mask, bound: float | None) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield `rows, columns, logits less the bound`; each tile is overwritten by the next."""
    row_edges, column_edges, buffer = cut(x, y)
    lift = None if bound is None else x.new_full((1, 1, 1), bound)
    for columns in column_edges:
        for rows in row_edges:
            tile = in_buffer(buffer, x[:, rows], y[:, columns])
            if lift is None:
                torch.bmm(x[:, rows], y[:, columns].mT, out=tile)
            else:
                torch.baddbmm(lift, x[:, rows], y[:, columns].mT, beta=-1, out=tile)
            yield rows, columns, mask.part(rows, columns).apply_(tile)
