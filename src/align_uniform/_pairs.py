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

The second quantity, `log_sum_exp`, is the row-wise and column-wise log-sum-exp of a matrix of logits: a sweep of its own where
the rows alone are asked for and the columns are constants, as with a queue of keys, else blocks of rows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

P = ParamSpec("P")
R = TypeVar("R")

DENSE_ROWS = 768
"""Up to this many rows a single tile holds all pairs; fewer, larger operations are then quicker than half the work."""

PLAIN_PAIRS = 2**22
"""The largest pair matrix that a compiled graph keeps in memory as a whole (16 MiB in float32)."""

PLAIN_LOGITS = 2**17
"""Up to this many logits a few plain operations are quicker than a sweep."""


def log_potential(x: Tensor, t: float, pairs: int, *, y: Tensor | None = None, skip: int | None = None) -> Tensor:
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
        no_rows = x if y is None else torch.cat([x, y[..., :0, :]], -2)
        return no_rows.sum((-2, -1)) - math.inf
    if forward_ad_is_active():
        return _plain(x, y, t, pairs, skip)
    needs_x, needs_y = (torch.is_grad_enabled() and z is not None and z.requires_grad for z in (x, y))
    if torch.compiler.is_compiling():
        if functorch_is_active() or x.shape[:-1].numel() * (x if y is None else y).shape[-2] <= PLAIN_PAIRS:
            return _plain(x, y, t, pairs, skip)
        value: Tensor
        value, *_ = _opaque_log_potential(x, y, t, pairs, needs_x, needs_y)
        return value
    if functorch_is_active():
        value, *_ = _LogPotential.apply(x, y, t, pairs, skip, needs_x, needs_y)
    elif needs_x or needs_y:
        value = _EagerLogPotential.apply(x, y, t, pairs, skip, needs_x, needs_y)
    else:
        value = sweep(x, y, t, pairs, skip).log_potential
    return value


# torch offers no public way to ask which transform is under way; these two names are what its own Function.apply asks.


def forward_ad_is_active() -> bool:
    """Whether tangents are being pushed forward, by dual numbers or torch.func.jvp."""
    return forward_ad._current_level >= 0


