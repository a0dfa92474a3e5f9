"""Sums over all pairs of rows, a tile at a time: the only O(N^2) code of the package.

Two quantities are computed here. The first is the log of a sum of Gaussian potentials over pairs of rows,

    log_potential(x, t, pairs)       = log( 1/pairs  sum_{i<j}  exp(-t ||x_i - x_j||^2) ),
    log_potential(x, t, pairs, y=y)  = log( 1/pairs  sum_{i, j} exp(-t ||x_i - y_j||^2) ),

by one of two routes:

* **The sweep** walks over tiles of the pair matrix. A tile is one matrix product and one `exp`, and with a gradient one or two
  products more, after which it is forgotten: the memory is O(N m + tile^2). The potential is symmetric, so only the tiles on
  and above the diagonal are visited. Value, row sums and gradient come out of the same sweep.
* **The plain formula** is the same expression in a few differentiable operations, O(N^2) in memory. It serves what a gradient
  written by hand cannot: forward-mode AD, higher derivatives, and compiled graphs, where a loop over tiles would be unrolled.
  Where a compiled graph would hold too many pairs, the sweep stands in it as one opaque operator.

Both keep their digits in float32 in the same way. Distances do not change when all rows are shifted together, so the centre
is subtracted first and `||u - v||^2 = |u|^2 + |v|^2 - 2 u.v` cancels no more than it must; and where `exp` could underflow, the
largest exponent is taken out of the sum.

The second quantity, `log_sum_exp`, is the row-wise and column-wise log-sum-exp of a matrix of logits, in blocks of rows.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

DENSE_ROWS = 512
"""Up to this many rows a single tile holds all pairs; fewer, larger operations are then quicker than half the work."""

PLAIN_PAIRS = 2**22
"""The largest pair matrix that a compiled graph keeps in memory as a whole (16 MiB in float32)."""


def log_potential(x: Tensor, t: float, pairs: float, *, y: Tensor | None = None, skip: int | None = None) -> Tensor:
    """Return `log(1/pairs sum exp(-t ||x_i - y_j||^2))` over distinct pairs of x, or over all of x and y.

    Args:
        x: rows, [..., N, m], float32 or float64.
        t: inverse squared width of the Gaussian, positive.
        pairs: the number to divide the sum by, so that several sums can share one mean.
        y: the second population, [..., M, m]; None sums over the pairs i < j of x.
        skip: with `y`: row i of x is row `skip + i` of y, and is not a pair of itself.

    Returns:
        [...] in the dtype of x.
    """
    if x.shape[-2] == 0:  # a process without rows adds nothing to the sum, and still takes part in the graph
        return x.sum((-2, -1)) + (0.0 if y is None else y[..., :0, :].sum((-2, -1))) - math.inf
    if forward_ad_is_active():
        return _plain(x, y, t, pairs, skip)
    needs_x, needs_y = (torch.is_grad_enabled() and z is not None and z.requires_grad for z in (x, y))
    if torch.compiler.is_compiling():
        if functorch_is_active() or x.shape[-2] * (x if y is None else y).shape[-2] <= PLAIN_PAIRS:
            return _plain(x, y, t, pairs, skip)
        return _opaque_log_potential(x, y, t, pairs, needs_x, needs_y)[0]
    function = _LogPotential if functorch_is_active() else _EagerLogPotential
    value: Tensor = function.apply(x, y, t, pairs, skip, needs_x, needs_y)[0]
    return value


def _plain(x: Tensor, y: Tensor | None, t: float, pairs: float, skip: int | None) -> Tensor:
    """The definition in differentiable operations."""
    centre = _centre(x, y)
    x = x - centre
    y = x if y is None else y - centre
    with _full_precision(x):
        products = x @ y.mT
    squared_distances = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2) - 2 * products
    exponents = -t * squared_distances
    if x is y:
        skip, pairs = 0, 2 * pairs  # the matrix holds every pair twice
    if skip is not None:
        itself = torch.arange(x.shape[-2], device=x.device).unsqueeze(-1) + skip
        exponents = exponents.masked_fill(itself == torch.arange(y.shape[-2], device=x.device), -math.inf)
    return exponents.flatten(-2).logsumexp(-1) - math.log(pairs)


def _centre(x: Tensor, y: Tensor | None) -> Tensor:
    """A common origin amid all rows; a NaN or an infinity in any row makes it, and so the result, NaN."""
    centre = x.mean(-2, keepdim=True)
    return centre if y is None else (centre + y.mean(-2, keepdim=True)) / 2


def _full_precision(z: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Keep autocast from lowering a matrix product: in bfloat16 its error is larger than the losses' signal."""
    device = z.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else contextlib.nullcontext()


