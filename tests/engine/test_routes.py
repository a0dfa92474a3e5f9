"""Tests of the choice of the engine, and of what may be read from a tensor."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from align_uniform import uniform_loss
from align_uniform.engine import routes
from tests import rows


@pytest.fixture
def fresh_choice() -> Iterator[None]:
    """Read the environment again, now and after the test."""
    routes.chosen_engine.cache_clear()
    yield
    routes.chosen_engine.cache_clear()


@pytest.mark.usefixtures("fresh_choice")
@pytest.mark.parametrize("installed", [True, False])
def test_the_engine_is_the_kernel_where_triton_is_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.delenv(routes.ENGINE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if installed else None)
    assert routes.chosen_engine() == ("triton" if installed else "tiles")


@pytest.mark.usefixtures("fresh_choice")
def test_the_tile_loop_computes_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(routes.ENGINE, "tiles")
    assert routes.chosen_engine() == "tiles"
    with FakeTensorMode():
        assert not routes.takes_kernel(torch.empty(4, 256, device="cuda"))


@pytest.mark.usefixtures("fresh_choice")
def test_an_unknown_engine_is_refused_at_the_first_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(routes.ENGINE, "cuda")
    with pytest.raises(
        ValueError, match=r"ALIGN_UNIFORM_ENGINE must be tiles or triton, got 'cuda'; run: unset ALIGN"
    ):
        uniform_loss(rows.unit(5, 3))


@pytest.mark.usefixtures("fresh_choice")
def test_the_kernel_without_triton_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(routes.ENGINE, "triton")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="not installed; run: pip install triton"):
        uniform_loss(rows.unit(5, 3))


def test_the_kernel_takes_narrow_rows_of_float32_and_less_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "chosen_engine", lambda: "triton")
    monkeypatch.setattr(routes, "is_interpreted", lambda: False)
    with FakeTensorMode():
        gpu = torch.empty(4, 1024, device="cuda")
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            assert routes.takes_kernel(gpu.to(dtype))
        assert not routes.takes_kernel(gpu.double())
        assert not routes.takes_kernel(gpu, gpu.double())
        assert not routes.takes_kernel(torch.empty(4, 1025, device="cuda"))
    assert not routes.takes_kernel(torch.empty(4, 8))
    monkeypatch.setattr(routes, "is_interpreted", lambda: True)
    monkeypatch.delenv(routes.ENGINE, raising=False)
    assert not routes.takes_kernel(torch.empty(4, 8))
    monkeypatch.setenv(routes.ENGINE, "triton")
    assert routes.takes_kernel(torch.empty(4, 8))
    monkeypatch.setattr(routes, "chosen_engine", lambda: "tiles")
    assert not routes.takes_kernel(torch.empty(4, 8))


def test_a_value_may_be_asked_of_a_plain_tensor_on_a_cpu_alone() -> None:
    x = rows.unit(4, 3)
    assert routes.may_ask(x)
    assert routes.may_ask(nn.Parameter(x))
    assert not routes.may_ask(x.to("meta"))
    with FakeTensorMode() as mode:
        assert not routes.may_ask(mode.from_tensor(x))
        assert not routes.may_ask(torch.empty(4, 3))
    asked: list[bool] = []
    torch.func.vmap(lambda row: asked.append(routes.may_ask(row)) or row)(x)  # type: ignore[func-returns-value]
    assert asked == [False]
