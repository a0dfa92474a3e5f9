"""The refusal of second derivatives of compiled losses, which torch before 2.13 loses without an error.

A compiled graph has no second derivative, and torch says so, except where the graph saves no tensor that
requires a gradient itself: there `create_graph=True` runs the backward graph as it is, with gradients
enabled, and the result is a constant. An operator in the backward graph sees this, and raises an error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor

from align_uniform.engine.routes import functorch_is_active

P = ParamSpec("P")

LOSES_SECOND_DERIVATIVES = torch.__version__ < "2.13"
"""Whether torch may lose the second derivative of a compiled function; no other feature tells."""


@torch.library.custom_op(
    "align_uniform::once_differentiable", mutates_args=(), schema="(Tensor loss) -> Tensor"
)
def _once_differentiable(loss: Tensor) -> Tensor:
    return loss.clone()


@torch.library.custom_op("align_uniform::last_derivative", mutates_args=(), schema="(Tensor grad) -> Tensor")
def _last_derivative(grad: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"torch {torch.__version__} loses second derivatives of compiled functions; use torch >= 2.13, "
            "or call the loss outside of torch.compile"
        )
    return grad.clone()


for _operator in (_once_differentiable, _last_derivative):
    _operator.register_fake(torch.empty_like)
_once_differentiable.register_autograd(lambda _, grad: _last_derivative(grad))


def refuses_second_derivatives(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Make `create_graph=True` through a compiled loss an error, where torch would lose what it asks for."""
    if not LOSES_SECOND_DERIVATIVES:
        return loss

    @functools.wraps(loss)
    def compilable(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        value = loss(*args, **kwargs)
        if not torch.compiler.is_compiling() or functorch_is_active() or not torch.is_grad_enabled():
            return value
        guarded: Tensor = _once_differentiable(value) if value.requires_grad else value
        return guarded

    return compilable