def functorch_is_active() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, ...) is under way."""
    return torch._C._are_functorch_transforms_active()


def _full_precision(function: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """Keep autocast from lowering the products within `function`: their error in bfloat16 is larger than the signal."""

    @functools.wraps(function)
    def exact(x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        device = x.device.type
        if not torch.is_autocast_enabled(device):
            return function(x, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(x, *args, **kwargs)

    return exact


@_full_precision
def _plain(x: Tensor, y: Tensor | None, t: float, pairs: int, skip: int | None) -> Tensor:
    """The definition in differentiable operations."""
    centre = _centre(x, y)
    x = x - centre
    y = x if y is None else y - centre
    squared_distances = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2) - 2 * (x @ y.mT)
    exponents = -t * squared_distances
    if x is y:
        skip, pairs = 0, 2 * pairs  # the matrix holds every pair twice
    if skip is not None:
        itself = torch.arange(x.shape[-2], device=x.device).unsqueeze(-1) + skip
        exponents = exponents.masked_fill(itself == torch.arange(y.shape[-2], device=x.device), -math.inf)
    return exponents.flatten(-2).logsumexp(-1) - x.new_full((), pairs).log()  # a tensor, lest graphs be made for one N


def _centre(x: Tensor, y: Tensor | None) -> Tensor:
    """A common origin amid all rows; a NaN or an infinity in any row makes it, and so the result, NaN."""
    centre = x.mean(-2, keepdim=True)
    return centre if y is None else (centre + y.mean(-2, keepdim=True)) / 2


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


@_full_precision
def sweep(
    x: Tensor, y: Tensor | None, t: float, pairs: int, skip: int | None = None, needs_x: bool = False, needs_y: bool = False
) -> Sweep:
    """Compute value, row sums and, if needed, gradients in one pass over the pairs; arguments as in `log_potential`."""
    # -t ||x_i - y_j||^2 = a_i.b_j - |a_i|^2/2 - |b_j|^2/2, where a and b are the centred rows times this scale.
    scale = math.sqrt(2 * t)
    centre = _centre(x, y)
    a = (x - centre).mul_(scale)
    if y is None and a.shape[-2] <= DENSE_ROWS:
        return _dense(a, scale, pairs, needs_x)
    batch = a.shape[:-2]
    a, centre = (z.reshape(-1, *z.shape[-2:]) for z in (a, centre))
    if y is None:
        parts = _triangle(a, scale, pairs, needs_x)
    else:
        parts = _rectangle(a, y.reshape(-1, *y.shape[-2:]), centre, scale, pairs, skip, needs_x, needs_y)
    log, row_sums, *rest = (part if part is None else part.view(batch + part.shape[1:]) for part in parts)
    assert log is not None
    assert row_sums is not None
    return Sweep(log, row_sums, *rest)


def _dense(a: Tensor, scale: float, pairs: int, needs_grad: bool) -> Sweep:
    """All pairs of a in one tile, every pair twice."""
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
        grad = (potentials @ a).mul_((2 * scale / total)[..., None, None])
    return Sweep(_log(total, 2 * pairs, shift), row_sums, shift, grad, None)


def _triangle(a: Tensor, scale: float, pairs: int, needs_grad: bool) -> Sweep:
    """All pairs of a, [batch, N, m], over the tiles on and above the diagonal."""
    halves = _half_squares(a)
    shift = None
    if _may_underflow(halves):
        shift = torch.stack([tile.amax((1, 2)) for _, _, tile in _upper_tiles(a, halves)]).amax(0)
    row_sums = a.new_zeros(a.shape[:2], dtype=_wide(a))
    grad = torch.zeros_like(a) if needs_grad else None
    for rows, columns, tile in _upper_tiles(a, halves, shift):
        potentials = tile.exp_()
        row_sums[:, rows] += potentials.sum(2)
        if grad is not None:
            grad[:, rows].baddbmm_(potentials, a[:, columns])
        if rows != columns:  # a tile on the diagonal holds (i, j) and (j, i) both
            row_sums[:, columns] += potentials.sum(1)
            if grad is not None:
                grad[:, columns].baddbmm_(potentials.mT, a[:, rows])
    total = row_sums.sum(1)
    if grad is not None:  # from sum_j G_ij a_j
        grad.addcmul_(a, row_sums.unsqueeze(2).to(a.dtype), value=-1).mul_((2 * scale / total)[:, None, None].to(a.dtype))
    return Sweep(_log(total, 2 * pairs, shift).to(a.dtype), row_sums, shift, grad, None)


def _rectangle(
    a: Tensor, y: Tensor, centre: Tensor, scale: float, pairs: int, skip: int | None, needs_a: bool, needs_y: bool
) -> Sweep:
    """All pairs of a, [batch, N, m], and y, [batch, M, m], but for those of the same row."""
    halves = _half_squares(a)
    farthest = scale * (torch.linalg.vector_norm(y, dim=2) + torch.linalg.vector_norm(centre, dim=2))
    shift = None
    if _may_underflow(halves, farthest.square_() / 2):
        shift = torch.stack([tile.amax((1, 2)) for *_, tile in _all_tiles(a, halves, y, centre, scale, skip)]).amax(0)
    row_sums = a.new_zeros(a.shape[:2], dtype=_wide(a))
    grad_a = torch.zeros_like(a) if needs_a else None
    grad_y = torch.zeros_like(y) if needs_y else None
    for rows, columns, b, tile in _all_tiles(a, halves, y, centre, scale, skip, shift):
        potentials = tile.exp_()
        row_sums[:, rows] += potentials.sum(2)
        if grad_a is not None:
            grad_a[:, rows].baddbmm_(potentials, b)
        if grad_y is not None:
            grad_y[:, columns].baddbmm_(potentials.mT, a[:, rows]).addcmul_(b, potentials.sum(1).unsqueeze(2), value=-1)
    total = row_sums.sum(1)
    factor = (scale / total)[:, None, None].to(a.dtype)
    if grad_a is not None:  # from sum_j G_ij b_j
        grad_a.addcmul_(a, row_sums.unsqueeze(2).to(a.dtype), value=-1).mul_(factor)
    if grad_y is not None:
        grad_y.mul_(factor)
    return Sweep(_log(total, pairs, shift).to(a.dtype), row_sums, shift, grad_a, grad_y)


def _upper_tiles(a: Tensor, halves: Tensor, shift: Tensor | None = None) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield `rows, columns, exponents less shift`; each tile is overwritten by the next."""
    edges = _slices(a.shape[1], _tile_size(a))
    buffer = a.new_empty(a.shape[0] * _length(edges[0]) ** 2)
    row_halves = halves if shift is None else halves + shift[:, None]
    for number, columns in enumerate(edges, start=1):
        for rows in edges[:number]:
            tile = _tile(buffer, a[:, rows], row_halves[:, rows], a[:, columns], halves[:, columns])
            if rows == columns:
                tile.diagonal(0, 1, 2).fill_(-math.inf)
            yield rows, columns, tile


