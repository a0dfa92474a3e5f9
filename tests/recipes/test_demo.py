"""The parts of a recipe: data, views, encoders, the loop, and the two evaluations."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from align_uniform import AlignUniformLoss
from align_uniform.recipes.encoders.networks import SmallConvNet
from align_uniform.recipes.images.digits import load_tensors, random_views
from align_uniform.recipes.judge.knn import knn_predict
from align_uniform.recipes.judge.logistic import linear_predict
from align_uniform.recipes.small_two_view import Schedule, train


def flat_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    split = load_tensors(size=8)
    return split.train.images.flatten(1), split.train.labels, split.test.images.flatten(1), split.test.labels


def test_outputs_have_unit_norm_and_features_are_the_layer_before_the_head() -> None:
    encoder = SmallConvNet(dim=5)
    images = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(encoder(images).norm(dim=1), torch.ones(3))
    assert encoder.features(images).shape == (3, SmallConvNet.FEATURES)


def test_training_lowers_the_loss_and_is_the_same_for_the_same_seed() -> None:
    images = load_tensors().train.images[:256]

    def run() -> tuple[list[float], Tensor]:
        torch.manual_seed(0)
        encoder = SmallConvNet(dim=8)
        losses: list[float] = []
        train(
            encoder,
            images,
            random_views,
            AlignUniformLoss(),
            Schedule(steps=12, batch_size=64),
            losses.append,
        )
        return losses, torch.cat([weight.detach().flatten() for weight in encoder.parameters()])

    (losses, weights), (_, again) = run(), run()
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.1
    assert torch.equal(weights, again)


@pytest.mark.parametrize(("option", "value"), [("steps", 0), ("batch_size", 1), ("learning_rate", 0.0)])
def test_a_schedule_that_cannot_be_run_is_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} must be .*{value}"):
        Schedule(**{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [1, 5])
def test_nearest_neighbours_are_those_of_scikit_learn(k: int) -> None:
    train_rows, train_labels, test_rows, _ = flat_digits()
    oracle = KNeighborsClassifier(k, metric="cosine").fit(train_rows.numpy(), train_labels.numpy())
    predicted = knn_predict(train_rows, train_labels, test_rows, k, block=50)
    assert (predicted.numpy() == oracle.predict(test_rows.numpy())).mean() > 0.99  # but for equal distances


def test_an_impossible_number_of_neighbours_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and the 3 training rows, got 4"):
        knn_predict(torch.eye(3), torch.arange(3), torch.eye(3), k=4)


def test_the_linear_classifier_is_that_of_scikit_learn() -> None:
    train_rows, train_labels, test_rows, test_labels = flat_digits()
    scaler = StandardScaler().fit(train_rows.numpy())
    oracle = LogisticRegression(C=1 / (1e-3 * len(train_rows)), max_iter=2000, tol=1e-6)
    oracle.fit(scaler.transform(train_rows.numpy()), train_labels.numpy())
    predicted = linear_predict(train_rows, train_labels, test_rows)
    assert (predicted.numpy() == oracle.predict(scaler.transform(test_rows.numpy()))).mean() > 0.99
    assert (predicted == test_labels).double().mean() > 0.95