# torch offers no public way to ask which transform is under way; these two names are what its own Function.apply asks.


def forward_ad_is_active() -> bool:
    return forward_ad._current_level >= 0


def functorch_is_active() -> bool:
    return torch._C._are_functorch_transforms_active()


# ------------------------------------------------------------------------------------------------------------ the sweep


class Sweep(NamedTuple):
    """What one sweep over the pairs yields."""

    log_potential: Tensor
    """[...]: log(1/pairs sum of potentials)."""
    row_sums: Tensor
    """[..., N]: the sum of the potentials of row i with all others, over exp(shift)."""
    shift: Tensor | None
    """[...]: the exponent that was taken out of the sums; None stands for 0."""
    grad_x: Tensor | None
    """[..., N, m]: the gradient of `log_potential` with respect to x."""
    grad_y: Tensor | None
    """[..., M, m]: the same with respect to y."""


def sweep(
    x: Tensor, y: Tensor | None, t: float, pairs: float, skip: int | None = None, *, needs_x: bool, needs_y: bool = False
) -> Sweep:
    """Compute value, row sums and, if needed, gradients in one pass over the pairs; arguments as in `log_potential`."""
    with _full_precision(x):
        return _sweep(x, y, t, pairs, skip, needs_x, needs_y)


def _sweep(
    x: Tensor, y: Tensor | None, t: float, pairs: float, skip: int | None, needs_x: bool, needs_y: bool
) -> Sweep:
    centre = _centre(x, y)
    scale = math.sqrt(2 * t)  # -t ||x_i - y_j||^2 = a_i.b_j - |a_i|^2/2 - |b_j|^2/2, a and b the centred rows times scale
    a = (x - centre).mul_(scale)
    if y is None and a.shape[-2] <= DENSE_ROWS:
        return _dense(a, scale, pairs, needs_x)
    batch = a.shape[:-2]
    a = a.reshape(-1, *a.shape[-2:])
    b = a if y is None else (y - centre).mul_(scale).reshape(-1, *y.shape[-2:])
    parts = _tiled(a, b, scale, pairs, skip, needs_x, needs_y)
    return Sweep(*(part if part is None else part.view(batch + part.shape[1:]) for part in parts))


def _dense(a: Tensor, scale: float, pairs: float, needs_grad: bool) -> Sweep:
    """The sweep when one tile holds every pair, twice."""
    potentials = a @ a.mT
    diagonal = potentials.diagonal(0, -2, -1)
    halves = diagonal / 2
    potentials.sub_(halves.unsqueeze(-1)).sub_(halves.unsqueeze(-2))
    diagonal.fill_(-math.inf)
    shift = None
    if _may_underflow(halves):
        shift = potentials.amax((-2, -1))
        potentials.sub_(shift[..., None, None])
    row_sums = potentials.exp_().sum(-1)
    total = row_sums.sum(-1)
    grad = None
    if needs_grad:
        diagonal.sub_(row_sums)  # now one product gives sum_j G_ij (a_j - a_i)
        grad = (potentials @ a).mul_(2 * scale).div_(total[..., None, None])
    return Sweep(_log(total, 2 * pairs, shift), row_sums, shift, grad, None)


def _tiled(a: Tensor, b: Tensor, scale: float, pairs: float, skip: int | None, needs_a: bool, needs_b: bool) -> Sweep:
    """The sweep tile by tile, [batch, rows, m]; over the upper half alone where `b is a`."""
    symmetric = b is a
    a_halves = torch.linalg.vecdot(a, a) / 2
    b_halves = a_halves if symmetric else torch.linalg.vecdot(b, b) / 2
    shift = None
    if _may_underflow(a_halves, b_halves):
        shift = torch.stack([tile.amax((1, 2)) for *_, tile in _tiles(a, b, a_halves, b_halves, skip)]).amax(0)
        a_halves = a_halves + shift[:, None]

    a_sums = a.new_zeros(a.shape[:2], dtype=_wide(a))  # sum_j G_ij
    b_sums = a_sums if symmetric else a.new_zeros(b.shape[:2], dtype=_wide(a))
    a_pull = torch.zeros_like(a) if needs_a else None  # sum_j G_ij b_j
    b_pull = a_pull if symmetric else torch.zeros_like(b) if needs_b else None
    for rows, columns, tile in _tiles(a, b, a_halves, b_halves, skip):
        potentials = tile.exp_()
        a_sums[:, rows] += potentials.sum(2)
        if a_pull is not None:
            a_pull[:, rows].baddbmm_(potentials, b[:, columns])
        if symmetric and rows == columns:
            continue  # this tile holds (i, j) and (j, i) both
        if symmetric or needs_b:
            b_sums[:, columns] += potentials.sum(1)
        if b_pull is not None:
            b_pull[:, columns].baddbmm_(potentials.mT, a[:, rows])

    total = a_sums.sum(1).div_(2 if symmetric else 1)
    for z, sums, pull in ((a, a_sums, a_pull), (b, b_sums, b_pull))[: 1 if symmetric else 2]:
        if pull is not None:  # becomes the gradient: scale/total sum_j G_ij (b_j - a_i)
            pull.addcmul_(z, sums[:, :, None].to(z.dtype), value=-1).mul_((scale / total)[:, None, None].to(z.dtype))
    return Sweep(_log(total, pairs, shift).to(a.dtype), a_sums, shift, a_pull, None if symmetric else b_pull)


