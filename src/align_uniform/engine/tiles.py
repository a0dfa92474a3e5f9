"""The sweep over tiles of the pair matrix: sums of Gaussian potentials, and their gradients.

The memory is O(N m + tile^2). A tile is one matrix product and one `exp`, and with a gradient one or two
products more, after which it is forgotten. The potential is symmetric, so only the tiles on and above the
diagonal are visited. Value and gradient come out of the same sweep. It serves every device, and is the
standard that the kernel is compared with.

Distances do not change when all rows are shifted together, so the centre is subtracted first and `||u - v||^2
= |u|^2 + |v|^2 - 2 u.v` cancels no more than it must. `precision` says what exponents need beyond that. The
squares are two more columns of the factors of the product (`Left`), since subtracting them afterwards would
take more passes over every tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from align_uniform.engine.mask import ALL_PAIRS, Mask
from align_uniform.engine.plain import common_centre
from align_uniform.engine.precision import Care, care, full_precision, sum_dtype, widest
from align_uniform.engine.routes import may_ask

DENSE_ROWS = 768
"""The largest number of rows whose pairs are one tile: fewer, larger operations then beat half the work."""

FLAT_TILE = 2**20
"""The size (4 MiB in float32) that a tile of few rows is widened to, or the features of its columns."""


class Sweep(NamedTuple):
    """The results of one sweep over the pairs."""

    log_potential: Tensor
    """The value, log(1/pairs sum of potentials): [...]."""
    grad_x: Tensor | None
    """The gradient of `log_potential` with respect to x: [..., N, m]."""
    grad_y: Tensor | None
    """The gradient of `log_potential` with respect to y: [..., M, m]."""


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
    """Compute the value and, if needed, gradients in one pass; arguments as in `engine.log_potential`."""
    dtype = widest(x, y)
    if x.dtype != dtype or (y is not None and y.dtype != dtype):
        x, y = x.to(dtype), None if y is None else y.to(dtype)
    # -t ||x_i - y_j||^2 = a_i.b_j - |a_i|^2/2 - |b_j|^2/2, where a and b are the centred rows times this
    # scale.
    scale = math.sqrt(2 * t)
    centre = common_centre(x, y)
    if y is None and x.shape[-2] <= DENSE_ROWS:
        dense = _dense((x - centre).mul_(scale), scale, pairs, mask.ids, needs_x)
        return _in_float64(x, y, t, pairs, mask, needs_x, needs_y) if dense is None else dense
    batch = x.shape[:-2]
    centre = centre.reshape(-1, 1, centre.shape[-1])
    a = Left(x.reshape(-1, *x.shape[-2:]), centre, scale)
    needs = _needs(a.halves, y, centre, scale)
    if needs.wider:
        return _in_float64(x, y, t, pairs, mask, needs_x, needs_y)
    if y is None:
        parts = _triangle(a, scale, pairs, mask.within().flat(), needs, needs_x)
    else:
        others = Columns(y.reshape(-1, *y.shape[-2:]), centre, scale)
        parts = _rectangle(a, others, pairs, mask.flat(), needs, needs_x, needs_y)
    shapes = x.shape, None if y is None else y.shape
    grad_x, grad_y = (
        grad if grad is None or shape is None else grad.view(shape)
        for grad, shape in zip(parts[1:], shapes, strict=True)
    )
    return Sweep(parts.log_potential.view(batch), grad_x, grad_y)


def _in_float64(x: Tensor, y: Tensor | None, *options: Any) -> Sweep:
    """Sweep in float64 over rows too far apart for float32; results have the rows' own dtype."""
    value, *gradients = sweep(x.double(), None if y is None else y.double(), *options)
    return Sweep(value.to(x.dtype), *(grad if grad is None else grad.to(x.dtype) for grad in gradients))


