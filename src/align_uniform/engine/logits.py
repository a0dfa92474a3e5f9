"""The sweeps over tiles of a matrix of logits: log-sum-exps of rows and columns, and their gradients.

The memory is O((N + M) m). Where the columns are constants, values and gradient come out of one sweep.
Otherwise the pull on a column depends on the sums of all rows, each of which needs all columns: the gradient
is a second sweep. It computes the tiles again, except those that the first had room to keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform.engine.mask import Mask
from align_uniform.engine.precision import full_precision, sum_dtype
from align_uniform.engine.routes import may_ask
from align_uniform.engine.tiles import cut, length, multiplied, slices

KEPT_LOGITS = 2**17
"""The number of logits (512 KiB in float32) that are kept for the gradient: those of a small batch."""

WEIGHED_ROWS = 256
"""The number of rows whose factors are held at a time while a tile is multiplied by them."""

SAFE_LOGIT = 60.0
"""The largest size of logits that are summed as they are: neither sums nor shares leave float32's range."""


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
    """The results of a sweep that its gradient takes up."""

    row_sums: Tensor | None
    """The sums of the rows of exponentials, [batch, N]; None if some logit may not be safe."""
    column_sums: Tensor | None
    """The sums of the columns of exponentials, [batch, M]; None like those of rows, or if not requested."""
    tiles: Sequence[Tensor]
    """The first tiles: exp(logit) if there are sums, else the logits."""


@full_precision
def log_sums(x: Tensor, y: Tensor, mask: Mask, columns: bool, keep: bool = False) -> tuple[LogSums, Kept]:
    """Sum over the columns and, if requested, over the rows, in one pass over the tiles.

    With `keep`, the second result has the tiles that there is room for.
    """
    batch = x.shape[:-2]
    x, y, mask = flat(x), flat(y), mask.flat()
    is_safe = _are_safe(x, y)
    across, down = _Sums(x, is_safe), _Sums(y, is_safe)
    kept = []
    for tile in _tiles(x, y, mask, KEPT_LOGITS if keep else 0):
        if tile.is_kept:
            kept.append(tile.matrix)
        if is_safe:  # one exp serves both sums
            tile.matrix.exp_()
            across.add(tile.rows, tile.matrix.sum(2))
            if columns:
                down.add(tile.columns, tile.matrix.sum(1))
            continue
        across.add_over_largest_(tile.rows, tile.matrix.clone() if columns else tile.own(), 2)
        if columns:
            down.add_over_largest_(tile.columns, tile.own(), 1)
    logs = LogSums(across.log().view(*batch, -1), down.log().view(*batch, -1) if columns else None)
    return logs, Kept(across.sums if is_safe else None, down.sums if is_safe and columns else None, kept)


