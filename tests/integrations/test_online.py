"""Uniformity over the last steps: that of `measure` on the rows of the window, with its error."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform import measure, uniform_loss
from align_uniform.integrations.online import OnlineUniformity
from tests.rows import normal, unit


def fed(online: OnlineUniformity, *steps: tuple[Tensor, ...]) -> OnlineUniformity:
    for views in steps:
        online.update(*views)
    return online


def test_the_window_is_measured_as_measure_would() -> None:
    x, y = normal(200, 8, seed=1), normal(200, 8, seed=2)
    online = OnlineUniformity(t=3, steps=5)
    fed(online, *zip(x.split(20), y.split(20), strict=True))
    expected = measure(x[100:], y[100:], t=3).uniform
    found = online.compute()
    assert found is not None
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-9)
    assert (len(online), online.width) == (100, 8)


def test_a_batch_of_items_alike_has_another_value_than_the_window_of_the_set() -> None:
    batches = [unit(1, 16, seed=seed) + 0.1 * normal(16, 16, seed=seed + 99) for seed in range(40)]
    online = fed(OnlineUniformity(), *((batch,) for batch in batches))
    found = online.compute()
    assert found is not None
    assert found.value == pytest.approx(float(uniform_loss(torch.cat(batches), normalize=True)), abs=1e-6)
    of_batches = sum(float(uniform_loss(batch, normalize=True)) for batch in batches) / len(batches)
    assert of_batches > found.value + 1


def test_the_error_is_that_of_the_mean_over_many_windows() -> None:
    values, errors = [], []
    for seed in range(60):
        rows = normal(400, 4, seed=seed) + torch.tensor([1.0, 0, 0, 0])
        found = fed(OnlineUniformity(steps=10), *((part,) for part in rows.split(40))).compute()
        assert found is not None
        assert found.stderr is not None
        values.append(found.value)
        errors.append(found.stderr)
    spread = float(torch.tensor(values).std())
    assert spread == pytest.approx(sum(errors) / len(errors), rel=0.25)


def test_the_oldest_steps_beyond_the_rows_are_dropped_and_the_last_is_kept() -> None:
    online = fed(OnlineUniformity(max_rows=50), *((normal(20, 4),) for _ in range(6)))
    assert len(online) == 40
    online.update(normal(70, 4))
    assert len(online) == 70


def test_rows_that_cannot_be_measured_are_left_out() -> None:
    x = normal(40, 4)
    spoilt = x.clone()
    spoilt[3, 2], spoilt[7, 0], spoilt[9] = math.nan, math.inf, 0
    found = fed(OnlineUniformity(), (spoilt,)).compute()
    kept = [row for row in range(40) if row not in (3, 7, 9)]
    assert found is not None
    assert found.value == pytest.approx(measure(x[kept]).uniform.value)


def test_few_rows_have_no_value_yet() -> None:
    online = OnlineUniformity()
    assert online.compute() is None
    online.update(torch.eye(3))
    assert all(math.isnan(value) for value in online.scalars().values())
    online.reset()
    assert (len(online), online.width) == (0, 0)


def test_the_window_keeps_no_graph() -> None:
    x = normal(8, 4).requires_grad_()
    online = fed(OnlineUniformity(), (2 * x,))
    assert not online._steps[0].requires_grad


def test_half_precision_is_measured_in_float32() -> None:
    x = normal(64, 8).bfloat16()
    found = fed(OnlineUniformity(), (x,)).compute()
    assert found is not None
    assert found.value == pytest.approx(measure(x.float()).uniform.value, rel=1e-6)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ((torch.eye(3), torch.eye(4)), r"of one shape, got \[\[3, 3\], \[4, 4\]\]"),
        ((torch.ones(2, 3, 4),), "of one shape"),
        ((torch.ones(8, 5),), "1 view of 4 features"),
        ((torch.ones(8, 4), torch.ones(8, 4)), "got 2 of 4; call reset"),
    ],
)
def test_steps_that_do_not_fit_are_refused(views: tuple[Tensor, ...], message: str) -> None:
    online = fed(OnlineUniformity(), (torch.ones(8, 4),))
    with pytest.raises(ValueError, match=message):
        online.update(*views)


@pytest.mark.parametrize("name", ["steps", "max_rows", "t"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be"):
        OnlineUniformity(**settings)


def test_the_settings_are_shown() -> None:
    assert repr(OnlineUniformity(steps=3)) == "OnlineUniformity(t=2, steps=3, max_rows=8192, normalize=True)"