def _needs(halves: Tensor, y: Tensor | None = None, centre: Tensor | None = None, scale: float = 1) -> Care:
    """Return the care that the exponents of all pairs need, given t ||x_i - centre||^2 as `halves`."""
    if not may_ask(halves):
        return Care()
    reach = float(halves.amax())
    if y is not None and centre is not None:
        farthest = (
            torch.linalg.vector_norm(y, dim=-1).amax() + torch.linalg.vector_norm(centre, dim=-1).amax()
        )
        radius = scale * float(farthest)
        reach = max(reach, radius * radius / 2) if reach == reach else reach  # a NaN stays one
    return care(reach, halves.dtype)


def _dense(a: Tensor, scale: float, pairs: int, ids: Tensor | None, needs_grad: bool) -> Sweep | None:
    """Sum over all pairs of a in one tile, every pair twice; None if that takes float64."""
    potentials = a @ a.mT
    diagonal = potentials.diagonal(0, -2, -1)
    halves = diagonal / 2
    needs = _needs(halves)
    if needs.wider:
        return None
    potentials.sub_(halves.unsqueeze(-1)).sub_(halves.unsqueeze(-2))
    if needs.at_most_0:
        potentials.clamp_(max=0)
    if ids is not None:
        potentials.masked_fill_(ids.unsqueeze(-1) == ids.unsqueeze(-2), -math.inf)
    diagonal.fill_(-math.inf)
    shift = None
    if needs.largest_out:
        shift = _finite(potentials.amax((-2, -1)))
        potentials.sub_(shift[..., None, None])
    row_sums = potentials.exp_().sum(-1)
    total = row_sums.sum(-1)
    grad = None
    if needs_grad:
        diagonal.sub_(row_sums)  # now one product gives sum_j G_ij (a_j - a_i)
        grad = (potentials @ a).mul_((2 * scale / _not_0(total, ids))[..., None, None])
    return Sweep(_log(total, 2 * pairs, shift), grad, None)


def _triangle(a: Left, scale: float, pairs: int, mask: Mask, needs: Care, needs_grad: bool) -> Sweep:
    """Sum over all pairs of a, [batch, N, m], by the tiles on and above the diagonal."""
    shift = None
    if needs.largest_out:
        shift = _largest(tile for *_, tile in upper_tiles(a, mask, at_most_0=needs.at_most_0))
    z = a.rows
    row_sums = z.new_zeros(z.shape[:2], dtype=sum_dtype(z))
    grad = z.new_zeros(z.shape) if needs_grad else None
    for rows, columns, tile in upper_tiles(a, mask, shift, at_most_0=needs.at_most_0):
        potentials = tile.exp_()
        row_sums[:, rows] += potentials.sum(2)
        if grad is not None:
            grad[:, rows].baddbmm_(potentials, z[:, columns])
        if rows != columns:  # a tile on the diagonal holds (i, j) and (j, i) both
            row_sums[:, columns] += potentials.sum(1)
            if grad is not None:
                grad[:, columns].baddbmm_(potentials.mT, z[:, rows])
    total = row_sums.sum(1)
    if grad is not None:  # from sum_j G_ij a_j
        factor = 2 * scale / _not_0(total, mask.ids)
        grad.addcmul_(z, row_sums.unsqueeze(2).to(z.dtype), value=-1).mul_(factor[:, None, None].to(z.dtype))
    return Sweep(_log(total, 2 * pairs, shift).to(z.dtype), grad, None)


