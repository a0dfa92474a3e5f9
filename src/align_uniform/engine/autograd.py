"""The derivatives of the sweeps: eagerly, under torch.func, and in compiled graphs.

The first derivative comes out of the sweep, or of a second one. A derivative that is to be differentiated
again has the plain formula's: that of logits is computed by it, that of potentials is differentiated by it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from align_uniform.engine import few, logits, plain
from align_uniform.engine.logits import Kept, LogSums
from align_uniform.engine.mask import Mask
from align_uniform.engine.precision import widest
from align_uniform.engine.routes import PLAIN_PAIRS, functorch_is_active, is_batched
from align_uniform.engine.sweeps import sweep

Gradients: TypeAlias = tuple[Tensor | None, ...]
"""The gradients of the inputs of an operation, None for those that have none."""

Options: TypeAlias = tuple[float, int, int | None]
"""The numbers `t`, `pairs` and `skip` of a sweep over pairs, as in `engine.log_potential`."""


def log_potential(
    x: Tensor, y: Tensor | None, t: float, pairs: int, mask: Mask, needs_x: bool, needs_y: bool
) -> Tensor:
    """Sweep over pairs, differentiably in x and y; arguments as in `tiles.sweep`."""
    inputs = x, y, mask.ids, mask.column_ids, (t, pairs, mask.skip), (needs_x, needs_y)
    value: Tensor
    if functorch_is_active():
        value, *_ = _LogPotential.apply(*inputs)
    else:
        value = _EagerLogPotential.apply(*inputs)
    return value


def log_potential_of_few(x: Tensor, t: float, pairs: int) -> Tensor | None:
    """Sum over the pairs of few rows, differentiably in x; None if their numbers need more care."""
    if torch.is_grad_enabled() and x.requires_grad:
        value: Tensor = _LogPotentialOfFew.apply(x, t, pairs)
        return value
    found = few.log_potential(x, t, pairs, needs_grad=False)
    return None if found is None else found[0]


def log_sum_exp(x: Tensor, y: Tensor, mask: Mask) -> Tensor:
    """Sweep over logits, differentiably in x and y; arguments as in `engine.log_sum_exp`."""
    options = x, y, mask.ids, mask.column_ids, mask.skip
    sums: Tensor = _LogSums.apply(*options, False) if y.requires_grad else _RowLogSums.apply(*options)
    return sums


def log_odds(x: Tensor, y: Tensor, ids: Tensor | None) -> Tensor:
    """Sweep over the logits of a batch, differentiably in x and y; arguments as in `engine.log_odds`."""
    return logits.odds(x, y, log_sums(x, y, Mask(ids=ids).within()))


def log_sums(x: Tensor, y: Tensor, mask: Mask) -> LogSums:
    """Sweep over logits once for rows and columns, differentiably in x and y."""
    return LogSums(*_LogSums.apply(x, y, mask.ids, mask.column_ids, mask.skip, True))


def contrastive_of_few(x: Tensor, y: Tensor, ids: Tensor | None) -> Tensor | None:
    """Compute the contrastive loss of few logits, differentiably in x and y; None if they need more care."""
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
        value: Tensor | None = _ContrastiveOfFew.apply(x, y, ids)
        return value
    found = few.contrastive(x, y, ids)
    return None if found is None else found.value


def fused_log_sum_exp(x: Tensor, y: Tensor, scale: Tensor, mask: Mask) -> Tensor:
    """Sum over logits by the kernel, differentiably in x, y and the scale."""
    needs_mean = torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad) and not y.requires_grad
    sums: Tensor = _FusedLogSums.apply(x, y, scale, mask.ids, mask.column_ids, mask.skip, False, needs_mean)
    return sums


def fused_log_odds(x: Tensor, y: Tensor, scale: Tensor, ids: Tensor | None) -> Tensor:
    """Compute the log-odds of a batch by the kernel, differentiably in x, y and the scale."""
    odds: Tensor = _FusedLogSums.apply(x, y, scale, ids, ids, 0, True, False)
    return odds


class _LogPotential(torch.autograd.Function):
    """The sweep over pairs under torch.func transforms."""

    @staticmethod
    def forward(
        x: Tensor,
        y: Tensor | None,
        ids: Tensor | None,
        y_ids: Tensor | None,
        options: Options,
        needs: tuple[bool, bool],
    ) -> Gradients:
        t, pairs, skip = options
        result = sweep(x, y, t, pairs, Mask(skip, ids, y_ids), *needs)
        return result.log_potential, result.grad_x, result.grad_y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, y, ids, y_ids, ctx.options, _ = inputs
        _, grad_x, grad_y = output
        ctx.mark_non_differentiable(*(grad for grad in (grad_x, grad_y) if grad is not None))
        ctx.save_for_backward(x, y, ids, y_ids, grad_x, grad_y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Gradients:
        x, y, ids, y_ids, grad_x, grad_y = ctx.saved_tensors
        if torch.is_grad_enabled():  # this derivative may itself be differentiated
            dtype = widest(x, y)
            x, y = x.to(dtype), None if y is None else y.to(dtype)
            grad_x, grad_y = _Gradient.apply(x, y, grad_x, grad_y, ids, y_ids, *ctx.options)
        if grad.dim():
            grad = grad[..., None, None]
        return *(z if z is None else grad * z for z in (grad_x, grad_y)), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
        x, y, ids, y_ids = _batch_first(info, in_dims, *inputs[:4])
        options, (needs_x, needs_y) = inputs[4:]
        # Only here, with vmap's wrapper taken off, does a tensor tell whether an outer transform wants its
        # gradient.
        needs = needs_x or x.requires_grad, needs_y or (y is not None and y.requires_grad)
        outputs = _LogPotential.apply(x, y, ids, y_ids, options, needs)
        return outputs, tuple(None if output is None else 0 for output in outputs)


class _EagerLogPotential(torch.autograd.Function):
    """The sweep over pairs under plain autograd.

    It equals `_LogPotential` without `setup_context`, which costs as much per call as 64 rows do.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor | None,
        ids: Tensor | None,
        y_ids: Tensor | None,
        options: Options,
        needs: tuple[bool, bool],
    ) -> Tensor:
        t, pairs, skip = ctx.options = options
        result = sweep(x, y, t, pairs, Mask(skip, ids, y_ids), *needs)
        ctx.save_for_backward(x, y, ids, y_ids, result.grad_x, result.grad_y)
        return result.log_potential

    backward = _LogPotential.backward


