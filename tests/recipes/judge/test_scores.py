"""Scores: counted as numpy counts, added up over batches and processes, and kept as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from align_uniform.recipes.judge.scores import Scores, over_ranks, score, wilson
from tests import rows
from tests.processes import found_by
from tests.recipes.judge import linear_worker
from tests.recipes.judge.linear_worker import CLASSES, SHARDS


def logits_and_labels(n: int = 200, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) * 3 % classes
    logits = rows.normal(n, classes, seed=1)
    logits[torch.arange(n), labels] += 1
    return logits, labels


def shares(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Of top-1 and top-5, by sorting."""
    order = np.argsort(-logits.numpy(), axis=1, kind="stable")
    hits = order == labels.numpy()[:, None]
    return float(hits[:, 0].mean()), float(hits[:, :5].any(1).mean())


def test_shares_are_those_of_sorting() -> None:
    logits, labels = logits_and_labels()
    scores = score(logits, labels, CLASSES)
    assert (scores.top1, scores.top5) == shares(logits, labels)
    assert scores.top5 is not None
    assert 0 < scores.top1 < scores.top5 < 1
    assert scores.n == 200


def test_of_equal_logits_the_class_of_smaller_number_goes_first() -> None:
    logits, labels = logits_and_labels()
    coarse = (logits / 2).round()
    scores = score(coarse, labels, CLASSES)
    assert (scores.top1, scores.top5) == shares(coarse, labels)
    assert score(torch.zeros(8, 8), torch.arange(8), 8).top1 == 1 / 8


def test_each_class_has_its_own_share() -> None:
    logits, labels = logits_and_labels()
    scores = score(logits, labels, CLASSES)
    right = logits.argmax(1) == labels
    for number in range(CLASSES):
        assert scores.per_class[str(number)] == pytest.approx(right[labels == number].double().mean().item())


def test_ranked_classes_score_as_the_logits_they_come_from() -> None:
    logits, labels = logits_and_labels()
    expected = score(logits, labels, CLASSES)
    assert score(logits.topk(5).indices, labels, CLASSES) == expected
    assert score(logits.topk(7).indices, labels, CLASSES) == expected
    alone = score(logits.argmax(1), labels, CLASSES)
    assert (alone.first, alone.top5, alone.top5_interval) == (expected.first, None, None)


def test_a_class_that_is_not_ranked_is_not_among_the_five() -> None:
    ranked = torch.tensor([[3, 1, -1, -1, -1], [2, -1, -1, -1, -1]])
    scores = score(ranked, torch.tensor([1, 0]), 6)
    assert (sum(scores.first), scores.among_five) == (0, (0, 1, 0, 0, 0, 0))


def test_five_of_five_classes_say_nothing() -> None:
    assert score(torch.eye(5), torch.arange(5), 5).top5 is None


@pytest.mark.parametrize("cuts", [[200], [1, 0, 199], [50, 50, 100]])
def test_batches_add_up_to_the_whole(cuts: list[int]) -> None:
    logits, labels = logits_and_labels()
    total, *others = (
        score(part, their, CLASSES)
        for part, their in zip(logits.split(cuts), labels.split(cuts), strict=True)
    )
    for other in others:
        total = total + other
    assert total == score(logits, labels, CLASSES)


def test_scores_of_different_classes_or_ranks_are_not_added() -> None:
    one = score(torch.eye(3), torch.arange(3), ["ant", "bee", "cat"])
    with pytest.raises(ValueError, match=r"same classes .* got 3 \(ant, bee, cat\) and 4 \(0, 1, 2, …\)"):
        one + score(torch.eye(4), torch.arange(4), 4)
    with pytest.raises(ValueError, match="score both in the same way"):
        score(torch.eye(6), torch.arange(6), 6) + score(torch.arange(6), torch.arange(6), 6)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (10, 10), (353, 360), (5000, 10000)])
def test_the_interval_holds_the_shares_that_the_count_does_not_refute(successes: int, n: int) -> None:
    # Wilson's bounds are the shares p at which the count is 1.96 standard deviations of p from n p.
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            z = (successes - n * bound) / math.sqrt(n * bound * (1 - bound))
            assert abs(z) == pytest.approx(1.959964, abs=1e-5)