def _rectangle(
    a: Left, others: Columns, pairs: int, mask: Mask, needs: Care, needs_a: bool, needs_y: bool
) -> Sweep:
    """Sum over all pairs of a, [batch, N, m], and y, [batch, M, m], except those that the mask leaves out."""
    shift = None
    if needs.largest_out:
        shift = _largest(tile for *_, tile in all_tiles(a, others, mask, at_most_0=needs.at_most_0))
    z = a.rows
    row_sums = z.new_zeros(z.shape[:2], dtype=sum_dtype(z))
    grad_a = z.new_zeros(z.shape) if needs_a else None
    grad_y = torch.zeros_like(others.y) if needs_y else None
    for rows, columns, b, tile in all_tiles(a, others, mask, shift, at_most_0=needs.at_most_0):
        potentials = tile.exp_()
        row_sums[:, rows] += potentials.sum(2)
        if grad_a is not None:
            grad_a[:, rows].baddbmm_(potentials, b)
        if grad_y is not None:
            grad_y[:, columns].baddbmm_(potentials.mT, z[:, rows]).addcmul_(
                b, potentials.sum(1).unsqueeze(2), value=-1
            )
    total = row_sums.sum(1)
    factor = (others.scale / _not_0(total, mask.ids))[:, None, None].to(z.dtype)
    if grad_a is not None:  # from sum_j G_ij b_j
        grad_a.addcmul_(z, row_sums.unsqueeze(2).to(z.dtype), value=-1).mul_(factor)
    if grad_y is not None:
        grad_y.mul_(factor)
    return Sweep(_log(total, pairs, shift).to(z.dtype), grad_a, grad_y)


# -------------------------------------------------------------------------------------------------- the tiles


class Left:
    """The left factor of the products: rows [a, -|a|^2/2, 1] of centred and scaled rows a.

    Its product with a right factor, of rows [b, 1, -|b|^2/2], is `a_i.b_j - |a_i|^2/2 - |b_j|^2/2`.

    Args:
        x: rows, [batch, N, m].
        centre: the centre, [batch, 1, m].
        scale: the factor of the centred rows.

    Attributes:
        rows: the centred and scaled rows a, [batch, N, m].
        halves: half of the squared norm of each, [batch, N].
    """

    def __init__(self, x: Tensor, centre: Tensor, scale: float) -> None:
        self._factor = x.new_empty(*x.shape[:-1], x.shape[-1] + 2)
        self._factor[..., -1] = 1
        self.rows = torch.sub(x, centre, out=self._factor[..., :-2]).mul_(scale)
        self.halves = half_squares(self.rows)

    def lowered(self, shift: Tensor | None) -> Tensor:
        """Return the factor whose products are less by the shift of each batch."""
        torch.neg(self.halves if shift is None else self.halves + shift[:, None], out=self._factor[..., -2])
        return self._factor

    def right(self, part: slice) -> Tensor:
        """Return the right factor of some of the rows."""
        factor = self._factor[:, part].clone()
        factor[..., -2] = 1
        torch.neg(self.halves[:, part], out=factor[..., -1])
        return factor


class Columns(NamedTuple):
    """The second population of a rectangle, centred and scaled a tile at a time."""

    y: Tensor
    """The rows of the population, [batch, M, m]."""
    centre: Tensor
    """The common centre of both populations, [batch, 1, m]."""
    scale: float

    def right(self, part: slice) -> Tensor:
        """Return the right factor of some of the rows."""
        y = self.y[:, part]
        factor = y.new_empty(*y.shape[:-1], y.shape[-1] + 2)
        factor[..., -2] = 1
        torch.sub(y, self.centre, out=factor[..., :-2]).mul_(self.scale)
        torch.neg(half_squares(factor[..., :-2]), out=factor[..., -1])
        return factor


