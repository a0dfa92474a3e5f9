"""The exact linear classifier: scikit-learn's, and no other has a smaller loss."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from align_uniform.recipes.judge.logistic import fit_linear, linear_predict, linear_scores
from tests import rows
from tests.recipes.judge.frozen_encoder import whole
from tests.recipes.judge.linear_worker import CLASSES


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_exact_classifier_is_that_of_scikit_learn(l2: float, dtype: torch.dtype) -> None:
    found, labels = whole(300, 1)
    held, _ = whole(200, 2)
    oracle = LogisticRegression(C=1 / (l2 * len(found)), max_iter=5000, tol=1e-9).fit(
        found.numpy(), labels.numpy()
    )
    classifier = fit_linear(found.to(dtype), labels, l2=l2, standardize=False, tolerance=1e-8)
    assert classifier.weight.dtype == dtype
    torch.testing.assert_close(
        classifier.weight.double(), torch.from_numpy(oracle.coef_), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        classifier.bias.double(), torch.from_numpy(oracle.intercept_), rtol=1e-4, atol=1e-4
    )
    predicted = classifier(held.to(dtype)).argmax(1)
    assert (predicted.numpy() == oracle.predict(held.numpy())).all()


def objective(classifier: nn.Linear, found: Tensor, labels: Tensor, l2: float) -> float:
    logits = classifier(found).detach().numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    weight = classifier.weight.detach().numpy()
    return float(
        -log_probabilities[np.arange(len(labels)), labels.numpy()].mean() + l2 / 2 * (weight**2).sum()
    )


def test_no_other_classifier_has_a_smaller_loss() -> None:
    found, labels = whole(300, 1)
    classifier = fit_linear(found, labels, l2=1e-2, standardize=False)
    least = objective(classifier, found, labels, 1e-2)
    for seed in range(10):
        other = copy.deepcopy(classifier)
        with torch.no_grad():
            other.weight.add_(rows.normal(*other.weight.shape, seed=seed), alpha=0.01)
            other.bias.add_(rows.normal(*other.bias.shape, seed=seed + 100), alpha=0.01)
        assert objective(other, found, labels, 1e-2) > least


def test_standardised_the_scale_and_the_place_of_a_feature_do_not_matter() -> None:
    found, labels = whole(300, 1)
    held, _ = whole(200, 2)
    plain = fit_linear(found, labels, tolerance=1e-8)
    scale, shift = torch.logspace(-3, 3, 10, dtype=torch.float64), torch.arange(10)
    moved = fit_linear(found * scale + shift, labels, tolerance=1e-8)
    torch.testing.assert_close(moved(held * scale + shift), plain(held), rtol=1e-5, atol=1e-5)


def test_standardised_it_is_scikit_learn_after_its_scaler() -> None:
    found, labels = whole(300, 1)
    found = torch.cat([found, torch.ones(300, 1, dtype=torch.float64)], 1)  # a feature that never differs
    scaler = StandardScaler().fit(found.numpy())
    oracle = LogisticRegression(C=1 / (1e-3 * 300), max_iter=5000, tol=1e-9)
    oracle.fit(scaler.transform(found.numpy()), labels.numpy())
    expected = torch.from_numpy(oracle.decision_function(scaler.transform(found.numpy())))
    torch.testing.assert_close(
        fit_linear(found, labels, tolerance=1e-8)(found), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_feature_that_is_the_same_in_every_row_has_no_say(dtype: torch.dtype) -> None:
    found, labels = whole(301, 1)
    more = torch.cat([found, torch.full((301, 1), 0.1)], 1).to(dtype)
    classifier = fit_linear(more, labels)
    assert classifier.weight[:, -1].abs().max() < 1e-6
    torch.testing.assert_close(
        classifier(more), fit_linear(found.to(dtype), labels)(found.to(dtype)), rtol=1e-4, atol=1e-4
    )


def test_predictions_and_scores_are_of_the_same_classifier() -> None:
    (found, labels), (held, held_labels) = whole(300, 1), whole(200, 2)
    scores = linear_scores(found, labels, held, held_labels)
    predicted = linear_predict(found, labels, held)
    assert scores.top1 == pytest.approx((predicted == held_labels).double().mean().item())
    assert scores.top1 > 0.5
    halves = [
        linear_scores(found, labels, held[part], held_labels[part], classes=CLASSES)
        for part in (slice(0, 90), slice(90, None))
    ]
    assert halves[0] + halves[1] == scores
    assert linear_scores(found, labels, torch.empty(0, 0), labels[:0]).n == 0


def test_a_minimum_that_is_not_reached_is_told() -> None:
    found, labels = whole(300, 1)
    with pytest.warns(
        RuntimeWarning, match=r"did not reach its minimum: its gradient is .* after 3 iterations, .*; raise"
    ):
        fit_linear(found, labels, iterations=3)


def test_a_class_that_is_not_there_is_not_predicted() -> None:
    found, labels = whole(300, 1)
    assert fit_linear(found, labels, 9)(found).argmax(1).max() < 7


def test_fitting_under_no_grad_works() -> None:
    found, labels = whole(50, 1)
    with torch.no_grad():
        expected = fit_linear(found, labels)
    assert torch.equal(expected.weight, fit_linear(found, labels).weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": torch.arange(2)}, r"features must be \[N, m\] and labels \[N\].*got \[3, 3\] and \[2\]"),
        ({"features": torch.empty(0, 3), "labels": torch.empty(0)}, "N at least 1"),
        ({"features": torch.full((3, 3), math.nan)}, "features must be finite"),
        ({"labels": torch.tensor([0, -1, 1])}, "labels must be from 0.* got -1 to 1"),
        ({"classes": 2}, "below 2, .* got 0 to 2"),
        ({"l2": 0.0}, "l2 must be a finite number above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_linear(**{"features": torch.eye(3), "labels": torch.arange(3)} | arguments)