def _all_tiles(
    a: Tensor, halves: Tensor, y: Tensor, centre: Tensor, scale: float, skip: int | None, shift: Tensor | None = None
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yield `rows, columns, b of these columns, exponents less shift`; each is overwritten by the next."""
    row_edges, column_edges, buffer = _cut(a, y)
    row_halves = halves if shift is None else halves + shift[:, None]
    for columns in column_edges:
        b = (y[:, columns] - centre).mul_(scale)
        b_halves = _half_squares(b)
        for rows in row_edges:
            tile = _tile(buffer, a[:, rows], row_halves[:, rows], b, b_halves)
            if skip is not None and -tile.shape[1] < (offset := skip + rows.start - columns.start) < tile.shape[2]:
                tile.diagonal(offset, 1, 2).fill_(-math.inf)
            yield rows, columns, b, tile


def _cut(x: Tensor, y: Tensor) -> tuple[list[slice], list[slice], Tensor]:
    """Rows and columns of the tiles of a rectangle, and a buffer for the largest of them."""
    size = _tile_size(x)
    rows = _slices(x.shape[1], size)
    columns = _slices(y.shape[1], max(size, size * size // _length(rows[0])))  # few rows make wide tiles
    return rows, columns, x.new_empty(x.shape[0] * _length(rows[0]) * _length(columns[0]))


def _in_buffer(buffer: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Room for the tile of these rows and columns: [batch, rows, columns]."""
    shape = (a.shape[0], a.shape[1], b.shape[1])
    return buffer[: math.prod(shape)].view(shape)


def _tile(buffer: Tensor, a: Tensor, a_halves: Tensor, b: Tensor, b_halves: Tensor) -> Tensor:
    """a_i.b_j - |a_i|^2/2 - |b_j|^2/2, [batch, rows, columns], in the buffer."""
    tile = _in_buffer(buffer, a, b)
    torch.baddbmm(b_halves.unsqueeze(1), a, b.mT, beta=-1, out=tile).sub_(a_halves.unsqueeze(2))
    return tile


def _half_squares(z: Tensor) -> Tensor:
    halves: Tensor = torch.linalg.vector_norm(z, dim=-1).square_().div_(2)
    return halves


def _slices(length: int, size: int) -> list[slice]:
    """Cut so many rows into parts of nearly the same size, the first the largest."""
    size = math.ceil(length / math.ceil(length / size))
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _tile_size(a: Tensor) -> int:
    """Rows of a tile: enough for fast products, few enough for the cache and for little waste on the diagonal."""
    return max(32, int((4096 if a.is_cuda else 768) / math.sqrt(a.shape[0])))


def _may_underflow(*halves: Tensor) -> bool:
    """Whether exp could leave the comfortable half of the number range: no two rows are more than twice a radius apart."""
    lowest = -4 * max(half.amax().item() for half in halves)
    return not lowest > math.log(torch.finfo(halves[0].dtype).tiny) / 2  # a NaN may


def _log(total: Tensor, pairs: int, shift: Tensor | None) -> Tensor:
    log = (total / pairs).log_()
    return log if shift is None else log + shift


def _wide(z: Tensor) -> torch.dtype:
    """float64 for sums over many tiles, where the device has it."""
    return z.dtype if z.device.type == "mps" else torch.float64


# -------------------------------------------------------------------------------------------------- derivatives, eagerly

Gradients = tuple[Tensor | None, ...]


class _LogPotential(torch.autograd.Function):
    """The sweep under torch.func transforms."""

    @staticmethod
    def forward(x: Tensor, y: Tensor | None, t: float, pairs: int, skip: int | None, needs_x: bool, needs_y: bool) -> Gradients:
        result = sweep(x, y, t, pairs, skip, needs_x, needs_y)
        return result.log_potential, result.grad_x, result.grad_y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, y, t, pairs, skip, *_ = inputs
        _, grad_x, grad_y = output
        ctx.options = t, pairs, skip
        ctx.mark_non_differentiable(*(grad for grad in (grad_x, grad_y) if grad is not None))
        ctx.save_for_backward(x, y, grad_x, grad_y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Gradients:
        x, y, grad_x, grad_y = ctx.saved_tensors
        if torch.is_grad_enabled():  # this derivative may itself be differentiated
            grad_x, grad_y = _Gradient.apply(x, y, grad_x, grad_y, *ctx.options)
        if grad.dim():
            grad = grad[..., None, None]
        return *(z if z is None else grad * z for z in (grad_x, grad_y)), None, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, y: Tensor | None, *options: Any) -> tuple[Any, Any]:
        x, y = _batch_first(info, in_dims, x, y)
        t, pairs, skip, needs_x, needs_y = options
        # Only here, with vmap's wrapper taken off, does a tensor tell whether an outer transform wants its gradient.
        needs_x, needs_y = needs_x or x.requires_grad, needs_y or (y is not None and y.requires_grad)
        outputs = _LogPotential.apply(x, y, t, pairs, skip, needs_x, needs_y)
        return outputs, tuple(None if output is None else 0 for output in outputs)


class _EagerLogPotential(torch.autograd.Function):
    """The sweep under plain autograd: the same, without `setup_context`, which costs a call as much as 64 rows do."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor | None, t: float, pairs: int, skip: int | None, needs_x: bool, needs_y: bool
    ) -> Tensor:
        result = sweep(x, y, t, pairs, skip, needs_x, needs_y)
        ctx.options = t, pairs, skip
        ctx.save_for_backward(x, y, result.grad_x, result.grad_y)
        return result.log_potential

    backward = _LogPotential.backward


class _Gradient(torch.autograd.Function):
    """The gradient that the sweep found, as a function of the rows whose derivative is the plain formula's."""

    @staticmethod
    def forward(x: Tensor, y: Tensor | None, grad_x: Tensor | None, grad_y: Tensor | None, *options: Any) -> Gradients:
        return tuple(grad if grad is None else grad.view_as(grad) for grad in (grad_x, grad_y))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, y, _, _, *ctx.options = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx: Any, *directions: Tensor | None) -> Gradients:
        x, y = ctx.saved_tensors
        populations = [x] if y is None else [x, y]

        def value(x: Tensor, y: Tensor | None = None) -> Tensor:
            return _plain(x, y, *ctx.options).sum()

        gradient = torch.func.grad(value, argnums=tuple(range(len(populations))))
        pullback = torch.func.vjp(gradient, *populations)[1]
        pairs = zip(populations, directions, strict=False)
        second = pullback(tuple(torch.zeros_like(z) if direction is None else direction for z, direction in pairs))
        return *second, *(None,) * (7 - len(second))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
        outputs = _Gradient.apply(*_batch_first(info, in_dims, *inputs[:4]), *inputs[4:])
        return outputs, tuple(None if output is None else 0 for output in outputs)


