"""Tests of the losses in float32 and half precision, against float64; in the interpreter, by the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from align_uniform.engine import routes
from tests import rows
from tests.as_they_are import contrastive_loss, uniform_loss

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

N, QUEUE = 35, 50
IDS, QUEUE_IDS = torch.arange(N) // 3, torch.arange(QUEUE) % 13
ONE_ITEM = torch.zeros(N, dtype=torch.int64)

LOSSES: dict[str, tuple[float, Loss]] = {
    # the size of the exponents, and the loss of two views, a queue, and a temperature
    "uniform": (2, lambda x, _y, _z, _tau: uniform_loss(x)),
    "uniform t=30": (30, lambda x, _y, _z, _tau: uniform_loss(x, 30)),
    "uniform t=400": (400, lambda x, _y, _z, _tau: uniform_loss(x, 400)),
    "uniform queue": (2, lambda x, _y, z, _tau: uniform_loss(x, negatives=z)),
    "uniform queue alone": (30, lambda x, _y, z, _tau: uniform_loss(x, 30, negatives=z, intra_batch=False)),
    "uniform ids": (2, lambda x, _y, _z, _tau: uniform_loss(x, ids=IDS)),
    "uniform queue ids": (
        2,
        lambda x, _y, z, _tau: uniform_loss(x, negatives=z, ids=IDS, negative_ids=QUEUE_IDS),
    ),
    "uniform queue one item": (2, lambda x, _y, z, _tau: uniform_loss(x, negatives=z, ids=ONE_ITEM)),
    "contrastive": (10, lambda x, y, _z, tau: contrastive_loss(x, y, tau)),
    "contrastive ids": (10, lambda x, y, _z, tau: contrastive_loss(x, y, tau, ids=IDS)),
    "contrastive queue": (10, lambda x, y, z, tau: contrastive_loss(x, y, tau, negatives=z)),
    "contrastive constant queue": (
        10,
        lambda x, y, z, tau: contrastive_loss(x, y, tau, negatives=z.detach()),
    ),
    "contrastive queue ids": (
        10,
        lambda x, y, z, tau: contrastive_loss(x, y, tau, negatives=z, ids=IDS, negative_ids=QUEUE_IDS),
    ),
}
each_loss = pytest.mark.parametrize(("size", "loss"), LOSSES.values(), ids=LOSSES)
each_width = pytest.mark.parametrize("m", [3, 16, 130])
HALF_ROUNDING = {torch.float32: 0.0, torch.float16: 2**-11, torch.bfloat16: 2**-8}


def inputs(m: int, dtype: torch.dtype) -> list[Tensor]:
    """Return two views, a queue, and a temperature, which stays float32."""
    x, y, z = rows.unit(N, m), rows.unit(N, m, seed=1), rows.unit(QUEUE, m, seed=2)
    return [*(part.to(dtype) for part in (x, y, z)), torch.tensor(0.1)]


def value_and_gradients(loss: Loss, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [z.detach().clone().requires_grad_() for z in tensors]
    value = loss(*leaves)
    grads = torch.autograd.grad(value, leaves, allow_unused=True)
    return value.detach(), *(
        torch.zeros_like(z) if grad is None else grad for z, grad in zip(leaves, grads, strict=True)
    )


def assert_near(found: Tensor, truth: Tensor, relative: float) -> None:
    """Assert that results are equal to within a fraction of the largest entry."""
    error = (found.double() - truth).abs().max()
    assert error <= relative * truth.abs().max() + 1e-30, float(error / truth.abs().max())


def test_an_interpreted_process_takes_the_kernel_and_another_does_not() -> None:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    assert routes.takes_kernel(rows.unit(4, 3, dtype=torch.float32)) == interpreted


@each_width
@each_loss
@pytest.mark.parametrize("dtype", HALF_ROUNDING, ids=str)
def test_values_and_gradients_are_those_of_float64(
    dtype: torch.dtype, size: float, loss: Loss, m: int
) -> None:
    tensors = inputs(m, dtype)
    value, *grads = value_and_gradients(loss, tensors)
    truth, *expected = value_and_gradients(loss, [z.double() for z in tensors])
    eps = torch.finfo(torch.float32).eps
    assert value.dtype == torch.float32
    assert abs(float(value) - float(truth)) <= 8 * eps * max(1, size) + 1e-6 * max(1, abs(float(truth)) / 4)
    half_weights = 0 if dtype == torch.float32 else 2e-5
    for tensor, grad, true_grad in zip(tensors, grads, expected, strict=True):
        assert grad.dtype == tensor.dtype
        # A gradient is rounded to its dtype; of two parts that are added, each is.
        assert_near(grad, true_grad, 32 * eps * size + 3 * HALF_ROUNDING[tensor.dtype] + half_weights)


@each_loss
def test_second_derivatives_are_those_of_float64(size: float, loss: Loss) -> None:
    def derivatives(tensors: list[Tensor]) -> list[Tensor]:
        leaves = [z.detach().clone().requires_grad_() for z in tensors]
        grads = torch.autograd.grad(loss(*leaves), leaves, create_graph=True, allow_unused=True)
        penalty = torch.stack([grad.square().sum() for grad in grads if grad is not None]).sum()
        second = torch.autograd.grad(penalty, leaves, allow_unused=True)
        return [torch.zeros_like(z) if grad is None else grad for z, grad in zip(leaves, second, strict=True)]

    tensors = inputs(16, torch.float32)
    for found, truth in zip(derivatives(tensors), derivatives([z.double() for z in tensors]), strict=True):
        assert_near(found, truth, 64 * torch.finfo(torch.float32).eps * max(size, 10))


@each_loss
def test_transforms_are_those_of_float64(size: float, loss: Loss) -> None:
    def of_x(x: Tensor, others: list[Tensor]) -> Tensor:
        return loss(x, *others)

    x, *others = inputs(16, torch.float32)
    batch = torch.stack([x, x.flip(1), x.roll(1, 1)])
    func = torch.func
    # Along the gradient, where nothing cancels.
    direction = func.grad(lambda x: of_x(x, [z.double() for z in others]))(x.double())
    for transformed in (
        lambda batch, others: func.vmap(lambda x: of_x(x, others))(batch),
        lambda batch, others: func.grad(lambda x: of_x(x, others))(batch[0]),
        lambda batch, others: func.vmap(func.grad(lambda x: of_x(x, others)))(batch),
        lambda batch, others: func.jvp(lambda x: of_x(x, others), (batch[0],), (direction.to(batch.dtype),))[
            1
        ],
    ):
        found = transformed(batch, others)
        truth = transformed(batch.double(), [z.double() for z in others])
        assert_near(found, truth, 64 * torch.finfo(torch.float32).eps * max(size, 10))