def upper_tiles(
    a: Left, mask: Mask, shift: Tensor | None = None, *, at_most_0: bool = False
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield `rows, columns, exponents less shift`, [batch, rows, columns], on and above the diagonal.

    Each tile is overwritten by the next.
    """
    left = a.lowered(shift)
    edges = even_slices(left.shape[1], tile_size(left))
    buffer = left.new_empty(left.shape[0] * length(edges[0]) ** 2)
    for number, columns in enumerate(edges, start=1):
        right = a.right(columns)
        for rows in edges[:number]:
            tile = multiplied(left[:, rows], right, buffer)
            yield (
                rows,
                columns,
                mask.part(rows, columns).apply_(_clamped_(tile, shift) if at_most_0 else tile),
            )


def all_tiles(
    a: Left, others: Columns, mask: Mask, shift: Tensor | None = None, *, at_most_0: bool = False
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yield `rows, columns, the centred and scaled columns, exponents less shift` of a rectangle.

    Each tile is overwritten by the next. A tile may be the transpose of a contiguous matrix.
    """
    left = a.lowered(shift)
    row_edges, column_edges, buffer = cut(left, others.y)
    for columns in column_edges:
        right = others.right(columns)
        for rows in row_edges:
            tile = multiplied(left[:, rows], right, buffer)
            yield (
                rows,
                columns,
                right[..., :-2],
                mask.part(rows, columns).apply_(_clamped_(tile, shift) if at_most_0 else tile),
            )


def cut(x: Tensor, y: Tensor) -> tuple[list[slice], list[slice], Tensor]:
    """Return the rows and the columns of the tiles of a rectangle, and a buffer for the largest tile."""
    size = tile_size(x)
    rows = even_slices(x.shape[1], size)
    height, width = length(rows[0]), size
    if height <= size // 2 and not x.is_cuda:
        width = max(size, FLAT_TILE // x.shape[0] // max(height, y.shape[2]))
    elif height < size:
        width = size * size // height
    columns = even_slices(y.shape[1], width)  # few rows make wide tiles
    return rows, columns, x.new_empty(x.shape[0] * length(rows[0]) * length(columns[0]))


def multiplied(a: Tensor, b: Tensor, buffer: Tensor) -> Tensor:
    """Compute a_i . b_j, [batch, rows, columns], in the buffer.

    It is the transpose of a matrix of more rows than columns if a has fewer rows than b: these are multiplied
    faster.
    """
    if a.shape[1] < b.shape[1]:
        return multiplied(b, a, buffer).mT
    tile = buffer[: a.shape[0] * a.shape[1] * b.shape[1]].view(a.shape[0], a.shape[1], b.shape[1])
    return torch.bmm(a, b.mT, out=tile)


def _clamped_(tile: Tensor, shift: Tensor | None) -> Tensor:
    """Clamp exponents at 0, in place; `shift` has already been subtracted from them."""
    return tile.clamp_(max=0) if shift is None else tile.clamp_(max=-shift[:, None, None])


def half_squares(z: Tensor) -> Tensor:
    """Return half of the squared norm of every row."""
    halves: Tensor = torch.linalg.vector_norm(z, dim=-1).square_().div_(2)
    return halves


def even_slices(count: int, size: int) -> list[slice]:
    """Cut rows into nearly equal parts as `slices` does, of a multiple of 64 rows if `size` is one.

    Products and passes are faster over such tiles; the last has the rows that are left.
    """
    parts = math.ceil(count / size)
    return slices(count, size) if size % 64 or parts == 1 else _cut(count, 64 * math.ceil(count / parts / 64))


def slices(count: int, size: int) -> list[slice]:
    """Cut this many rows into nearly equal parts of at most the given size; the first is the largest."""
    return _cut(count, math.ceil(count / math.ceil(count / size)))


def _cut(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def length(part: slice) -> int:
    """Return the number of rows of a part."""
    return int(part.stop - part.start)


def tile_size(a: Tensor) -> int:
    """Return the number of rows of a tile.

    It is large enough for fast products, and small enough for the cache and for little waste on the
    diagonal.
    """
    return max(32, int((4096 if a.is_cuda else 768) / math.sqrt(a.shape[0])))


# --------------------------------------------------------------------------------------------------- the sums


def _largest(tiles: Iterator[Tensor]) -> Tensor:
    """Return the largest exponent of every batch."""
    return _finite(torch.stack([tile.amax((1, 2)) for tile in tiles]).amax(0))


def _finite(largest: Tensor) -> Tensor:
    """Return a number to subtract from exponents: the largest, or a finite one where no pair counts."""
    return largest.clamp(min=torch.finfo(largest.dtype).min)


def _not_0(total: Tensor, ids: Tensor | None) -> Tensor:
    """Return a number to divide by: the sum, or 1 where it is 0 because no pair counts."""
    return total if ids is None else total.masked_fill(total == 0, 1)


def _log(total: Tensor, pairs: int, shift: Tensor | None) -> Tensor:
    log = (total / pairs).log_()
    return log if shift is None else log + shift