class _LogPotentialOfFew(torch.autograd.Function):
    """The sum over the pairs of few rows under plain autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: float, pairs: int) -> Tensor | None:
        found = few.log_potential(x, t, pairs, needs_grad=True)
        if found is None:
            return None
        ctx.options = t, pairs, None
        value, grad = found
        ctx.save_for_backward(x, grad)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, grad_x = ctx.saved_tensors
        if torch.is_grad_enabled():  # this derivative may itself be differentiated
            grad_x, _ = _Gradient.apply(x, None, grad_x, None, None, None, *ctx.options)
        return grad * grad_x, None, None


class _Gradient(torch.autograd.Function):
    """The gradient that the sweep found, as a function of the rows; its derivative is the plain formula's."""

    @staticmethod
    def forward(
        x: Tensor, y: Tensor | None, grad_x: Tensor | None, grad_y: Tensor | None, *constants: Any
    ) -> Gradients:
        return tuple(grad if grad is None else grad.view_as(grad) for grad in (grad_x, grad_y))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, y, _, _, ids, y_ids, *ctx.options = inputs
        ctx.save_for_backward(x, y, ids, y_ids)

    @staticmethod
    def backward(ctx: Any, *directions: Tensor | None) -> Gradients:
        x, y, ids, y_ids = ctx.saved_tensors
        populations = [x] if y is None else [x, y]

        def value(x: Tensor, y: Tensor | None = None) -> Tensor:
            t, pairs, skip = ctx.options
            return plain.log_potential(x, y, t, pairs, Mask(skip, ids, y_ids)).sum()

        gradient = torch.func.grad(value, argnums=tuple(range(len(populations))))
        pullback = torch.func.vjp(gradient, *populations)[1]
        pairs = zip(populations, directions, strict=False)
        second = pullback(
            tuple(torch.zeros_like(z) if direction is None else direction for z, direction in pairs)
        )
        return *second, *(None,) * (9 - len(second))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
        outputs = _Gradient.apply(*_batch_first(info, in_dims, *inputs[:6]), *inputs[6:])
        return outputs, tuple(None if output is None else 0 for output in outputs)


