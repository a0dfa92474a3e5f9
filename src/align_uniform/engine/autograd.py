"""The derivatives of the sweeps: eagerly, under torch.func, and in compiled graphs.

The first derivative comes out of the sweep itself. A derivative that is differentiated again is that of the plain formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from align_uniform.engine import plain
from align_uniform.engine.precision import widest
from align_uniform.engine.routes import PLAIN_PAIRS, functorch_is_active
from align_uniform.engine.sweeps import log_sum_exp, sweep
from align_uniform.engine.tiles import Mask

Gradients = tuple[Tensor | None, ...]


def log_potential(
    x: Tensor,
    y: Tensor | None,
    ids: Tensor | None,
    y_ids: Tensor | None,
    t: float,
    pairs: int,
    skip: int | None,
    needs_x: bool,
    needs_y: bool,
) -> Tensor:
    """The sweep over pairs, differentiable in x and y; arguments as in `engine.log_potential`."""
    value: Tensor
    if functorch_is_active():
        value, *_ = _LogPotential.apply(x, y, ids, y_ids, t, pairs, skip, needs_x, needs_y)
    else:
        value = _EagerLogPotential.apply(x, y, ids, y_ids, t, pairs, skip, needs_x, needs_y)
    return value


def row_log_sum_exp(x: Tensor, y: Tensor, mask: Mask) -> Tensor:
    """The sweep over logits, differentiable in x."""
    value: Tensor = _RowLogSumExp.apply(x, y, mask.ids, mask.column_ids, mask.skip)
    return value


class _LogPotential(torch.autograd.Function):
    """The sweep under torch.func transforms."""

    @staticmethod
    def forward(
        x: Tensor,
        y: Tensor | None,
        ids: Tensor | None,
        y_ids: Tensor | None,
        t: float,
        pairs: int,
        skip: int | None,
        needs_x: bool,
        needs_y: bool,
    ) -> Gradients:
        result = sweep(x, y, t, pairs, skip, ids, y_ids, needs_x, needs_y)
        return result.log_potential, result.grad_x, result.grad_y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, y, ids, y_ids, *options = inputs
        _, grad_x, grad_y = output
        ctx.options = options[:3]
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
        return *(z if z is None else grad * z for z in (grad_x, grad_y)), *(None,) * 7

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
        x, y, ids, y_ids = _batch_first(info, in_dims, *inputs[:4])
        *options, needs_x, needs_y = inputs[4:]
        # Only here, with vmap's wrapper taken off, does a tensor tell whether an outer transform wants its gradient.
        needs_x, needs_y = needs_x or x.requires_grad, needs_y or (y is not None and y.requires_grad)
        outputs = _LogPotential.apply(x, y, ids, y_ids, *options, needs_x, needs_y)
        return outputs, tuple(None if output is None else 0 for output in outputs)


class _EagerLogPotential(torch.autograd.Function):
    """The sweep under plain autograd: the same, without `setup_context`, which costs a call as much as 64 rows do."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor | None,
        ids: Tensor | None,
        y_ids: Tensor | None,
        t: float,
        pairs: int,
        skip: int | None,
        needs_x: bool,
        needs_y: bool,
    ) -> Tensor:
        result = sweep(x, y, t, pairs, skip, ids, y_ids, needs_x, needs_y)
        ctx.options = t, pairs, skip
        ctx.save_for_backward(x, y, ids, y_ids, result.grad_x, result.grad_y)
        return result.log_potential

    backward = _LogPotential.backward


class _Gradient(torch.autograd.Function):
    """The gradient that the sweep found, as a function of the rows whose derivative is the plain formula's."""

    @staticmethod
    def forward(x: Tensor, y: Tensor | None, grad_x: Tensor | None, grad_y: Tensor | None, *constants: Any) -> Gradients:
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
            return plain.log_potential(x, y, *ctx.options, ids, y_ids).sum()

        gradient = torch.func.grad(value, argnums=tuple(range(len(populations))))
        pullback = torch.func.vjp(gradient, *populations)[1]
        pairs = zip(populations, directions, strict=False)
        second = pullback(tuple(torch.zeros_like(z) if direction is None else direction for z, direction in pairs))
        return *second, *(None,) * (9 - len(second))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
        outputs = _Gradient.apply(*_batch_first(info, in_dims, *inputs[:6]), *inputs[6:])
        return outputs, tuple(None if output is None else 0 for output in outputs)


def _batch_first(info: Any, dims: tuple[int | None, ...], *tensors: Any) -> Iterator[Any]:
    """Move the dimension that vmap maps over to the front, or make one."""
    for z, dim in zip(tensors, dims, strict=False):
        yield z if z is None else z.expand(info.batch_size, *z.shape) if dim is None else z.movedim(dim, 0)


class _RowLogSumExp(torch.autograd.Function):
    """The sweep over logits, where the columns are constants."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, ids: Tensor | None, y_ids: Tensor | None, skip: int | None) -> Tensor:
        value, grad = log_sum_exp(x, y, Mask(skip, ids, y_ids), needs_grad=True)
        ctx.skip = skip
        ctx.save_for_backward(x, y, ids, y_ids, grad)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, y, ids, y_ids, grad_x = ctx.saved_tensors
        if torch.is_grad_enabled():
            (value,) = plain.log_sum_exp(x, y, False, ctx.skip, ids, y_ids)
            return *torch.autograd.grad(value, x, grad, create_graph=True), None, None, None, None
        return grad.unsqueeze(-1) * grad_x, None, None, None, None


# ---------------------------------------------------------------------------------------------------- in compiled graphs


@torch.library.custom_op(
    "align_uniform::log_potential",
    mutates_args=(),
    schema="(Tensor x, Tensor? y, Tensor? ids, Tensor? y_ids, float t, SymInt pairs, bool needs_x, bool needs_y)"
    " -> (Tensor, Tensor, Tensor)",
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
    """The sweep as one operator of a graph: the value, and the two gradients or an empty tensor in their place."""
    result = sweep(x, y, t, pairs, None, ids, y_ids, needs_x, needs_y)
    grad_x, grad_y = (
        result.log_potential.new_empty(0) if grad is None else grad.contiguous() for grad in (result.grad_x, result.grad_y)
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
