"""Second derivatives of compiled losses on a torch that loses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from align_uniform.engine import graphs
from tests import rows
from tests.as_they_are import align_loss, contrastive_loss, uniform_loss

X, Y = rows.normal(10, 3), rows.normal(10, 3, seed=1)

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "align": lambda x: align_loss(x, Y),
    "uniform": lambda x: uniform_loss(x),
    "uniform negatives": lambda x: uniform_loss(x, negatives=Y),
    "contrastive": lambda x: contrastive_loss(x, Y, 0.5),
    "within a graph": lambda x: uniform_loss(x * 2),
}


@pytest.mark.skipif(not graphs.LOSES_SECOND_DERIVATIVES, reason="torch does not run a lossy graph")
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_create_graph_through_a_compiled_loss_is_an_error_where_torch_would_lose_it(
    loss: Callable[[Tensor], Tensor],
) -> None:
    torch._dynamo.reset()
    x = X.clone().requires_grad_()
    value = torch.compile(loss, fullgraph=True, backend="aot_eager")(x)
    with pytest.raises(
        RuntimeError, match=r"loses second derivatives of compiled functions; use torch >= 2\.13"
    ):
        torch.autograd.grad(value, x, create_graph=True)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_gradient_of_a_compiled_loss_passes_the_refusal(loss: Callable[[Tensor], Tensor]) -> None:
    torch._dynamo.reset()
    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        x = X.clone().requires_grad_()
        gradients.append(torch.autograd.grad(function(x), x)[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-12, atol=1e-12)


def test_the_operators_of_the_refusal_change_nothing_and_see_whether_gradients_are_recorded() -> None:
    ones = torch.ones(3)
    with torch.no_grad():
        assert torch.equal(torch.ops.align_uniform.last_derivative(ones), ones)
    with pytest.raises(RuntimeError, match=r"call the loss outside of torch\.compile"):
        torch.ops.align_uniform.last_derivative(ones)
    assert torch.equal(torch.ops.align_uniform.once_differentiable(ones), ones)