def _batch_first(info: Any, dims: tuple[int | None, ...], *tensors: Any) -> Iterator[Any]:
    """Move the dimension that vmap maps over to the front; add one to tensors that lack it."""
    for z, dim in zip(tensors, dims, strict=False):
        yield z if z is None else z.expand(info.batch_size, *z.shape) if dim is None else z.movedim(dim, 0)


class _LogSums(torch.autograd.Function):
    """The sweep over logits: the log-sum-exps of rows and, if requested, of columns."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        ids: Tensor | None,
        y_ids: Tensor | None,
        skip: int | None,
        columns: bool,
    ) -> Tensor | LogSums:
        sums, kept = logits.log_sums(x, y, Mask(skip, ids, y_ids), columns, keep=True)
        ctx.skip, ctx.columns = skip, columns
        ctx.save_for_backward(x, y, ids, y_ids, *sums, kept.row_sums, kept.column_sums, *kept.tiles)
        return sums if columns else sums.rows

    @staticmethod
    def backward(ctx: Any, *weights: Tensor) -> Gradients:
        x, y, ids, y_ids, row_logs, column_logs, row_sums, column_sums, *tiles = ctx.saved_tensors
        mask, needs = Mask(ctx.skip, ids, y_ids), ctx.needs_input_grad[:2]
        if torch.is_grad_enabled() or any(is_batched(each) for each in weights):
            formula = functools.partial(plain.log_sums if ctx.columns else plain.log_sum_exp, mask=mask)
            return *_plain_gradients(formula, x, y, None, weights, needs), *(None,) * 4
        logs, kept = LogSums(row_logs, column_logs), Kept(row_sums, column_sums, tiles)
        each = LogSums(weights[0], weights[1] if ctx.columns else None)
        return *logits.gradients(x, y, mask, kept, logs, each, *needs), *(None,) * 4


class _ContrastiveOfFew(torch.autograd.Function):
    """The contrastive loss of few logits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, ids: Tensor | None) -> Tensor | None:
        found = few.contrastive(x, y, ids, *ctx.needs_input_grad[:2])
        if found is None:
            return None
        value, grad_x, grad_y = found
        ctx.save_for_backward(x, y, ids, grad_x, grad_y)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, y, ids, *grads = ctx.saved_tensors
        if torch.is_grad_enabled():
            formula = functools.partial(plain.contrastive, ids=ids)
            return *_plain_gradients(formula, x, y, None, (grad,), ctx.needs_input_grad[:2]), None
        if grad.dim():
            grad = grad[..., None, None]
        return *(z if z is None else grad * z for z in grads), None


