"""Tests that nothing waits for a value: fake tensors on a GPU, meta tensors, and graphs for other sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from align_uniform.engine import routes
from tests import rows
from tests.as_they_are import align_loss, contrastive_loss, uniform_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    # each of two views and of a queue of as many rows
    "align": lambda x, y, _z: align_loss(x, y),
    "align alpha=1": lambda x, y, _z: align_loss(x, y, 1),
    "align views": lambda x, y, z: align_loss(torch.stack([x, y, z])),
    "align normalize": lambda x, y, _z: align_loss(x, y, normalize=True),
    "uniform": lambda x, _y, _z: uniform_loss(x),
    "uniform t=60": lambda x, _y, _z: uniform_loss(x, 60),
    "uniform negatives": lambda x, _y, z: uniform_loss(x, negatives=z),
    "uniform negatives alone": lambda x, _y, z: uniform_loss(x, negatives=z, intra_batch=False),
    "uniform ids": lambda x, _y, _z: uniform_loss(x, ids=numbers(x) // 2),
    "uniform negatives ids": lambda x, _y, z: uniform_loss(
        x, negatives=z, ids=numbers(x), negative_ids=numbers(z) + 1
    ),
    "contrastive": lambda x, y, _z: contrastive_loss(x, y, 0.1),
    "contrastive tau": lambda x, y, _z: contrastive_loss(x, y, torch.full((), 0.1, device=x.device)),
    "contrastive tau on a CPU": lambda x, y, z: contrastive_loss(x, y, torch.full((), 0.1), negatives=z),
    "contrastive ids": lambda x, y, _z: contrastive_loss(x, y, 0.1, ids=numbers(x) // 2),
    "contrastive negatives": lambda x, y, z: contrastive_loss(x, y, 0.1, negatives=z),
    "contrastive negatives ids": lambda x, y, z: contrastive_loss(
        x, y, 0.1, negatives=z, ids=numbers(x), negative_ids=numbers(z) + 1
    ),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def numbers(x: Tensor) -> Tensor:
    return torch.arange(x.shape[0], device=x.device)


def views(n: int, *, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return list(rows.unit(3, n, 8, dtype=dtype))


@pytest.fixture(params=["tiles", "triton"])
def engine_of_gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with each engine that CUDA tensors may take; torch sees the kernel as an operator."""
    if request.param == "triton":
        pytest.importorskip("triton")
    monkeypatch.setattr(routes, "chosen_engine", lambda: request.param)
    return str(request.param)


# ---------------------------------------------------------------------------------------------- fake and meta


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("n", [64, 5000], ids=["small", "tiles"])
@pytest.mark.parametrize("requires_grad", [True, False], ids=["with gradient", "value alone"])
@pytest.mark.usefixtures("engine_of_gpus")
def test_no_loss_asks_a_gpu_for_a_value(loss: Loss, n: int, dtype: torch.dtype, requires_grad: bool) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), Operators() as operators:
        x, y, z = (
            torch.empty(n, 32, device="cuda", dtype=dtype, requires_grad=requires_grad) for _ in range(3)
        )
        value = loss(x, y, z)
    assert not operators.copies
    assert value.device.type == "cuda"
    assert value.dtype == torch.float32
    assert value.shape == ()


def test_the_probe_sees_a_loss_that_asks() -> None:
    with FakeTensorMode():
        largest = uniform_loss(torch.empty(64, 32, device="cuda"))
        with pytest.raises(DataDependentOutputException):
            largest.item()


@each_loss
def test_shapes_flow_through_meta_tensors(loss: Loss) -> None:
    value = loss(*(z.to("meta") for z in views(20)))
    assert value.device.type == "meta"
    assert value.dtype == torch.float64
    assert value.shape == ()


class Operators(TorchDispatchMode):
    """The operators that compute something; views and allocations launch nothing on a GPU."""

    FREE = ("view", "unsafe_view", "unsqueeze", "expand", "detach", "empty", "promote_types", "device")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.called: list[str] = []
        self.copies: list[str] = []
        """The operators that copy a tensor from the CPU, which waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in self.FREE:
            self.called.append(name)
        result = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and args[0].device.type == "cpu" and result.device.type == "cuda":
            self.copies.append(name)
        return result


def test_a_small_value_and_gradient_is_few_operators_beside_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(routes, "chosen_engine", lambda: "triton")
    with FakeTensorMode(), Operators() as operators:
        value = uniform_loss(torch.empty(256, 128, device="cuda", requires_grad=True))
    assert operators.called.count("fused_log_potential") == 1
    operators.called.remove("fused_log_potential")
    # The gradient is found with the value; one operator is left for the backward pass: times the gradient of
    # the value.
    assert len(operators.called) + 1 <= 2, operators.called
    assert type(value.grad_fn).__name__ == "_EagerLogPotentialBackward"


# ----------------------------------------------------------------------------------------------------- graphs


@each_loss
@pytest.mark.parametrize("tracing_mode", ["real", "symbolic"])
def test_make_fx_records_no_value_of_the_rows_it_saw(
    loss: Loss, tracing_mode: Literal["real", "symbolic"]
) -> None:
    graph = make_fx(loss, tracing_mode=tracing_mode)(*views(20))
    other = views(20 if tracing_mode == "real" else 31)
    other[0] = 30 * other[0] + 5
    torch.testing.assert_close(graph(*other), loss(*other), rtol=1e-9, atol=1e-9)


class Module(nn.Module):
    """A loss as a module that torch can export."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return self.loss(x, y, z)


@each_loss
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "not strict"])
def test_an_exported_loss_serves_batches_of_any_size(loss: Loss, strict: bool) -> None:
    torch._dynamo.reset()
    batch = torch.export.Dim("batch", min=2, max=10**6)
    program = torch.export.export(
        Module(loss), tuple(views(20)), dynamic_shapes=({0: batch},) * 3, strict=strict
    )
    for n in (4, 33, 3000):  # the last has more pairs than a compiled graph would hold
        other = views(n)
        torch.testing.assert_close(program.module()(*other), loss(*other), rtol=1e-9, atol=1e-9)
