"""Sums over logits, in one sweep and in blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform import contrastive_loss, engine
from align_uniform.engine import routes, tiles
from tests import rows
from tests.engine.outputs import Outputs


def close(value: Tensor, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        value, torch.as_tensor(expected, dtype=torch.float64).expand_as(value), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("limit", [1, 12, 40, 10_000])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_log_sums_of_logits_do_not_depend_on_the_blocks(
    batch: tuple[int, ...], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "PLAIN_PAIRS", limit)
    x, y = rows.normal(*batch, 9, 3), rows.normal(*batch, 7, 3, seed=1)
    row_sums, column_sums = engine.log_sum_exp(x, y, columns=True)
    assert column_sums is not None
    logits = x @ y.mT
    close(row_sums, logits.logsumexp(-1))
    close(column_sums, logits.logsumexp(-2))
    assert len(engine.log_sum_exp(x, y, columns=False)) == 1


@pytest.mark.parametrize("scale", [1, 1000], ids="logits up to {}".format)
@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_one_sweep_gives_the_log_sums_of_rows_and_their_gradient(
    batch: tuple[int, ...], size: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "PLAIN_LOGITS", 0)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: size)
    x, y = rows.normal(*batch, 9, 3).mul_(scale).requires_grad_(), rows.normal(*batch, 7, 3, seed=1)
    weights = rows.normal(*batch, 9, seed=2)
    (sums,) = engine.log_sum_exp(x, y, columns=False)
    expected = (x @ y.mT).logsumexp(-1)
    close(sums, expected)
    found, true = (torch.autograd.grad((weights * each).sum(), x)[0] for each in (sums, expected))
    close(found, true)


def test_the_gradient_of_log_sums_of_rows_is_itself_differentiable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "PLAIN_LOGITS", 0)
    x, y = rows.normal(5, 3).requires_grad_(), rows.normal(7, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: engine.log_sum_exp(x, y, columns=False), x)
    assert torch.autograd.gradgradcheck(lambda x: engine.log_sum_exp(x, y, columns=False), x)


def test_the_contrastive_loss_with_a_queue_keeps_no_matrix_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "PLAIN_LOGITS", 0)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: 8)
    x, y = rows.unit(2, 64, 4)
    queue = rows.unit(512, 4, seed=1)
    with Outputs() as outputs:
        contrastive_loss(x.requires_grad_(), y, 0.1, negatives=queue).backward()
    assert outputs.largest <= queue.numel()
