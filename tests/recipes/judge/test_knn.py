"""Nearest neighbours: as scikit-learn and a loop in numpy find them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from align_uniform.recipes.judge import knn
from align_uniform.recipes.judge.knn import knn_predict, knn_rank, knn_scores
from tests import rows

CLASSES = 8


def clustered(n: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) * 5 % CLASSES
    centres = rows.normal(CLASSES, 6, seed=0)
    return (centres[labels] + 1.5 * rows.normal(n, 6, seed=seed)).to(dtype), labels


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "TRAIN_BLOCK", 7)


def loop(
    train: Tensor, labels: Tensor, test: Tensor, k: int, vote: Callable[[float], float]
) -> list[list[int]]:
    """Five classes of most votes for each row, -1 where there are no more; the nearest goes first where two
    tie.
    """
    ranked = []
    for row in test.numpy():
        cosines = [
            float(row @ other / np.linalg.norm(row) / np.linalg.norm(other)) for other in train.numpy()
        ]
        neighbours = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
        votes: dict[int, float] = {}
        for neighbour in neighbours:  # nearest first, and `sorted` keeps that order among equals
            label = int(labels[neighbour])
            votes[label] = votes.get(label, 0) + vote(cosines[neighbour])
        best = sorted(votes, key=lambda label: -votes[label])[:5]
        ranked.append(best + [-1] * (5 - len(best)))
    return ranked


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("weight", ["votes", "softmax"])
@pytest.mark.parametrize("blocks", ["whole", "blocks"])
def test_ranks_are_those_of_a_loop(k: int, weight: Any, blocks: str, request: pytest.FixtureRequest) -> None:
    if blocks == "blocks":
        request.getfixturevalue("small_blocks")
    (train, labels), (test, _) = clustered(150, 1), clustered(60, 2)
    expected = loop(train, labels, test, k, lambda cosine: 1 if weight == "votes" else math.exp(cosine / 0.1))
    ranked = knn_rank(train, labels, test, k, weight=weight, tau=0.1, block=13)
    assert ranked.tolist() == expected


@pytest.mark.parametrize("k", [1, 5, 15])
def test_predictions_are_those_of_scikit_learn(k: int) -> None:
    (train, labels), (test, _) = clustered(400, 1), clustered(200, 2)
    # scikit-learn breaks a tie by the class's number: compare where the first two classes have different
    # numbers of votes.
    oracle = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(train.numpy(), labels.numpy())
    votes = np.sort(oracle.predict_proba(test.numpy()), axis=1)
    clear = votes[:, -1] > votes[:, -2] + 1e-9
    assert clear.mean() > 0.5
    predicted = knn_predict(train, labels, test, k).numpy()
    assert (predicted[clear] == oracle.predict(test.numpy())[clear]).all()


def test_the_weighted_vote_is_that_of_scikit_learn() -> None:
    (train, labels), (test, _) = clustered(400, 1), clustered(200, 2)
    oracle = KNeighborsClassifier(
        50, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    )
    oracle.fit(train.numpy(), labels.numpy())
    predicted = knn_rank(train, labels, test, 50, weight="softmax")[:, 0].numpy()
    assert (predicted == oracle.predict(test.numpy())).all()


def test_the_nearest_decides_between_equal_votes() -> None:
    angles = torch.tensor([0.1, 0.2, 0.3, 0.4])
    train = torch.stack([angles.cos(), angles.sin()], 1)
    test = torch.tensor([[1.0, 0.0], [math.cos(0.41), math.sin(0.41)]])
    labels = torch.tensor([1, 0, 0, 1])
    assert knn_rank(train, labels, test, 4).tolist() == [[1, 0], [1, 0]]
    assert knn_rank(train, torch.tensor([1, 0, 1, 0]), test, 4).tolist() == [[1, 0], [0, 1]]


def test_a_small_temperature_overflows_nothing() -> None:
    (train, labels), (test, _) = clustered(150, 1, torch.float32), clustered(60, 2, torch.float32)
    ranked = knn_rank(train, labels, test, 30, weight="softmax", tau=1e-3)
    assert torch.equal(ranked[:, 0], knn_predict(train, labels, test, 1))  # the nearest alone counts
    assert (ranked >= 0).all()


def test_the_length_of_a_row_does_not_matter() -> None:
    (train, labels), (test, _) = clustered(150, 1), clustered(60, 2)
    lengths = torch.linspace(0.1, 10, 150, dtype=torch.float64)[:, None]
    assert torch.equal(knn_rank(train * lengths, labels, test * 3), knn_rank(train, labels, test))


def test_half_precision_is_widened() -> None:
    (train, labels), (test, _) = clustered(150, 1, torch.float16), clustered(60, 2, torch.float16)
    assert torch.equal(knn_rank(train, labels, test), knn_rank(train.float(), labels, test.float()))


def test_scores_are_of_the_ranks_and_add_up() -> None:
    (train, labels), (test, test_labels) = clustered(150, 1), clustered(60, 2)
    scores = knn_scores(train, labels, test, test_labels)
    expected = knn_predict(train, labels, test) == test_labels
    assert scores.top1 == pytest.approx(expected.double().mean().item())
    assert scores.top5 is not None
    assert scores.top5 > scores.top1 > 1.5 / CLASSES
    parts = [
        knn_scores(train, labels, some, their, classes=CLASSES)
        for some, their in zip(test.split([0, 11, 49]), test_labels.split([0, 11, 49]), strict=True)
    ]
    assert parts[0] + parts[1] + parts[2] == scores


def test_a_process_without_test_images_has_no_features_of_them_either() -> None:
    train, labels = clustered(20, 1)
    assert knn_scores(train, labels, torch.empty(0, 0), torch.empty(0, dtype=torch.long)).n == 0


def test_classes_may_have_names_and_some_may_not_be_trained_on() -> None:
    scores = knn_scores(
        torch.eye(2), torch.tensor([0, 1]), torch.eye(2), torch.tensor([0, 2]), 1, classes=["a", "b", "c"]
    )
    assert scores.per_class["a"] == 1
    assert scores.per_class["c"] == 0
    assert math.isnan(scores.per_class["b"])


def test_computing_on_a_device_gives_the_same(device: str) -> None:
    (train, labels), (test, _) = clustered(150, 1, torch.float32), clustered(60, 2, torch.float32)
    ranked = knn_rank(train.to(device), labels.to(device), test.to(device))
    assert (
        ranked.cpu() == knn_rank(train, labels, test)
    ).double().mean() > 0.98  # but for nearly equal distances


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 4}, "k must be between 1 and the 3 training rows, got 4"),
        ({"k": 0}, "got 0"),
        ({"k": 1, "weight": "distance"}, "weight must be one of 'votes', 'softmax', got 'distance'"),
        ({"k": 1, "tau": 0.0}, "tau must be a finite number above 0"),
        ({"k": 1, "classes": 2}, "train_labels must be from 0 and below 2, .* got 0 to 2"),
        ({"k": 1, "train_labels": torch.arange(2)}, r"train_labels must be \[3\].*got \[2\]"),
        (
            {"k": 1, "test_features": torch.eye(4)},
            "must have one number of features, .* take both from the same layer",
        ),
        ({"k": 1, "test_features": torch.full((1, 3), math.nan)}, "test_features must be finite"),
        ({"k": 1, "train_features": torch.full((3, 3), math.inf)}, "train_features must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    arguments = {
        "train_features": torch.eye(3),
        "train_labels": torch.arange(3),
        "test_features": torch.eye(3),
    } | options
    with pytest.raises(ValueError, match=message):
        knn_rank(**arguments)