def _batch_first(info: Any, dims: tuple[int | None, ...], *tensors: Any) -> Iterator[Any]:
    """Move the dimension that vmap maps over to the front, or make one."""
    for z, dim in zip(tensors, dims, strict=False):
        yield z if z is None else z.expand(info.batch_size, *z.shape) if dim is None else z.movedim(dim, 0)


# ---------------------------------------------------------------------------------------------------- in compiled graphs


@torch.library.custom_op(
    "align_uniform::log_potential",
    mutates_args=(),
    schema="(Tensor x, Tensor? y, float t, SymInt pairs, bool needs_x, bool needs_y) -> (Tensor, Tensor, Tensor)",
)
def _opaque_log_potential(
    x: Tensor, y: Tensor | None, t: float, pairs: int, needs_x: bool, needs_y: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The sweep as one operator of a graph: the value, and the two gradients or an empty tensor in their place."""
    result = sweep(x, y, t, pairs, None, needs_x, needs_y)
    grad_x, grad_y = (x.new_empty(0) if grad is None else grad.contiguous() for grad in (result.grad_x, result.grad_y))
    return result.log_potential, grad_x, grad_y


@_opaque_log_potential.register_fake
def _(x: Tensor, y: Tensor | None, t: float, pairs: int, needs_x: bool, needs_y: bool) -> tuple[Tensor, Tensor, Tensor]:
    grad_x = x.new_empty(x.shape if needs_x else 0)
    grad_y = x.new_empty(y.shape if needs_y and y is not None else 0)
    return x.new_empty(x.shape[:-2]), grad_x, grad_y


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *_, ctx.needs_x, ctx.needs_y = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, grad: Tensor, *second: Tensor | None) -> Gradients:
    if any(z is not None for z in second):
        raise RuntimeError(
            f"a compiled uniform_loss of more than {PLAIN_PAIRS} pairs has no second derivative; "
            f"call it outside of torch.compile."
        )
    needed = zip((ctx.needs_x, ctx.needs_y), ctx.saved_tensors, strict=True)
    return *(grad[..., None, None] * z if needs else None for needs, z in needed), None, None, None, None


_opaque_log_potential.register_autograd(_scale_gradients, setup_context=_save_gradients)


# ------------------------------------------------------------------------------------------------------ sums over logits


def log_sum_exp(x: Tensor, y: Tensor, *, columns: bool) -> tuple[Tensor, ...]:
    """Return `log sum_j exp(x_i . y_j)`, [..., N], and with `columns` also `log sum_i exp(x_i . y_j)`, [..., M].

    Without `columns`, and where y is a constant, one sweep gives values and gradient. Else more than `PLAIN_PAIRS` logits are
    computed in blocks of rows, and again in the backward pass. Either way the memory stays O((N + M) m + block), and the
    result is differentiable to any order.
    """
    if forward_ad_is_active() or functorch_is_active() or torch.compiler.is_compiling():
        return _log_sum_exp_block(x, y, columns)
    needs_x, needs_y = (torch.is_grad_enabled() and z.requires_grad for z in (x, y))
    logits = x.shape[:-1].numel() * y.shape[-2]
    if not columns and not needs_y and logits > PLAIN_LOGITS:
        return (_RowLogSumExp.apply(x, y) if needs_x else _sweep_logits(x, y, needs_grad=False)[0],)
    if logits <= PLAIN_PAIRS:
        return _log_sum_exp_block(x, y, columns)
    size = max(1, PLAIN_PAIRS // (y.shape[-2] * x.shape[:-2].numel()))
    parts = [
        checkpoint(_log_sum_exp_block, block, y, columns, use_reentrant=False, preserve_rng_state=False)
        for block in x.split(size, dim=-2)
    ]
    row_sums, *column_sums = zip(*parts, strict=True)
    return torch.cat(row_sums, -1), *(torch.stack(part).logsumexp(0) for part in column_sums)


@_full_precision
def _log_sum_exp_block(x: Tensor, y: Tensor, columns: bool) -> tuple[Tensor, ...]:
    logits = x @ y.mT
    return logits.logsumexp(-1), *([logits.logsumexp(-2)] if columns else [])


@_full_precision
def _sweep_logits(x: Tensor, y: Tensor, needs_grad: bool) -> tuple[Tensor, Tensor | None]:
    """`log sum_j exp(x_i . y_j)`, [..., N], and its gradient with respect to row i, [..., N, m], in one pass over the tiles.

    The sums are over exp(largest logit so far), and are scaled down whenever a larger one comes.
    """
    batch = x.shape[:-2]
    x, y = (z.reshape(-1, *z.shape[-2:]) for z in (x, y))
    largest = x.new_full(x.shape[:2], -math.inf)
    sums = x.new_zeros(x.shape[:2], dtype=_wide(x))
    grad = torch.zeros_like(x) if needs_grad else None
    for rows, columns, logits in _logit_tiles(x, y):
        so_far = largest[:, rows]
        now = torch.maximum(so_far, logits.amax(2))
        scale = (so_far - now).exp_()
        largest[:, rows] = now
        weights = logits.sub_(now.unsqueeze(2)).exp_()
        sums[:, rows] = sums[:, rows] * scale + weights.sum(2)
        if grad is not None:
            grad[:, rows] = torch.baddbmm(grad[:, rows].mul_(scale.unsqueeze(2)), weights, y[:, columns])
    if grad is not None:
        grad = grad.div_(sums.unsqueeze(2).to(x.dtype)).view(*batch, *x.shape[1:])
    return (largest + sums.log().to(x.dtype)).view(*batch, x.shape[1]), grad


def _logit_tiles(x: Tensor, y: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield `rows, columns, x_i . y_j`; each tile is overwritten by the next."""
    row_edges, column_edges, buffer = _cut(x, y)
    for columns in column_edges:
        for rows in row_edges:
            tile = _in_buffer(buffer, x[:, rows], y[:, columns])
            yield rows, columns, torch.bmm(x[:, rows], y[:, columns].mT, out=tile)


class _RowLogSumExp(torch.autograd.Function):
    """The sweep over logits under autograd; a derivative that is to be differentiated again is that of the plain formula."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        value, grad = _sweep_logits(x, y, needs_grad=True)
        ctx.save_for_backward(x, y, grad)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, y, grad_x = ctx.saved_tensors
        if torch.is_grad_enabled():
            (value,) = _log_sum_exp_block(x, y, columns=False)
            return *torch.autograd.grad(value, x, grad, create_graph=True), None
        return grad.unsqueeze(-1) * grad_x, None
