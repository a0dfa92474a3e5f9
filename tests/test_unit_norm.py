"""Tests that losses say once that rows are far from unit norm, where nobody chose and asking is free."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import align_uniform
from align_uniform import (
    AlignLoss,
    AlignUniformLoss,
    ContrastiveLoss,
    UniformLoss,
    _unit_norm,
    align_loss,
    contrastive_loss,
    uniform_loss,
    w2_loss,
)
from tests import rows

UNIT = rows.unit(6, 4, dtype=torch.float32)
FAR = 3 * UNIT

CALLS: dict[str, tuple[Callable[..., Tensor], str]] = {
    # a call with rows that are far from unit norm, and what the warning calls them
    "align": (lambda **choice: align_loss(FAR, UNIT, **choice), "those of x"),
    "align, second view": (lambda **choice: align_loss(UNIT, FAR, **choice), "those of y"),
    "align, views": (lambda **choice: align_loss(torch.stack([UNIT, FAR]), **choice), "those of x"),
    "align, no reduction": (lambda **choice: align_loss(FAR, UNIT, reduction="none", **choice), "of x"),
    "uniform": (lambda **choice: uniform_loss(FAR, **choice), "those of x"),
    "uniform, queue": (lambda **choice: uniform_loss(UNIT, negatives=FAR, **choice), "those of negatives"),
    "uniform, halves": (lambda **choice: uniform_loss(FAR.half(), **choice), "those of x"),
    "uniform, gradient": (lambda **choice: uniform_loss(FAR.clone().requires_grad_(), **choice), "of x"),
    "w2": (lambda **choice: w2_loss(FAR, **choice), "those of x"),
    "contrastive": (lambda **choice: contrastive_loss(UNIT, FAR, 0.5, **choice), "those of y"),
    "contrastive, queue": (
        lambda **choice: contrastive_loss(UNIT, UNIT, 0.5, negatives=FAR, **choice),
        "those of negatives",
    ),
    "AlignLoss": (lambda **choice: AlignLoss(**choice)(FAR, UNIT), "align_loss"),
    "UniformLoss": (lambda **choice: UniformLoss(**choice)(FAR), "uniform_loss"),
    "ContrastiveLoss": (lambda **choice: ContrastiveLoss(0.5, **choice)(FAR, UNIT), "contrastive_loss"),
    "AlignUniformLoss": (lambda **choice: AlignUniformLoss(**choice)(FAR, UNIT), "align_loss"),
}


@pytest.mark.parametrize(("call", "words"), CALLS.values(), ids=CALLS)
def test_rows_far_from_unit_norm_are_told_once_at_the_line_that_calls(
    call: Callable[..., Tensor], words: str
) -> None:
    with pytest.warns(UserWarning, match=f"{words}.*normalize=True.*normalize=False") as told:
        value = call()
    assert [warning.filename for warning in told] == [__file__]
    assert torch.equal(call(), value)  # and no second warning, which would be an error here


@pytest.mark.parametrize("choice", [True, False])
@pytest.mark.parametrize("call", [call for call, _ in CALLS.values()], ids=CALLS)
def test_whoever_chooses_is_not_warned(call: Callable[..., Tensor], choice: bool) -> None:
    call(normalize=choice)


@pytest.mark.parametrize(("call", "words"), CALLS.values(), ids=CALLS)
def test_nobody_choosing_means_rows_as_they_are(call: Callable[..., Tensor], words: str) -> None:
    with pytest.warns(UserWarning, match="normalize"):
        value = call()
    assert torch.equal(value, call(normalize=False))


UNIT_ENOUGH = {
    "float64": rows.unit(50, 8),
    "bfloat16": rows.unit(50, 8, dtype=torch.bfloat16),
    "eight bits": (rows.unit(50, 8) * 127).round() / 127,
    "padding": torch.cat([UNIT, torch.zeros(3, 4)]),
    "a norm of 1.04": 1.04 * UNIT,
    "not a number": torch.full((5, 3), float("nan")),
}


@pytest.mark.parametrize("x", UNIT_ENOUGH.values(), ids=UNIT_ENOUGH)
def test_rows_of_about_unit_norm_are_not_told(x: Tensor) -> None:
    uniform_loss(x)
    assert not _unit_norm.asked.warned


def test_rows_are_looked_at_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(_unit_norm, "_look", lambda *_: looked.append(_unit_norm.asked.calls))
    for _ in range(40):
        uniform_loss(UNIT)
    assert looked == [1, 2, 4, 8, 16, 32]
    uniform_loss(FAR, normalize=False)
    assert _unit_norm.asked.calls == 40


def test_a_later_call_is_told_too() -> None:
    align_loss(UNIT, UNIT)
    with pytest.warns(UserWarning, match="those of x have norms from 3 to 3"):
        uniform_loss(FAR)


def _fake(x: Tensor) -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        return uniform_loss(mode.from_tensor(x))


SILENT: dict[str, Callable[[Tensor], Any]] = {
    "meta": lambda x: uniform_loss(x.to("meta")),
    "fake": _fake,
    "vmap": lambda x: torch.func.vmap(uniform_loss)(x[None]),
    "grad": lambda x: torch.func.grad(uniform_loss)(x),
    "make_fx": lambda x: torch.fx.experimental.proxy_tensor.make_fx(lambda z: uniform_loss(z))(x),
    "compile": lambda x: torch.compile(lambda z: uniform_loss(z), backend="eager", fullgraph=True)(x),
    "export": lambda x: torch.export.export(_Exported(), (x,)).module()(x),
}


class _Exported(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return uniform_loss(x)


@pytest.mark.parametrize("call", SILENT.values(), ids=SILENT)
def test_nothing_is_asked_where_asking_is_not_free(call: Callable[[Tensor], Any]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?!.*normalize)")  # torch's own on its transforms
        call(FAR)
    assert not _unit_norm.asked.warned


def test_measuring_has_the_same_tolerance() -> None:
    for norm, names in ((1.04, []), (1.06, ["not on the sphere"])):
        found = align_uniform.measure(norm * rows.unit(60, 8), normalize=False).findings
        assert [finding.name for finding in found] == names