@full_precision
def gradients(
    x: Tensor,
    y: Tensor,
    mask: Mask,
    kept: Kept,
    logs: LogSums,
    weights: LogSums,
    needs_x: bool,
    needs_y: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the weighted log-sums of rows and columns, in one pass over the tiles.

    They are those of `sum_i weights.rows_i logs.rows_i + sum_j weights.columns_j logs.columns_j`, given the
    results of `log_sums`.
    """
    shapes = x.shape, y.shape
    x, y, mask = flat(x), flat(y), mask.flat()
    grad_x, grad_y = (torch.zeros_like(z) if needs else None for z, needs in ((x, needs_x), (y, needs_y)))
    across = _Shares(logs.rows, weights.rows, kept.row_sums, -1)
    down = None
    if logs.columns is not None and weights.columns is not None:
        down = _Shares(logs.columns, weights.columns, kept.column_sums, -2)
    for tile in _tiles(x, y, mask, kept=kept.tiles):
        if kept.row_sums is None:
            pulls = across.pulls(tile.matrix, tile.rows)
            if down is not None:
                pulls.add_(down.pulls(tile.matrix, tile.columns))
        else:
            pulls = tile.own() if tile.is_kept else tile.matrix.exp_()
            _weigh_(pulls, across.factors(tile.rows), None if down is None else down.factors(tile.columns))
        if grad_x is not None:
            grad_x[:, tile.rows].baddbmm_(pulls, y[:, tile.columns])
        if grad_y is not None:
            grad_y[:, tile.columns].baddbmm_(pulls.mT, x[:, tile.rows])
    grad_x, grad_y = (
        z if z is None else z.view(shape) for z, shape in zip((grad_x, grad_y), shapes, strict=True)
    )
    return grad_x, grad_y


@full_precision
def row_sums_and_gradient(x: Tensor, y: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
    """Return `log sum_j exp(x_i . y_j)`, [..., N], and its gradient with respect to x_i, [..., N, m].

    Both come out of one pass over the tiles. Unless all logits are safe, the sums are relative to exp(largest
    logit so far), and are scaled down whenever a larger one comes. A row of which no pair counts has the
    value -inf, and the gradient 0.
    """
    shape = x.shape
    x, y, mask = flat(x), flat(y), mask.flat()
    is_safe = _are_safe(x, y)
    sums = _Sums(x, is_safe)
    grad = torch.zeros_like(x)
    for tile in _tiles(x, y, mask):
        if is_safe:
            sums.add(tile.rows, tile.matrix.exp_().sum(2))
        else:
            scale = sums.add_over_largest_(tile.rows, tile.matrix, 2)
            grad[:, tile.rows].mul_(scale.unsqueeze(2))
        grad[:, tile.rows].baddbmm_(tile.matrix, y[:, tile.columns])
    grad.div_(sums.sums.clamp(min=torch.finfo(x.dtype).tiny).unsqueeze(2).to(x.dtype))
    return sums.log().view(shape[:-1]), grad.view(shape)


class _Sums:
    """The sums, over the tiles, of the exponentials of every row's logits, or of every column's."""

    def __init__(self, z: Tensor, is_safe: bool) -> None:
        self.dtype = z.dtype
        self.sums = z.new_zeros(z.shape[:2], dtype=sum_dtype(z))
        self.largest = None if is_safe else z.new_full(z.shape[:2], -math.inf)

    def add(self, part: slice, sums: Tensor) -> None:
        """Add sums of exponentials of safe logits."""
        self.sums[:, part] += sums

    def add_over_largest_(self, part: slice, tile: Tensor, dim: int) -> Tensor:
        """Add a tile of logits, which become exp(logit - largest so far); return the factor of older sums."""
        assert self.largest is not None
        so_far = self.largest[:, part]
        now = torch.maximum(so_far, tile.amax(dim))
        # A number to subtract, also where nothing has counted so far:
        base = now.clamp(min=torch.finfo(self.dtype).min)
        scale = (so_far - base).exp_()
        self.largest[:, part] = now
        weights = tile.sub_(base.unsqueeze(dim)).exp_()
        self.sums[:, part] = self.sums[:, part] * scale + weights.sum(dim)
        return scale

    def log(self) -> Tensor:
        """Return the log-sum-exps."""
        logs = self.sums.log().to(self.dtype)
        return logs if self.largest is None else logs.add_(self.largest)


class _Shares:
    """The share of each logit in its row's sum, or in its column's, times the weight of that sum."""

    def __init__(self, logs: Tensor, weights: Tensor, sums: Tensor | None, dim: int) -> None:
        self.dim = dim
        self.logs, self.weights = (z.reshape(-1, z.shape[-1]) for z in (logs, weights))
        if sums is not None:  # 0 where nothing was summed
            self.each = (self.weights / sums).to(weights.dtype).masked_fill_(sums == 0, 0)

    def factors(self, part: slice) -> Tensor:
        """Return the shares over exp(logit)."""
        return self.each[:, part].unsqueeze(self.dim)

    def pulls(self, logits: Tensor, part: slice) -> Tensor:
        """Return the shares of these logits."""
        logs, weights = (z[:, part].unsqueeze(self.dim) for z in (self.logs, self.weights))
        finite = logs.clamp(min=torch.finfo(logits.dtype).min)  # a sum of nothing is -inf
        return (logits - finite).exp_().mul_(weights)


def _weigh_(exponentials: Tensor, across: Tensor, down: Tensor | None) -> None:
    """Multiply a tile by the factors of its rows and columns, some rows at a time: their sum is a matrix."""
    if down is None:
        exponentials.mul_(across)
        return
    for rows in slices(exponentials.shape[1], WEIGHED_ROWS):
        exponentials[:, rows].mul_(across[:, rows] + down)


def _are_safe(x: Tensor, y: Tensor) -> bool:
    """Return whether no logit is large; False if their size must not be read."""
    if not may_ask(x):
        return False
    return math.prod(float(torch.linalg.vector_norm(z, dim=-1).amax()) for z in (x, y)) <= SAFE_LOGIT


def flat(z: Tensor) -> Tensor:
    """Return rows with one leading dimension, [batch, N, m]."""
    return z.reshape(-1, *z.shape[-2:])


class _Tile(NamedTuple):
    """The logits of some rows and columns, or what they were overwritten with."""

    rows: slice
    columns: slice
    matrix: Tensor
    """The logits, [batch, rows, columns]; -inf for pairs that do not count."""
    is_kept: bool
    """Whether the matrix outlives the sweep; if not, it is overwritten by the next."""

    def own(self) -> Tensor:
        """Return the matrix, or a copy of it if it is kept, which may be overwritten."""
        return self.matrix.clone() if self.is_kept else self.matrix


def _tiles(x: Tensor, y: Tensor, mask: Mask, room: int = 0, kept: Sequence[Tensor] = ()) -> Iterator[_Tile]:
    """Yield all tiles; the first are those that were kept, or are to be kept as long as there is room."""
    row_edges, column_edges, buffer = cut(x, y)
    known = iter(kept)
    for columns in column_edges:
        for rows in row_edges:
            if (matrix := next(known, None)) is not None:
                yield _Tile(rows, columns, matrix, is_kept=True)
                continue
            size = x.shape[0] * length(rows) * length(columns)
            room -= size
            store = x.new_empty(size) if room >= 0 else buffer
            matrix = multiplied(x[:, rows], y[:, columns], store)
            yield _Tile(rows, columns, mask.part(rows, columns).apply_(matrix), is_kept=room >= 0)
