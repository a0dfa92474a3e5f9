"""The losses of few rows, in few operators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from align_uniform.engine import few
from tests import rows
from tests.as_they_are import contrastive_loss, uniform_loss

Loss = Callable[..., Tensor]


class Operators(TorchDispatchMode):
    """The operators that compute, in the order of their calls; views and copies of a number are none."""

    FREE = ("view", "unsqueeze", "t", "transpose", "diagonal", "select", "expand", "detach", "alias", "slice")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.names: list[str] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = op.overloadpacket.__name__
        if name not in (*self.FREE, "_local_scalar_dense", "ones_like"):
            self.names.append(name)
        return op(*args, **(kwargs or {}))


@pytest.mark.usefixtures("tile_loop")
@pytest.mark.parametrize("n", [2, 32, 64, 128])
def test_value_and_gradient_of_few_rows_take_ten_operators(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows.unit(n, 128, dtype=torch.float32).requires_grad_()
    monkeypatch.setattr(few, "may_ask", lambda _: True)  # which a mode that looks on would forbid
    with Operators() as operators:
        torch.autograd.grad(uniform_loss(x), x)
    assert "_pdist_backward" in operators.names
    assert len(operators.names) <= 10, operators.names


@pytest.mark.parametrize("m", [1, 3, 128])
@pytest.mark.parametrize("n", [2, 3, 40])
def test_the_value_and_the_gradient_are_those_of_the_sweep(
    n: int, m: int, request: pytest.FixtureRequest
) -> None:
    x, y = rows.unit(n, m).requires_grad_(), rows.unit(n, m, seed=1).requires_grad_()
    cases: list[tuple[Loss, list[Tensor]]] = [
        (lambda: uniform_loss(x), [x]),
        (lambda: contrastive_loss(x, y, 0.1), [x, y]),
        (lambda: contrastive_loss(x, y, 0.1, ids=torch.arange(n) // 2), [x, y]),
    ]
    found = [(loss(), *torch.autograd.grad(loss(), leaves)) for loss, leaves in cases]
    request.getfixturevalue("never_few")
    for (loss, leaves), each in zip(cases, found, strict=True):
        for ours, swept in zip(each, (loss(), *torch.autograd.grad(loss(), leaves)), strict=True):
            torch.testing.assert_close(ours, swept, rtol=1e-11, atol=1e-12)


def test_rows_that_lie_in_one_place_pull_on_nobody() -> None:
    x = torch.cat([rows.unit(1, 8).expand(5, 8), rows.unit(4, 8, seed=1)]).requires_grad_()
    uniform_loss(x).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    torch.testing.assert_close(x.grad[0], x.grad[4])
    close = rows.unit(1, 8).expand(6, 8).clone().requires_grad_()
    uniform_loss(close).backward()
    assert close.grad is not None
    assert (close.grad == 0).all()


def test_no_matrix_of_many_pairs_is_made_however_few_the_features() -> None:
    assert few.are_few_pairs(rows.unit(256, 2))
    assert not few.are_few_pairs(rows.unit(257, 2))


@pytest.mark.parametrize("far", [10.0, 1e4, 1e15])
def test_rows_that_are_far_apart_are_left_to_the_sweep(far: float) -> None:
    x = (far * rows.unit(6, 3)).requires_grad_()
    exponents = -2 * (x[:, None] - x).square().sum(-1)[tuple(torch.triu_indices(6, 6, 1))]
    expected = exponents.logsumexp(0) - math.log(15)
    with torch.no_grad():
        assert few.log_potential(x, 2.0, 15, needs_grad=False) is None
        torch.testing.assert_close(uniform_loss(x), expected.detach(), rtol=1e-10, atol=0)
    found = uniform_loss(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        *(torch.autograd.grad(each, x)[0] for each in (found, expected)), rtol=1e-8, atol=0
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_makes_the_losses_nan(bad: float) -> None:
    x, y = rows.unit(6, 3), rows.unit(6, 3, seed=1)
    x[2, 1] = bad
    assert uniform_loss(x).isnan()
    assert contrastive_loss(x, y, 0.1).isnan()
    assert contrastive_loss(y, x, 0.1).isnan()


@pytest.mark.parametrize("tau", [1e-3, 1e-2, 0.03, 1.0, 100.0])
def test_the_contrastive_loss_has_its_value_at_any_temperature(tau: float) -> None:
    x, y = rows.unit(7, 4).requires_grad_(), rows.unit(7, 4, seed=1).requires_grad_()
    logits = x @ y.T / tau
    labels = torch.arange(7)
    directions = [torch.nn.functional.cross_entropy(each, labels) for each in (logits, logits.T)]
    expected = torch.stack(directions).mean()
    found = contrastive_loss(x, y, tau)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, y)), torch.autograd.grad(expected, (x, y)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_rows_that_do_not_lie_side_by_side_have_a_gradient() -> None:
    wide = rows.unit(4, 9).requires_grad_()
    uniform_loss(wide.T).backward()
    alone = wide.detach().T.contiguous().requires_grad_()
    uniform_loss(alone).backward()
    assert wide.grad is not None
    assert alone.grad is not None
    torch.testing.assert_close(wide.grad, alone.grad.T)


def test_second_derivatives_pass_through() -> None:
    x, y = rows.unit(4, 3).requires_grad_(), rows.unit(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(uniform_loss, x)
    assert torch.autograd.gradgradcheck(lambda x, y: contrastive_loss(x, y, 0.5), (x, y))
    ids = torch.tensor([0, 1, 0, 2])
    assert torch.autograd.gradgradcheck(lambda x, y: contrastive_loss(x, y, 0.5, ids=ids), (x, y))
