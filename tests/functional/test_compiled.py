"""Tests of the three losses in compiled graphs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import rows
from tests.as_they_are import align_loss, contrastive_loss, uniform_loss
from tests.functional.references import (
    close,
    gradient,
)

OLD_COMPILER = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13)
"""Whether compiling looks like exporting."""


OBJECTIVES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "align and uniform": lambda x, y, _z: (
        align_loss(x, y, normalize=True) + (uniform_loss(x) + uniform_loss(y, 50)) / 2
    ),
    "uniform with negatives": lambda x, y, z: (
        uniform_loss(x, negatives=y) + uniform_loss(y, negatives=z, intra_batch=False)
    ),
    "contrastive": lambda x, y, z: contrastive_loss(x, y, 0.3) + contrastive_loss(x, y, 0.3, negatives=z),
}


@pytest.fixture(params=["in the graph", "opaque"])
def compiled_route(request: pytest.FixtureRequest) -> str:
    """Take both ways through a compiled graph: the plain formula, and the sweep as one operator.

    The second is for more pairs.
    """
    request.getfixturevalue("compiler")
    if request.param == "opaque":
        request.getfixturevalue("tiny_tiles")
    return str(request.param)


def training_step(encoder: nn.Module, views: Tensor, z: Tensor, objective: Callable[..., Tensor]) -> Tensor:
    x, y = encoder(views)
    return objective(x, y, z)


@pytest.mark.usefixtures("compiled_route")
def assert_step_equals_eager(objective: Callable[..., Tensor], **options: Any) -> None:
    encoder = nn.Linear(6, 4).double()
    step = torch.compile(training_step, fullgraph=True, **options)
    views, z = rows.normal(2, 10, 6), rows.normal(7, 4, seed=1)
    results = []
    for function in (training_step, step):
        encoder.zero_grad()
        loss = function(encoder, views, z, objective)
        torch.autograd.backward(loss)
        results.append((loss.detach(), *(parameter.grad for parameter in encoder.parameters())))
    for compiled, eager in zip(*results, strict=True):
        close(compiled, eager, 1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_training_step_equals_the_eager_one(objective: Callable[..., Tensor]) -> None:
    assert_step_equals_eager(objective, backend="aot_eager")


@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="inductor needs a C++ compiler"
)
@pytest.mark.usefixtures("compiler", "tiny_tiles")
def test_inductor_compiles_a_training_step_through_both_routes() -> None:
    # Rows that lie transposed in memory: a graph trusts the strides that an opaque operator promises.
    def objective(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        whole = uniform_loss(x[:3]) + uniform_loss(y[:3], negatives=z[:3])
        return whole + uniform_loss(x.mT.contiguous().mT) + uniform_loss(y.mT.contiguous().mT, negatives=z)

    assert_step_equals_eager(objective, backend="inductor")


def test_a_graph_holds_the_opaque_sweep_only_for_many_pairs(compiled_route: str) -> None:
    targets: list[str] = []

    def record(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch.compile(lambda x: uniform_loss(x), fullgraph=True, backend=record)(rows.normal(10, 3))
    assert any("align_uniform" in target for target in targets) == (
        compiled_route == "opaque" and not OLD_COMPILER
    )


@pytest.mark.usefixtures("compiled_route")
def test_one_compiled_graph_serves_batches_of_any_size() -> None:
    def objective(x: Tensor, z: Tensor) -> Tensor:
        return uniform_loss(x) + uniform_loss(x, negatives=z) + contrastive_loss(x, x + 1, 0.4, negatives=z)

    compiled = torch.compile(objective, fullgraph=True, backend="aot_eager", dynamic=True)
    for i, (n, m) in enumerate([(10, 7), (13, 9), (6, 30)]):
        x, z = rows.normal(n, 3, seed=i), rows.normal(m, 3, seed=i + 50)
        with torch.compiler.set_stance("fail_on_recompile" if i else "default"):
            compiled_parts = gradient(compiled, x, z)
        for part, expected in zip(compiled_parts, gradient(objective, x, z), strict=True):
            close(part, expected, 1e-12)


@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_jvp_is_right_at_any_size_and_never_silently_zero() -> None:
    x, direction, z = rows.normal(10, 3), rows.normal(10, 3, seed=1), rows.normal(7, 3, seed=2)

    def loss(x: Tensor) -> Tensor:
        return uniform_loss(x) + uniform_loss(x, negatives=z, intra_batch=False)

    compiled = torch.compile(
        lambda x, direction: torch.func.jvp(loss, (x,), (direction,))[1], fullgraph=True, backend="aot_eager"
    )
    close(compiled(x, direction), (gradient(loss, x)[0] * direction).sum(), 1e-12)


@pytest.mark.usefixtures("compiled_route")
def test_a_jvp_of_a_compiled_loss_is_an_error_of_torch() -> None:
    x, direction = rows.normal(10, 3), rows.normal(10, 3, seed=1)
    compiled = torch.compile(lambda x: uniform_loss(x), fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match=r"torch.func.jvp.* is not supported"):
        torch.func.jvp(compiled, (x,), (direction,))


@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_grad_and_vmap_are_right_at_any_size() -> None:
    x = rows.normal(3, 10, 2)
    compiled = torch.compile(
        torch.func.vmap(torch.func.grad(uniform_loss)), fullgraph=True, backend="aot_eager"
    )
    close(compiled(x), gradient(lambda x: uniform_loss(x).sum(), x)[0], 1e-12)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_second_derivative_of_a_compiled_loss_is_right_or_an_error_and_never_a_wrong_number(
    backend: str, compiled_route: str
) -> None:
    def gradient_of_penalised_loss(loss: Callable[[Tensor], Tensor]) -> Tensor:
        x = rows.normal(10, 3).requires_grad_()
        value = loss(x)
        (grad,) = torch.autograd.grad(value, x, create_graph=True)
        torch.autograd.backward(value + grad.square().sum())
        assert x.grad is not None
        return x.grad

    compiled = torch.compile(lambda x: uniform_loss(x), fullgraph=True, backend=backend)
    if backend == "eager" and compiled_route == "in the graph" and not OLD_COMPILER:
        close(gradient_of_penalised_loss(compiled), gradient_of_penalised_loss(uniform_loss), 1e-12)
    else:
        with pytest.raises(RuntimeError, match=r"second derivative|double backward"):
            gradient_of_penalised_loss(compiled)


@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_step_under_autocast_keeps_float32() -> None:
    x, z = rows.unit(20, 8, dtype=torch.float32), rows.unit(12, 8, seed=1, dtype=torch.float32)

    def loss(x: Tensor, z: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (
                uniform_loss(x)
                + uniform_loss(x, negatives=z)
                + contrastive_loss(x, x.flip(0), 0.2, negatives=z)
            )

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    close(compiled(x, z), loss(x.double(), z.double()), 5e-6)
    for part, expected in zip(gradient(compiled, x, z), gradient(loss, x.double(), z.double()), strict=True):
        close(part, expected, 5e-6)
