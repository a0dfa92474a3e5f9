"""Sums over logits, in one sweep and in blocks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform import engine
from align_uniform.engine import logits, tiles
from align_uniform.engine.mask import Mask
from tests import rows
from tests.as_they_are import contrastive_loss
from tests.engine.outputs import Outputs


def close(value: Tensor, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        value, torch.as_tensor(expected, dtype=torch.float64).expand_as(value), rtol=tolerance, atol=tolerance
    )


MASKS = {
    "all pairs": Mask(),
    "own pair": Mask(skip=0),
    "own pair, later": Mask(skip=2),
    "ids": Mask(None, torch.arange(9) % 4, torch.arange(9) % 3),
    "ids and own pair": Mask(0, torch.arange(9) % 4, torch.arange(9) % 3),
    "rows of which no pair counts": Mask(
        None, torch.tensor([5, 0, 5, 0, 1, 0, 0, 0, 0]), torch.full((9,), 5)
    ),
}


def masked(logits: Tensor, mask: Mask) -> Tensor:
    left_out = torch.zeros(logits.shape[-2:], dtype=torch.bool)
    if mask.skip is not None:
        left_out |= torch.eye(32, dtype=torch.bool)[: logits.shape[-2], :][:, : logits.shape[-1]].roll(
            mask.skip, 1
        )
        left_out[:, : mask.skip] = False
    if mask.ids is not None and mask.column_ids is not None:
        left_out |= mask.ids[:, None] == mask.column_ids
    return logits.masked_fill(left_out, -math.inf)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("scale", [1, 1000], ids="logits up to {}".format)
@pytest.mark.parametrize("size", [1, 3, 100], ids="tiles of {}".format)
@pytest.mark.parametrize("kept", [0, 20, 200], ids="{} logits kept".format)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_log_sums_and_their_gradients_are_those_of_the_matrix(
    batch: tuple[int, ...],
    kept: int,
    size: int,
    scale: float,
    mask: Mask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logits, "KEPT_LOGITS", kept)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: size)
    x, y = (
        rows.normal(*batch, 9, 3).mul_(scale).requires_grad_(),
        rows.normal(*batch, 9, 3, seed=1).requires_grad_(),
    )
    ids, y_ids = (z if z is None else z.expand(*batch, -1) for z in (mask.ids, mask.column_ids))
    sums = engine.log_sum_exp(x, y, 1.0, skip=mask.skip, ids=ids, y_ids=y_ids)
    rows_alone = engine.log_sum_exp(x, y.detach(), 1.0, skip=mask.skip, ids=ids, y_ids=y_ids)
    truth = masked(x @ y.mT, mask).logsumexp(-1)
    check_against(sums, truth, (x, y))
    check_against(rows_alone, truth, (x,))


@pytest.mark.parametrize(
    "ids", [None, torch.arange(9) % 4, torch.zeros(9, dtype=torch.int64)], ids=["none", "four", "one"]
)
@pytest.mark.parametrize("scale", [1, 1000], ids="logits up to {}".format)
@pytest.mark.parametrize("size", [1, 3, 100], ids="tiles of {}".format)
@pytest.mark.parametrize("kept", [0, 20, 200], ids="{} logits kept".format)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_log_odds_and_their_gradients_are_those_of_the_matrix(
    batch: tuple[int, ...],
    kept: int,
    size: int,
    scale: float,
    ids: Tensor | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logits, "KEPT_LOGITS", kept)
    monkeypatch.setattr(logits, "WEIGHED_ROWS", 2)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: size)
    x, y = (
        rows.normal(*batch, 9, 3).mul_(scale).requires_grad_(),
        rows.normal(*batch, 9, 3, seed=1).requires_grad_(),
    )
    odds = engine.log_odds(x, y, 1.0, ids=None if ids is None else ids.expand(*batch, -1))
    matrix = masked(x @ y.mT, Mask(0, ids, ids))
    truth = torch.stack([matrix.logsumexp(-1), matrix.logsumexp(-2)], -2) - (x * y).sum(-1).unsqueeze(-2)
    check_against(odds, truth, (x, y))


@pytest.mark.parametrize("ids", [False, True], ids=["no ids", "ids"])
@pytest.mark.parametrize("scale", [1, 1000], ids="logits up to {}".format)
@pytest.mark.parametrize("kept", [0, 20, 200], ids="{} logits kept".format)
@pytest.mark.parametrize("skip", [0, 3, 7])
def test_one_sweep_gives_the_log_sums_of_rows_and_columns(
    skip: int, kept: int, scale: float, ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits, "KEPT_LOGITS", kept)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: 3)
    x, y = rows.normal(5, 3).mul_(scale).requires_grad_(), rows.normal(12, 3, seed=1).requires_grad_()
    of_x, of_y = (torch.arange(5) % 3, torch.arange(12) % 4) if ids else (None, None)
    found = engine.log_sums(x, y, 1.0, skip=skip, ids=of_x, y_ids=of_y)
    matrix = masked(x @ y.T, Mask(skip, of_x, of_y))
    for dim, sums in zip((1, 0), found, strict=True):
        check_against(sums, matrix.logsumexp(dim), (x, y))


def check_against(sums: Tensor, truth: Tensor, leaves: tuple[Tensor, ...]) -> None:
    close(sums.detach(), truth.detach())
    # Where nothing is summed, no gradient may come of it; such a sum has no weight in a loss.
    weights = rows.normal(*truth.shape, seed=2).masked_fill(truth == -math.inf, 0)
    grads = torch.autograd.grad(sums, leaves, weights, retain_graph=True)
    expected = torch.autograd.grad(
        truth.masked_fill(truth == -math.inf, 0), leaves, weights, retain_graph=True
    )
    for grad, part in zip(grads, expected, strict=True):
        close(grad, part.nan_to_num(0), 1e-10)


@pytest.mark.parametrize("scale", [1, 1000], ids="logits up to {}".format)
@pytest.mark.parametrize("size", [1, 3, 18, 100])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_one_sweep_gives_the_log_sums_of_rows_and_their_gradient(
    batch: tuple[int, ...], size: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "tile_size", lambda *_: size)
    monkeypatch.setattr(tiles, "FLAT_TILE", 6)  # several tiles of columns, also where one holds all rows
    x, y = rows.normal(*batch, 9, 3).mul_(scale).requires_grad_(), rows.normal(*batch, 7, 3, seed=1)
    weights = rows.normal(*batch, 9, seed=2)
    sums = engine.log_sum_exp(x, y, 1.0)
    expected = (x @ y.mT).logsumexp(-1)
    close(sums, expected)
    found, true = (torch.autograd.grad((weights * each).sum(), x)[0] for each in (sums, expected))
    close(found, true)


def test_the_gradient_of_log_sums_of_rows_is_itself_differentiable() -> None:
    x, y = rows.normal(5, 3).requires_grad_(), rows.normal(7, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: engine.log_sum_exp(x, y, 1.0), x)
    assert torch.autograd.gradgradcheck(lambda x: engine.log_sum_exp(x, y, 1.0), x)


@pytest.mark.parametrize("learned", [False, True], ids=["constant queue", "queue with a gradient"])
def test_the_contrastive_loss_with_a_queue_keeps_no_matrix_of_logits(
    learned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits, "KEPT_LOGITS", 64)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: 8)
    monkeypatch.setattr(tiles, "FLAT_TILE", 64)
    x, y = rows.unit(2, 64, 4)
    queue = rows.unit(512, 4, seed=1).requires_grad_(learned)
    with Outputs() as outputs:
        contrastive_loss(x.requires_grad_(), y, 0.1, negatives=queue).backward()
    assert outputs.largest <= queue.numel()


def test_a_process_without_rows_has_sums_of_the_same_dtype_under_autocast() -> None:
    everyones = rows.unit(5, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for count in (2, 0):
            own = everyones[:count]
            found = [*engine.log_sums(own, everyones, 1.0, skip=0), engine.log_sum_exp(own, everyones, 1.0)]
            assert {each.dtype for each in found} == {torch.float32}