def _tiles(
    a: Tensor, b: Tensor, a_halves: Tensor, b_halves: Tensor, skip: int | None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield `rows, columns, a_i.b_j - |a_i|^2/2 - |b_j|^2/2`, the last in a buffer that the next tile overwrites."""
    symmetric = b is a
    if symmetric:
        skip = 0
    size = _tile_size(a, b)
    buffer = a.new_empty(a.shape[0] * min(size, a.shape[1]) * min(size, b.shape[1]))
    for columns in _slices(b.shape[1], size):
        for rows in _slices(columns.stop if symmetric else a.shape[1], size):
            shape = (a.shape[0], rows.stop - rows.start, columns.stop - columns.start)
            tile = buffer[: math.prod(shape)].view(shape)
            torch.baddbmm(b_halves[:, None, columns], a[:, rows], b[:, columns].mT, beta=-1, out=tile)
            tile.sub_(a_halves[:, rows, None])
            if skip is not None and -shape[1] < (offset := skip + rows.start - columns.start) < shape[2]:
                tile.diagonal(offset, 1, 2).fill_(-math.inf)
            yield rows, columns, tile


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]

def _tile_size(a: Tensor, b: Tensor) -> int:
    """Rows of a tile: enough for fast products, few enough for the cache and for little waste on the diagonal."""
    return 768 if b.shape[1]>3072 else 384


def _may_underflow(*halves: Tensor) -> bool:
    """Whether exp could leave the comfortable half of the number range: no two rows are more than twice a radius apart."""
    reach = 4 * max(half.amax().item() for half in halves)
    return not reach < -0.5 * math.log(torch.finfo(halves[0].dtype).tiny)  # a NaN may


def _log(total: Tensor, pairs: float, shift: Tensor | None) -> Tensor:
    log = (total / pairs).log_()
    return log if shift is None else log + shift


def _wide(z: Tensor) -> torch.dtype:
    """float64 for sums over many tiles, where the device has it."""
    return z.dtype if z.device.type == "mps" else torch.float64


# -------------------------------------------------------------------------------------------------- derivatives, eagerly

Options = tuple[float, float, "int | None"]  # t, pairs, skip


class _LogPotential(torch.autograd.Function):
    """The sweep with its gradient, for torch.func transforms: every gradient is differentiable in turn."""

    @staticmethod
    def forward(
        x: Tensor, y: Tensor | None, t: float, pairs: float, skip: int | None, needs_x: bool, needs_y: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        result = sweep(x, y, t, pairs, skip, needs_x=needs_x, needs_y=needs_y)
        return result.log_potential, result.grad_x, result.grad_y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, y, *options, _, _ = inputs
        _, grad_x, grad_y = output
        ctx.options = options
        ctx.mark_non_differentiable(*(grad for grad in (grad_x, grad_y) if grad is not None))
        ctx.save_for_backward(x, y, grad_x, grad_y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, y, grad_x, grad_y = ctx.saved_tensors
        if torch.is_grad_enabled():
            grad_x, grad_y = _Gradient.apply(x, y, grad_x, grad_y, *ctx.options)
        grad = grad[..., None, None]
        return *(z if z is None else grad * z for z in (grad_x, grad_y)), None, None, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, y: Tensor | None, *options: Any
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        x, y = (_batch_first(z, dim, info.batch_size) for z, dim in zip((x, y), in_dims, strict=False))
        *options, needs_x, needs_y = options
        outputs = _LogPotential.apply(x, y, *options, needs_x or x.requires_grad, needs_y or (y is not None and y.requires_grad))
        return outputs, tuple(None if output is None else 0 for output in outputs)


class _EagerLogPotential(torch.autograd.Function):
    """The same for plain autograd; `setup_context` costs 45 us a call, which is more than 64 rows do."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        output = _LogPotential.forward(*inputs)
        _LogPotential.setup_context(ctx, inputs, output)
        return output

    backward = _LogPotential.backward


class _Gradient(torch.autograd.Function):
    """The gradient that the sweep found, whose own derivative is the plain formula's."""

    @staticmethod
    def forward(x: Tensor, y: Tensor | None, grad_x: Tensor | None, grad_y: Tensor | None, *options: Any) -> tuple[Any, Any]:
        return tuple(z if z is None else z.view_as(z) for z in (grad_x, grad_y))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, y, _, _, *ctx.options = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx: Any, *directions: Tensor | None) -> tuple[Tensor | None, ...]:
        rows = [z for z in ctx.saved_tensors if z is not None]
        def value(*rows):
            x, y = rows if len(rows) == 2 else (rows[0], None)
            return _plain(x, y, *ctx.options).sum()
        gradient = torch.func.grad(value, argnums=tuple(range(len(rows))))
        _, pullback = torch.func.vjp(gradient, *rows)
        directions = tuple(torch.zeros_like(z) if v is None else v for z, v in zip(rows, directions))
        grads = pullback(directions)
        return (*grads, *[None]*(7-len(grads)))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        tensors = [_batch_first(z, dim, info.batch_size) for z, dim in zip(inputs[:4], in_dims)]
        outputs = _Gradient.apply(*tensors, *inputs[4:])
        return outputs, tuple(None if output is None else 0 for output in outputs)


