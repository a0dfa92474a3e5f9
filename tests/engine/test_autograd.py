"""The operator that stands for the sweep in a compiled graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform import engine
from align_uniform.engine import autograd
from tests import rows


def close(value: Tensor, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        value, torch.as_tensor(expected, dtype=torch.float64).expand_as(value), rtol=tolerance, atol=tolerance
    )


OPERATOR_INPUTS: dict[str, tuple[Tensor, Tensor | None]] = {
    "within": (rows.normal(10, 3), None),
    "within, batch": (rows.normal(2, 10, 3), None),
    "within, transposed": (rows.normal(3, 10).mT, None),
    "negatives": (rows.normal(10, 3), rows.normal(7, 3, seed=1)),
    "negatives, transposed": (rows.normal(3, 10).mT, rows.normal(3, 7, seed=1).mT),
}


@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True), (False, False)], ids=str)
@pytest.mark.parametrize(("x", "y"), OPERATOR_INPUTS.values(), ids=OPERATOR_INPUTS)
@pytest.mark.usefixtures("tiny_tiles")
def test_the_operator_promises_a_graph_the_shapes_and_strides_that_it_delivers(
    x: Tensor, y: Tensor | None, needs: tuple[bool, bool]
) -> None:
    needs_x, needs_y = needs[0], needs[1] and y is not None
    x = x.clone().requires_grad_(needs_x)
    y = None if y is None else y.clone().requires_grad_(needs_y)
    # Not its last check, which differentiates the gradients as well: a graph has no second derivative of the
    # operator.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        autograd.opaque_log_potential, (x, y, None, None, 2.0, 45, needs_x, needs_y), test_utils=checks
    )


@pytest.mark.parametrize(("x", "y"), OPERATOR_INPUTS.values(), ids=OPERATOR_INPUTS)
@pytest.mark.usefixtures("tiny_tiles")
def test_the_operator_agrees_with_the_eager_path(x: Tensor, y: Tensor | None) -> None:
    x = x.clone().requires_grad_()
    y = None if y is None else y.clone().requires_grad_()
    inputs = [x] if y is None else [x, y]
    value, *_ = autograd.opaque_log_potential(x, y, None, None, 2.0, 45, True, y is not None)
    eager = engine.log_potential(x, 2.0, 45, y=y)
    close(value.detach(), eager.detach())
    grads = zip(
        torch.autograd.grad(value.sum(), inputs), torch.autograd.grad(eager.sum(), inputs), strict=True
    )
    for grad, expected in grads:
        close(grad, expected)
