"""Tests of ids: pairs of one id are no negatives; several views of an item are positives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests import oracle, rows
from tests.as_they_are import (
    AlignLoss,
    AlignUniformLoss,
    ContrastiveLoss,
    UniformLoss,
    align_loss,
    contrastive_loss,
    uniform_loss,
)

IDS = {
    "an item twice": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3],
    "classes": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1],
    "views of items": [5, 5, 5, -2, -2, -2, 9, 9, 9, 10**12, 10**12],
    "padding": [0, 1, 2, 3, 4, 5, 6, -1, -1, -1, -1],
}
QUEUE_IDS = [0, 5, 10**12, -1, 3, 3, 77]
each_ids = pytest.mark.parametrize("ids", IDS.values(), ids=IDS)


def close(value: Any, expected: Any, tolerance: float = 1e-12) -> None:
    value, expected = (torch.as_tensor(z, dtype=torch.float64) for z in (value, expected))
    torch.testing.assert_close(value, expected, rtol=0, atol=tolerance)


def gradient(loss: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [z.clone().requires_grad_() for z in inputs]
    return torch.autograd.grad(loss(*leaves), leaves)


@each_ids
@pytest.mark.parametrize("t", [0.5, 2, 300], ids="t={}".format)
@pytest.mark.parametrize("queue", [None, [], QUEUE_IDS], ids=["no queue", "queue without ids", "queue"])
@pytest.mark.usefixtures("route")
def test_uniformity_is_the_log_mean_over_pairs_of_different_ids(
    queue: list[int] | None, t: float, ids: list[int], device: str
) -> None:
    x, z = rows.unit(11, 3), rows.unit(7, 3, seed=1)
    own, others = torch.tensor(ids, device=device), torch.tensor(queue, device=device) if queue else None
    options: dict[str, Any] = {"ids": ids}
    if queue is not None:
        options["negatives"] = oracle.numbers(z)
    if queue:
        options["negative_ids"] = queue

    def loss(x: Tensor, z: Tensor) -> Tensor:
        negatives = None if queue is None else z.to(device)
        value = uniform_loss(x.to(device), t, negatives=negatives, ids=own, negative_ids=others)
        return value + 0 * z.sum().to(device)

    close(loss(x, z).cpu(), oracle.uniform(oracle.numbers(x), t, **options), 1e-11)
    for grad, expected in zip(
        gradient(loss, x, z), oracle.uniform_gradient(oracle.numbers(x), t, **options), strict=True
    ):
        close(grad, np.zeros_like(oracle.numbers(z)) if expected is None else expected, 1e-9)


@each_ids
@pytest.mark.parametrize("tau", [0.01, 0.5])
@pytest.mark.usefixtures("route")
def test_contrastive_leaves_the_logits_of_one_id_out_of_the_denominator(tau: float, ids: list[int]) -> None:
    x, y, z = rows.unit(11, 3), rows.unit(11, 3, seed=1), rows.unit(7, 3, seed=2)
    a, b, c = (oracle.numbers(part) for part in (x, y, z))
    close(contrastive_loss(x, y, tau, ids=torch.tensor(ids)), oracle.contrastive(a, b, tau, ids=ids), 1e-11)
    value = contrastive_loss(
        x, y, tau, negatives=z, ids=torch.tensor(ids), negative_ids=torch.tensor(QUEUE_IDS)
    )
    close(value, oracle.contrastive(a, b, tau, negatives=c, ids=ids, negative_ids=QUEUE_IDS), 1e-11)


@pytest.mark.usefixtures("route")
def test_ids_that_are_all_different_change_nothing() -> None:
    x, y, z = rows.unit(3, 9, 4)
    ids, others = torch.arange(9), torch.arange(9, 18)
    close(uniform_loss(x, ids=ids), uniform_loss(x), 1e-13)
    close(uniform_loss(x, negatives=z, ids=ids, negative_ids=others), uniform_loss(x, negatives=z), 1e-13)
    close(uniform_loss(x, negatives=z, ids=ids), uniform_loss(x, negatives=z), 1e-13)
    close(contrastive_loss(x, y, 0.2, ids=ids), contrastive_loss(x, y, 0.2), 1e-13)
    close(
        contrastive_loss(x, y, 0.2, negatives=z, ids=ids, negative_ids=others),
        contrastive_loss(x, y, 0.2, negatives=z),
        1e-13,
    )


@pytest.mark.usefixtures("route")
def test_a_row_that_has_no_negative_left_contributes_0() -> None:
    x, y, z = rows.unit(3, 6, 4)
    x, y = x[:2], y[:2]

    def loss(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return contrastive_loss(
            x, y, 0.3, negatives=z, ids=torch.tensor([4, 1]), negative_ids=torch.full((6,), 4)
        )

    close(loss(x, y, z), contrastive_loss(x[1:], y[1:], 0.3, negatives=z) / 2, 1e-13)
    for part in gradient(loss, x, y, z)[:2]:
        assert torch.equal(part[0], torch.zeros(4, dtype=torch.float64))
        assert part[1].abs().min() > 0
    everyone_of_one_item = torch.zeros(2, dtype=torch.int64)
    assert contrastive_loss(x, y, 0.3, ids=everyone_of_one_item) == 0
    assert all(
        not part.any()
        for part in gradient(lambda x, y: contrastive_loss(x, y, 0.3, ids=everyone_of_one_item), x, y)
    )


def test_no_pair_left_is_an_error_where_it_can_be_known_and_nan_where_not() -> None:
    x = rows.unit(3, 5, 2)
    same = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match="ids must leave at least one pair"):
        uniform_loss(x[0], ids=same)
    assert uniform_loss(x[0], ids=same, negatives=x[1]).isfinite()
    assert torch.func.vmap(lambda x: uniform_loss(x, ids=same))(x).isnan().all()


@pytest.mark.parametrize("t", [0.1, 2, 30])
@pytest.mark.parametrize("many", [False, True], ids=["one tile", "tiles"])
def test_a_batch_of_one_item_leaves_the_pairs_with_its_queue(many: bool, t: float, route: str) -> None:
    n = 5 if not many else 800 if route == "whole" else 41  # "tiles" have three rows each
    x, z = rows.unit(n, 3), rows.unit(4, 3, seed=1)
    same = torch.zeros(n, dtype=torch.int64)

    def loss(x: Tensor) -> Tensor:
        return uniform_loss(x, t, ids=same, negatives=z)

    def queue_alone(x: Tensor) -> Tensor:
        return uniform_loss(x, t, negatives=z, intra_batch=False)

    close(loss(x), queue_alone(x))
    close(gradient(loss, x)[0], gradient(queue_alone, x)[0])
    close(gradient(lambda x: loss(x).float(), x.float())[0], gradient(queue_alone, x)[0], 1e-5)
    few = x[:5]
    same = same[:5]
    close(torch.func.jvp(loss, (few,), (few,))[1], torch.func.jvp(queue_alone, (few,), (few,))[1])
    close(
        torch.func.jacrev(torch.func.grad(loss))(few),
        torch.func.jacrev(torch.func.grad(queue_alone))(few),
        1e-10,
    )


def test_one_batch_of_one_item_leaves_the_gradients_of_the_others() -> None:
    x, z = rows.unit(2, 4, 3), rows.unit(3, 3, seed=1)
    ids = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3]])
    (grad,) = gradient(lambda x: uniform_loss(x, ids=ids, negatives=z).sum(), x)
    close(grad[0], gradient(lambda x: uniform_loss(x, negatives=z, intra_batch=False), x[0])[0])
    close(grad[1], gradient(lambda x: uniform_loss(x, negatives=z), x[1])[0])


def test_ids_that_are_all_different_change_not_one_bit() -> None:
    x = rows.unit(1500, 8, dtype=torch.float32)
    assert torch.equal(uniform_loss(x, ids=torch.arange(1500)), uniform_loss(x))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool], ids=str)
def test_ids_may_be_any_whole_numbers(dtype: torch.dtype) -> None:
    x = rows.unit(5, 2)
    ids = torch.tensor([0, 1, 0, 1, 1])
    close(uniform_loss(x, ids=ids.to(dtype)), uniform_loss(x, ids=ids), 1e-14)


@pytest.mark.usefixtures("route")
def test_ids_may_differ_between_batches() -> None:
    x, z = rows.unit(2, 6, 3), rows.unit(2, 4, 3, seed=1)
    ids, z_ids = (
        torch.tensor([[0, 0, 1, 1, 2, 2], [5, 6, 7, 8, 8, 8]]),
        torch.tensor([[0, 9, 9, 9], [8, 8, 5, 1]]),
    )
    together = uniform_loss(x, negatives=z, ids=ids, negative_ids=z_ids)
    for i in range(2):
        close(together[i], uniform_loss(x[i], negatives=z[i], ids=ids[i], negative_ids=z_ids[i]), 1e-13)
        close(
            contrastive_loss(x, x + 1, 0.5, ids=ids)[i],
            contrastive_loss(x[i], x[i] + 1, 0.5, ids=ids[i]),
            1e-13,
        )


def test_wrong_ids_are_refused_with_a_remedy() -> None:
    x, z = rows.unit(6, 3), rows.unit(4, 3)
    ids, z_ids = torch.arange(6), torch.arange(4)
    wrong: list[tuple[Callable[[], Tensor], str]] = [
        (
            lambda: uniform_loss(x, ids=[0] * 6),  # type: ignore[arg-type]
            r"ids must be a torch.Tensor, got list; use torch.as_tensor\(ids\)",
        ),
        (
            lambda: uniform_loss(x, ids=ids.float()),
            r"ids must be whole numbers, got torch.float32; use ids.long\(\)",
        ),
        (lambda: uniform_loss(x, ids=z_ids), r"ids must be \[6\], one for each row of x.* got shape \[4\]"),
        (lambda: uniform_loss(x, ids=ids[:, None]), r"ids must be \[6\]"),
        (lambda: uniform_loss(x, negatives=z, negative_ids=z_ids), "pass ids and negatives too"),
        (lambda: uniform_loss(x, ids=ids, negative_ids=z_ids), "pass ids and negatives too"),
        (
            lambda: uniform_loss(x, negatives=z, ids=ids, negative_ids=ids),
            "negative_ids must be .4., one for each row of neg",
        ),
        (
            lambda: uniform_loss(x, negatives=z, intra_batch=False, ids=ids),
            "pass negative_ids, or leave ids out",
        ),
        (lambda: contrastive_loss(x, x, 0.5, negatives=z, ids=ids), "pass negative_ids, or leave ids out"),
        (
            lambda: uniform_loss(x, ids=ids.to("meta")),
            r"ids must be on the device of x, cpu, got meta; use ids.to\(x.device\)",
        ),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_modules_pass_ids_on() -> None:
    x, y, z = rows.unit(3, 6, 4)
    ids, z_ids = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 2, 3, 4, 5])
    options = {"negatives": z, "ids": ids, "negative_ids": z_ids}
    close(UniformLoss()(x, **options), uniform_loss(x, **options))
    close(ContrastiveLoss(0.5)(x, y, **options), contrastive_loss(x, y, 0.5, **options))
    terms = AlignUniformLoss().terms(x, y, ids=ids)
    close(terms.uniform, (uniform_loss(x, ids=ids) + uniform_loss(y, ids=ids)) / 2)
    close(AlignUniformLoss()(x, y, ids=ids), terms.total)


# ------------------------------------------------------------------------------------------ several positives


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 3])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_alignment_of_views_is_the_mean_over_pairs_of_views(count: int, alpha: float) -> None:
    views = rows.unit(count, 7, 4)
    close(align_loss(views, alpha=alpha), oracle.align_views(oracle.numbers(views), alpha), 1e-13)
    each = [oracle.align_views(oracle.numbers(views[:, i : i + 1]), alpha) for i in range(7)]
    close(align_loss(views, alpha=alpha, reduction="none"), each, 1e-13)
    close(AlignLoss(alpha)(views), align_loss(views, alpha=alpha), 1e-14)
    if count == 2:
        close(align_loss(views, alpha=alpha), align_loss(views[0], views[1], alpha), 1e-14)


def test_alignment_of_views_normalises_and_keeps_leading_dimensions() -> None:
    views = rows.normal(2, 3, 7, 4)
    close(align_loss(views, normalize=True), align_loss(normalize(views, dim=-1)), 1e-14)
    assert align_loss(views, reduction="none").shape == (2, 7)


def test_equal_views_have_gradient_0_for_every_alpha() -> None:
    views = rows.unit(1, 4, 3, dtype=torch.float32).repeat(3, 1, 1)
    for alpha in (0.5, 1, 2):
        (grad,) = gradient(lambda views, alpha=alpha: align_loss(views, alpha=alpha), views)
        assert torch.equal(grad, torch.zeros_like(grad))


def test_one_view_is_no_positive_pair() -> None:
    with pytest.raises(ValueError, match=r"without y, x must be \[V, N, m\].*pass the second view as y"):
        align_loss(rows.unit(5, 3))
    with pytest.raises(ValueError, match=r"without y, x must be \[V, N, m\]"):
        align_loss(rows.unit(1, 5, 3))


# ------------------------------------------------------------------------------------ numbers near the limits


@pytest.mark.usefixtures("tile_loop")
def test_rows_far_from_their_centre_are_computed_in_float64_on_a_cpu() -> None:
    x = torch.tensor([[1234.567, 0], [1234.568, 0], [-1234.567, 0], [-1234.568, 0]])
    value = uniform_loss(x)
    assert value.dtype == torch.float32
    close(value, math.log(1 / 3), 1e-5)  # two of six pairs are near
    close(value, oracle.uniform(oracle.numbers(x)), 2e-7)
    close(
        uniform_loss(x, negatives=x.flip(0)),
        oracle.uniform(oracle.numbers(x), negatives=oracle.numbers(x.flip(0))),
        1e-6,
    )


@pytest.mark.parametrize("n", [40, 900], ids=["one tile", "tiles"])
@pytest.mark.parametrize("t", [2, 30])
@pytest.mark.usefixtures("tile_loop")
def test_unnormalised_rows_have_the_gradient_of_float64(t: float, n: int) -> None:
    x = 100 * rows.normal(n, 5, dtype=torch.float32)
    x[1::2] = x[::2] + 1e-3 * rows.normal(n // 2, 5, dtype=torch.float32)  # near pairs among far ones
    close(uniform_loss(x, t), uniform_loss(x.double(), t), 2e-6)
    (grad,), (expected,) = (
        gradient(lambda x: uniform_loss(x, t), x),
        gradient(lambda x: uniform_loss(x, t), x.double()),
    )
    assert grad.dtype == torch.float32
    close(grad / expected.abs().max(), expected / expected.abs().max(), 1e-6)


@pytest.mark.usefixtures("route")
def test_uniformity_never_exceeds_0_through_rounding() -> None:
    x = (rows.unit(1, 16) * 900).float().repeat(50, 1)
    for t in (1e-3, 2, 400):
        assert uniform_loss(x, t) <= 0
        assert uniform_loss(x, t, negatives=x) <= 0


@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.usefixtures("route")
def test_the_contrastive_loss_of_well_told_pairs_is_small_and_not_negative(queue: bool) -> None:
    x = 10 * rows.unit(32, 64, dtype=torch.float32)
    y = x + 1e-3 * rows.normal(32, 64, dtype=torch.float32)
    negatives = -x if queue else None
    assert 0 <= contrastive_loss(x, y, 0.02, negatives=negatives) < 1e-6
    a, b = oracle.numbers(x), oracle.numbers(y)
    truth = oracle.contrastive(a, b, 8.0, negatives=-a if queue else None)
    close(contrastive_loss(x, y, 8.0, negatives=negatives) / truth, 1, 1e-5)