def _batch_first(z: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    if z is None:
        return None
    return z.expand(size, *z.shape) if dim is None else z.movedim(dim, 0)




# ---------------------------------------------------------------------------------------------------- in compiled graphs


@torch.library.custom_op(
    "align_uniform::log_potential",
    mutates_args=(),
    schema="(Tensor x, Tensor? y, float t, float pairs, bool needs_x, bool needs_y) -> (Tensor, Tensor, Tensor)",
)
def _opaque_log_potential(
    x: Tensor, y: Tensor | None, t: float, pairs: float, needs_x: bool, needs_y: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The sweep as one operator of a graph: the value, and the two gradients or an empty tensor in their place."""
    result = sweep(x, y, t, pairs, needs_x=needs_x, needs_y=needs_y)
    grad_x, grad_y = (x.new_empty(0) if grad is None else grad for grad in (result.grad_x, result.grad_y))
    return result.log_potential, grad_x, grad_y


@_opaque_log_potential.register_fake
def _(x: Tensor, y: Tensor | None, t: float, pairs: float, needs_x: bool, needs_y: bool) -> tuple[Tensor, Tensor, Tensor]:
    grad_x = x.new_empty(x.shape if needs_x else 0)
    grad_y = x.new_empty(y.shape if needs_y and y is not None else 0)
    return x.new_empty(x.shape[:-2]), grad_x, grad_y


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *_, ctx.needs_x, ctx.needs_y = inputs
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    grad_x, grad_y = (grad[..., None, None] * z if needed else None
                      for needed, z in zip((ctx.needs_x, ctx.needs_y), ctx.saved_tensors, strict=True))
    return grad_x, grad_y, None, None, None, None


_opaque_log_potential.register_autograd(_scale_gradients, setup_context=_save_gradients)


# ------------------------------------------------------------------------------------------------------ sums over logits


def log_sum_exp(x: Tensor, y: Tensor, *, columns: bool) -> tuple[Tensor, Tensor | None]:
    """Return `log sum_j exp(x_i . y_j)`, [..., N], and with `columns` also `log sum_i exp(x_i . y_j)`, [..., M].

    More than `PLAIN_PAIRS` logits are computed in blocks of rows, and again in the backward pass, so that the memory stays
    O((N + M) m + block). All of it is torch's own operations, differentiable to any order.
    """
    size = max(1, PLAIN_PAIRS // (y.shape[-2] * math.prod(x.shape[:-2])))
    if size >= x.shape[-2] or forward_ad_is_active() or functorch_is_active() or torch.compiler.is_compiling():  # where checkpoints do not work
        return _log_sum_exp_block(x, y, columns)
    parts = [
        checkpoint(_log_sum_exp_block, block, y, columns, use_reentrant=False, preserve_rng_state=False)
        for block in x.split(size, dim=-2)
    ]
    row_sums, column_sums = zip(*parts, strict=True)
    return torch.cat(row_sums, -1), torch.stack(column_sums).logsumexp(0) if columns else None


def _log_sum_exp_block(x: Tensor, y: Tensor, columns: bool) -> tuple[Tensor, Tensor | None]:
    with _full_precision(x):
        logits = x @ y.mT
    return logits.logsumexp(-1), logits.logsumexp(-2) if columns else None