def test_the_interval_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0, 1)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1


def test_the_interval_covers_the_true_share_as_often_as_it_says() -> None:
    counts = np.random.default_rng(0).binomial(300, 0.9, size=4000)
    covered = [low <= 0.9 <= high for low, high in (wilson(int(count), 300) for count in counts)]
    assert 0.935 < np.mean(covered) < 0.965


@pytest.mark.parametrize("ranked", [5, 1])
def test_json_keeps_everything(ranked: int) -> None:
    logits, labels = logits_and_labels()
    scores = score(logits.topk(ranked).indices, labels, CLASSES)
    document = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert Scores.from_dict(document) == scores
    assert document["top1"] == scores.top1
    assert document["per_class"][3]["top1"] == scores.per_class["3"]


def test_json_of_other_things_is_refused() -> None:
    with pytest.raises(ValueError, match="schema_version must be 1, got None"):
        Scores.from_dict({"top1": 0.5})


def test_no_image_is_no_number() -> None:
    scores = score(torch.empty(0, 6), torch.empty(0, dtype=torch.long), 6)
    assert scores.n == 0
    assert math.isnan(scores.top1)
    document = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert document["top1"] is None
    assert Scores.from_dict(document) == scores
    assert "-" in str(scores)


def test_the_table_has_a_row_for_every_class() -> None:
    ranking = torch.tensor([0, 0, 1, 2])
    table = str(score(ranking, torch.tensor([0, 0, 0, 2]), ["ant", "bumblebee", "cat"])).splitlines()
    assert table[0] == "top-1 of 4 images: 75.00%, 95% interval 30.06 to 95.44%"
    assert [line.split()[:3] for line in table[3:]] == [
        ["ant", "3", "66.67"],
        ["bumblebee", "0", "-"],
        ["cat", "1", "100.00"],
    ]


@pytest.mark.parametrize(
    ("ranking", "labels", "classes", "message"),
    [
        (torch.eye(3), torch.arange(3), 4, r"logits must be \[N, 4\] for 4 classes, got \[3, 3\]"),
        (torch.eye(3), torch.arange(2), 3, r"labels must be \[3\].*got \[2\]"),
        (
            torch.eye(3),
            torch.tensor([0, 1, 3]),
            3,
            "labels must be from 0 and below 3, .* got 0 to 3",
        ),
        (torch.eye(3), torch.tensor([0, -1, 2]), 3, "got -1 to 2"),
        (torch.full((2, 3), math.nan), torch.arange(2), 3, "got NaN"),
        (torch.zeros(2, 2, 2).long(), torch.arange(2), 3, r"ranked classes must be \[N, r\]"),
        (torch.eye(3), torch.arange(3), [], "classes must be at least one"),
    ],
)
def test_what_does_not_fit_is_refused(ranking: Tensor, labels: Tensor, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(ranking, labels, classes)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3, 2 and 4 for class a"):
        Scores(("a",), (4,), (3,), (2,))
    with pytest.raises(ValueError, match="images must be 2 counts"):
        Scores(("a", "b"), (4,), (3, 1), None)


# ------------------------------------------------------------------------------------------ several processes


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """World size: what each process found, check by check."""
    return found_by("recipes.judge.linear_worker", tmp_path_factory.mktemp("processes"), SHARDS, "scores")


@pytest.mark.parametrize(
    ("world", "counts"), [(world, counts) for world, shards in SHARDS.items() for counts in shards]
)
def test_processes_count_every_image_once(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    logits, labels = linear_worker.logits_and_labels(sum(counts))
    expected = score(logits, labels, CLASSES).to_dict()
    for result in found[world]:
        assert result[f"scores {counts}"] == expected


@pytest.mark.parametrize("world", SHARDS)
def test_an_image_counted_twice_is_found_out(world: int, found: dict[int, list[dict[str, Any]]]) -> None:
    for result in found[world]:
        assert "each of the 7 test images must be counted once, got 8 in all" in result["padded"]


def test_alone_there_is_nothing_to_add() -> None:
    scores = score(torch.eye(6), torch.arange(6), 6)
    assert over_ranks(scores, expected=6) == scores
