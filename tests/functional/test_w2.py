"""Tests of the W2 loss: its value is the measured one, and its gradient is finite where roots are 0."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import uniform_loss, w2_loss
from align_uniform.geometry import Moments, w2_floor, w2_uniformity
from tests import oracle, rows
from tests.functional.references import HALVES, close, gradient

CORNERS = torch.cat([torch.eye(5), -torch.eye(5)]).double()

ROWS = {
    "many": rows.unit(300, 8),
    "as many as features": rows.unit(8, 8),
    "one more than features": rows.unit(9, 8),
    "fewer than features": rows.unit(5, 40),
    "two": rows.unit(2, 16),
    "a cone": rows.cone(100, 16),
    "one direction": torch.tensor([[1.0, 0, 0], [-1, 0, 0], [1, 0, 0]], dtype=torch.float64),
    "a constant": rows.unit(1, 6).expand(7, 6),
    "duplicated": rows.unit(3, 6).repeat(5, 1),
    "one feature": torch.tensor([[1.0], [-1], [1]], dtype=torch.float64),
    "the optimum": CORNERS,
}
each = pytest.mark.parametrize("x", ROWS.values(), ids=ROWS)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_value_is_the_measured_one(x: Tensor, dtype: torch.dtype) -> None:
    x = x.to(dtype)
    value = w2_loss(x)
    assert value.dtype == dtype
    # Near 0 the measured value is the root of a difference, with the rounding of a root.
    close(value, w2_uniformity(Moments.of(x)), 2e-7 if dtype == torch.float32 else 5e-8)
    close(value, oracle.w2(oracle.numbers(x)), 2e-7 if dtype == torch.float32 else 1e-12)


@each
def test_the_gradient_is_finite_where_eigenvalues_are_0(x: Tensor) -> None:
    (grad,) = gradient(w2_loss, x)
    assert grad.isfinite().all()
    assert grad.norm() < 10
    (second,) = torch.autograd.grad(
        torch.autograd.grad(w2_loss(z := x.clone().requires_grad_()), z, create_graph=True)[0].sum(), z
    )
    assert second.isfinite().all()


@pytest.mark.parametrize(("n", "m"), [(40, 6), (5, 30), (6, 6), (7, 6)])
def test_the_gradient_is_that_of_singular_values(n: int, m: int) -> None:
    x = rows.unit(n, m)

    def by_singular_values(x: Tensor) -> Tensor:
        trace = torch.linalg.svdvals(x - x.mean(0)).sum() / math.sqrt(n)
        squared: Tensor = x.square().sum() / n + 1 - 2 * trace / math.sqrt(m)
        return squared.sqrt()

    close(gradient(w2_loss, x)[0], gradient(by_singular_values, x)[0], 1e-11)


def test_third_derivatives_are_those_of_finite_differences() -> None:
    def second(x: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(w2_loss(x, normalize=False), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), x, create_graph=True)[0]

    x = rows.normal(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(second, x)


def test_descent_from_near_the_optimum_and_from_a_cone_goes_to_the_optimum() -> None:
    for start, steps in ((CORNERS + 1e-9 * rows.normal(10, 5), 5), (rows.cone(30, 5), 400)):
        x = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([x], lr=1.0)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = w2_loss(x, normalize=True).square()
            torch.autograd.backward(loss)
            optimizer.step()
        assert w2_loss(x, normalize=True) < 1e-3


def test_it_sees_a_collapsed_half_that_uniformity_hides() -> None:
    whole = rows.unit(4096, 256)
    half = torch.cat([rows.unit(4096, 128), torch.zeros(4096, 128)], 1)
    assert abs(uniform_loss(half) - uniform_loss(whole)) < 0.04
    close(w2_loss(whole), w2_floor(4096, 256), 2e-3)
    close(w2_loss(half), 0.769, 2e-3)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    x = rows.unit(50, 8).to(dtype)
    assert w2_loss(x).dtype == torch.float32
    close(w2_loss(x), oracle.w2(oracle.numbers(x)), 1e-6)
    assert gradient(w2_loss, x)[0].dtype == dtype


def test_leading_dimensions_are_batches_and_rows_are_normalised_if_asked() -> None:
    x = rows.normal(2, 3, 20, 4)
    expected = [oracle.w2(oracle.numbers(normalize(z, dim=-1))) for z in x.flatten(0, 1)]
    close(w2_loss(x, normalize=True), torch.tensor(expected, dtype=torch.float64).view(2, 3), 1e-12)


@pytest.mark.usefixtures("compiler")
def test_it_can_be_compiled() -> None:
    x = rows.unit(20, 4)
    compiled = torch.compile(w2_loss, fullgraph=True)
    close(gradient(lambda z: compiled(z, normalize=False), x)[0], gradient(w2_loss, x)[0], 1e-12)


def test_wrong_arguments_are_refused() -> None:
    for x, message in (
        (rows.unit(1, 4), "x must have at least 2 rows, got 1: a single row has no spread"),
        (torch.ones(4, dtype=torch.float64), "N rows of m features"),
        (torch.ones(3, 4, dtype=torch.int64), "must be real floating point"),
    ):
        with pytest.raises(ValueError, match=message):
            w2_loss(x)
    with pytest.raises(ValueError, match=r"x must be \[N, m\]"):
        w2_loss(rows.unit(2, 5, 4), gather_distributed=True)