class _RowLogSums(torch.autograd.Function):
    """The sweep over logits where the columns are constants: values and gradient in one pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, ids: Tensor | None, y_ids: Tensor | None, skip: int | None
    ) -> Tensor:
        value, grad = logits.row_sums_and_gradient(x, y, Mask(skip, ids, y_ids))
        ctx.skip = skip
        ctx.save_for_backward(x, y, ids, y_ids, grad)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, y, ids, y_ids, grad_x = ctx.saved_tensors
        if torch.is_grad_enabled():
            formula = functools.partial(plain.log_sum_exp, mask=Mask(ctx.skip, ids, y_ids))
            grad_x, _ = _plain_gradients(formula, x, y, None, (grad,), (True, False))
        else:
            grad_x = grad.unsqueeze(-1) * grad_x
        return grad_x, None, None, None, None


class _FusedLogSums(torch.autograd.Function):
    """The kernel's sweep over logits `scale x_i . y_j`: `_LogSums`, differentiable in the scale too.

    Where the columns are constants, the sweep also finds the mean column under every row, which is the
    gradient of the row's sum.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        ids: Tensor | None,
        y_ids: Tensor | None,
        skip: int | None,
        in_batch: bool,
        needs_mean: bool,
    ) -> Tensor:
        from align_uniform.engine import fused  # loads triton

        rows = fused.terms(x, y)
        sums, mean = fused.log_sums(x, y, rows, scale, Mask(skip, ids, y_ids), in_batch, needs_mean)
        ctx.skip, ctx.in_batch = skip, in_batch
        kept = (None,) * 4 if needs_mean or rows.units is None else rows
        ctx.save_for_backward(x, y, scale, ids, y_ids, *sums, mean, *kept)
        return logits.odds(x.float() * scale, y.float(), sums) if in_batch else sums.rows

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> Gradients:
        from align_uniform.engine import fused

        x, y, scale, ids, y_ids, row_logs, column_logs, mean, *kept = ctx.saved_tensors
        mask, needs = Mask(ctx.skip, ids, y_ids), ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or is_batched(weights):
            formula = functools.partial(plain.log_sum_exp, mask=mask)
            if ctx.in_batch:
                formula = functools.partial(plain.log_odds, ids=ids)
            return *_plain_gradients(formula, x, y, scale, (weights,), needs), *(None,) * 5
        # Without a gradient of its own, the scale is multiplied with the weights, which are fewer.
        factor = scale if needs[2] else None
        if factor is None:
            weights = weights * scale
        pulls_y = None
        if mean is not None:
            pulls_x = weights.unsqueeze(-1) * mean
        else:
            each = LogSums(weights[..., 0, :], weights[..., 1, :]) if ctx.in_batch else LogSums(weights, None)
            rows = fused.terms(x, y) if kept[0] is None else fused.Terms(*kept)
            pulls_x, pulls_y = fused.logit_pulls(
                x, y, rows, scale, mask, LogSums(row_logs, column_logs), each, needs[1]
            )
            if ctx.in_batch:
                logits.add_own_pairs_(x.float(), y.float(), each, pulls_x, pulls_y)
        if factor is None:
            return pulls_x, pulls_y, *(None,) * 6
        of_scale = (pulls_x * x).sum()
        return pulls_x * factor, None if pulls_y is None else pulls_y * factor, of_scale, *(None,) * 5


def _plain_gradients(
    formula: Callable[[Tensor, Tensor], Tensor | tuple[Tensor, ...]],
    x: Tensor,
    y: Tensor,
    scale: Tensor | None,
    weights: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Return the gradients of weighted results of a formula, differentiable if gradients are enabled.

    They are partial: one input may be computed from another, or be the same.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        x, y = x.view_as(x), y.view_as(y)  # of which neither is computed from the other
        scale = None if scale is None else scale.view_as(scale)
        inputs = [z for z, need in zip((x, y, scale), needs, strict=False) if need and z is not None]
        results = formula(x if scale is None else x.float() * scale, y)
        results = (results,) if isinstance(results, Tensor) else results
        grads = iter(torch.autograd.grad(results, inputs, weights, create_graph=create_graph))
    return tuple(next(grads) if need else None for need in needs)


# ----------------------------------------------------------------------------------------- in compiled graphs


@torch.library.custom_op(
    "align_uniform::log_potential",
    mutates_args=(),
    schema="(Tensor x, Tensor? y, Tensor? ids, Tensor? y_ids, float t, SymInt pairs, bool needs_x,"
    " bool needs_y) -> (Tensor, Tensor, Tensor)",
)
def opaque_log_potential(
    x: Tensor,
    y: Tensor | None,
    ids: Tensor | None,
    y_ids: Tensor | None,
    t: float,
    pairs: int,
    needs_x: bool,
    needs_y: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sweep over pairs in one operator of a graph: the value, and two gradients, empty if not needed."""
    result = sweep(x, y, t, pairs, Mask(None, ids, y_ids), needs_x, needs_y)
    grad_x, grad_y = (
        result.log_potential.new_empty(0) if grad is None else grad.contiguous()
        for grad in (result.grad_x, result.grad_y)
    )
    return result.log_potential, grad_x, grad_y


@opaque_log_potential.register_fake
def _(
    x: Tensor,
    y: Tensor | None,
    ids: Tensor | None,
    y_ids: Tensor | None,
    t: float,
    pairs: int,
    needs_x: bool,
    needs_y: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = widest(x, y)
    grad_x = x.new_empty(x.shape if needs_x else 0, dtype=dtype)
    grad_y = x.new_empty(y.shape if needs_y and y is not None else 0, dtype=dtype)
    return x.new_empty(x.shape[:-2], dtype=dtype), grad_x, grad_y


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
    return *(grad[..., None, None] * z if needs else None for needs, z in needed), *(None,) * 6


opaque_log_potential.register_autograd(_scale_gradients, setup_context=_save_gradients)
