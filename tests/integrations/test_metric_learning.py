"""The loss and the regulariser in pytorch-metric-learning, on handwritten digits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor

from align_uniform import measure
from align_uniform.integrations.metric_learning import AlignUniformLoss, UniformityRegularizer
from tests.integrations.digits import images_and_labels, small_encoder
from tests.integrations.pages import run_page
from tests.rows import normal, unit

LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3])


def test_the_page_trains_an_encoder() -> None:
    images, labels = images_and_labels()
    encoder = small_encoder()
    before = measure(encoder(images).detach(), labels=labels.tolist())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run_page("metric-learning", {"images": images, "labels": labels, "encoder": encoder})
    after = measure(encoder(images).detach(), labels=labels.tolist())
    assert after.uniform.value < before.uniform.value - 0.5
    assert before.align is not None
    assert after.align is not None
    assert (after.align.relative or 1) < (before.align.relative or 0) - 0.2


def squares(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x.double(), y.double()).square()


def test_rows_of_one_label_are_pairs_and_all_others_are_kept_apart() -> None:
    x = unit(8, 4)
    same = LABELS[:, None] == LABELS
    positive = same & ~torch.eye(8, dtype=torch.bool)
    distances = squares(x, x)
    expected = 2 * distances[positive].sqrt().mean() + 0.5 * (-3 * distances[~same]).exp().mean().log()
    found = AlignUniformLoss(2, 0.5, 1, 3)(5 * x, LABELS)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_references_with_labels_are_the_other_side_of_all_pairs() -> None:
    x, y, others = unit(8, 4), unit(5, 4, seed=1), torch.tensor([0, 1, 1, 4, 2])
    same, distances = LABELS[:, None] == others, squares(x, y)
    expected = distances[same].mean() + (-2 * distances[~same]).exp().mean().log()
    found = AlignUniformLoss()(x, LABELS, ref_emb=y, ref_labels=others)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_references_without_labels_are_the_other_view() -> None:
    x, y = unit(8, 4), unit(8, 4, seed=1)
    expected = measure(x, y)
    assert expected.align is not None
    found = AlignUniformLoss()(x, ref_emb=y)
    assert float(found) == pytest.approx(expected.align.value + expected.uniform.value, rel=1e-5)


def test_a_miner_chooses_the_positive_pairs() -> None:
    x = unit(8, 4)
    mined = BatchHardMiner()(x, LABELS)
    loss = AlignUniformLoss(reducer=DoNothingReducer())
    found = loss(x, LABELS, mined)
    hardest = (x[mined[0]] - x[mined[1]]).square().sum(1).mean()
    torch.testing.assert_close(found["align_loss"]["losses"], hardest)
    torch.testing.assert_close(found["uniform_loss"]["losses"], loss(x, LABELS)["uniform_loss"]["losses"])


@pytest.mark.parametrize(
    ("labels", "is_zero"), [(torch.arange(8), "align_loss"), (torch.ones(8), "uniform_loss")]
)
def test_a_batch_without_pairs_of_a_kind_has_a_gradient_still(labels: Tensor, is_zero: str) -> None:
    x = normal(8, 4).requires_grad_()
    loss = AlignUniformLoss(reducer=DoNothingReducer())
    found = loss(x, labels.long())
    assert found[is_zero]["losses"].item() == 0
    AlignUniformLoss()(x, labels.long()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_the_regulariser_is_the_uniformity_of_the_batch_times_its_weight() -> None:
    x = normal(30, 4)
    labels = torch.arange(30) // 3
    loss = TripletMarginLoss(embedding_regularizer=UniformityRegularizer(t=3), embedding_reg_weight=0.5)
    expected = float(TripletMarginLoss()(x, labels)) + 0.5 * measure(x, t=3).uniform.value
    assert float(loss(x, labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pass labels, or the other view as ref_emb"),
        ({"labels": LABELS, "ref_emb": unit(8, 4, seed=1)}, "labels and ref_labels go together"),
    ],
)
def test_rows_without_positive_pairs_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlignUniformLoss()(unit(8, 4), **arguments)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="leave out distance"):
        AlignUniformLoss(distance=None)
    with pytest.raises(ValueError, match="t must be"):
        UniformityRegularizer(t=0)
