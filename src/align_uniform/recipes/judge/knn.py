"""Nearest-neighbour accuracy: do features of one class lie together?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform._checks import check_choice, check_positive
from align_uniform.geometry.neighbours import nearest_in_blocks
from align_uniform.recipes.judge.scores import TOP, Scores, class_names, score

Weight = Literal["votes", "softmax"]

TRAIN_BLOCK = 32768
"""Training rows compared at a time: a tile of similarities is this many times `block`."""


def knn_scores(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    k: int = 5,
    *,
    weight: Weight = "votes",
    tau: float = 0.07,
    classes: int | Sequence[str] | None = None,
    block: int = 1024,
) -> Scores:
    """Score the classes that `knn_rank` gives the test rows.

    The paper's 5-NN is `k=5`; the weighted vote that is customary for ImageNet is `k=200, weight="softmax",
    tau=0.07`.

    Args:
        train_features: [N, m], all of them on every process: see `gather` of `features.features`.
        train_labels: [N] integers from 0.
        test_features: [M, m], this process's own; add up with `scores.over_ranks`. M may be 0.
        test_labels: [M].
        k: number of neighbours, at most N.
        weight: what a neighbour's vote counts, see `knn_rank`.
        tau: temperature of "softmax".
        classes: names or number of classes; by default one more than the largest label. Processes must agree
            on it.
        block: test rows compared at a time.

    Returns:
        Scores; a class that no neighbour has is not among the five.
    """
    if classes is None:
        classes = 1 + max(int(labels.max()) for labels in (train_labels, test_labels) if len(labels))
    names = class_names(classes)
    options = {"weight": weight, "tau": tau, "classes": len(names), "block": block}
    return score(knn_rank(train_features, train_labels, test_features, k, **options), test_labels, names)  # type: ignore[arg-type]


def knn_rank(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    k: int = 5,
    *,
    weight: Weight = "votes",
    tau: float = 0.07,
    classes: int | None = None,
    block: int = 1024,
) -> Tensor:
    r"""Return the classes that the k training rows of largest cosine vote for, those of most votes first.

    With "votes" each neighbour counts 1, and of classes with as many votes the one with the nearest neighbour
    goes first. With "softmax" a neighbour of cosine :math:`s` counts :math:`e^{s / \tau}`. The search is
    exact; it is made in tiles, so memory does not grow with N M. On CUDA, cosines are as exact as torch's
    setting for float32 products lets them be.

    Args:
        train_features: [N, m]; rows are normalised here, and half precision is widened to float32.
        train_labels: [N] integers from 0.
        test_features: [M, m] on the same device.
        k: number of neighbours, at most N. Which of several equally near rows is the k-th is left to
            `torch.topk`.
        weight: "votes" or "softmax".
        tau: temperature of "softmax".
        classes: number of classes; by default one more than the largest training label.
        block: test rows compared at a time.

    Returns:
        [M, min(5, classes)] classes, -1 where the neighbours have no further class.

    Raises:
        ValueError: k is not between 1 and N, or features or labels that do not fit.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 5: 5 nearest neighbours. Wu et al., CVPR 2018,
        arXiv 1805.01978, section 3.4: the weighted vote.
    """
    classes = _check(train_features, train_labels, test_features, k, classes)
    check_choice("weight", weight, ("votes", "softmax"))
    check_positive("tau", tau)
    train_features = _directions("train_features", train_features)
    ranked = [
        _rank(*_nearest(rows, train_features, train_labels, k), None if weight == "votes" else tau, classes)
        for rows in (_directions("test_features", test_features).split(block) if len(test_features) else ())
    ]
    return torch.cat(
        [torch.empty(0, min(TOP, classes), dtype=torch.long, device=train_labels.device), *ranked]
    )


def knn_predict(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, k: int = 5, *, block: int = 1024
) -> Tensor:
    """Return [M] classes, the first ones of `knn_rank`: the commonest among k neighbours, the nearest where
    two tie.
    """
    return knn_rank(train_features, train_labels, test_features, k, block=block)[:, 0]


def _nearest(rows: Tensor, train_features: Tensor, train_labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return cosines and labels of the k nearest, [B, k], the nearest first."""
    starts = range(0, len(train_features), TRAIN_BLOCK)
    blocks = ((start, train_features[start : start + TRAIN_BLOCK]) for start in starts)
    cosines, numbers = nearest_in_blocks(rows, blocks, k, by="product")
    return cosines, train_labels[numbers]


def _rank(cosines: Tensor, labels: Tensor, tau: float | None, classes: int) -> Tensor:
    """[B, k] neighbours -> [B, min(5, classes)] classes."""
    rows, k = labels.shape
    if tau is None:
        # Integers: k + 1 for a vote, and up to k for the nearest neighbour, which decides between equal votes
        # alone.
        nearness = torch.arange(k, 0, -1, device=labels.device).expand(rows, k)
        votes = torch.zeros(rows, classes, dtype=torch.long, device=labels.device)
        votes = votes.scatter_reduce(1, labels, nearness, "amax") + votes.scatter_add(
            1, labels, torch.full_like(labels, k + 1)
        )
    else:
        # Each row's weights are divided by that of its nearest neighbour: the order is the same, and nothing
        # overflows.
        weights = ((cosines - cosines[:, :1]) / tau).exp().clamp_min(torch.finfo(cosines.dtype).tiny)
        votes = cosines.new_zeros(rows, classes).scatter_add(1, labels, weights)
    most = votes.topk(min(TOP, classes))
    return most.indices.masked_fill(most.values == 0, -1)


def _directions(name: str, features: Tensor) -> Tensor:
    if not bool(features.isfinite().all()):
        raise ValueError(
            f"{name} must be finite numbers, got a NaN or an infinity: no neighbour is near; look at the "
            "encoder."
        )
    wide = features if features.dtype == torch.float64 else features.float()
    return F.normalize(wide, dim=-1)


def _check(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, k: int, classes: int | None
) -> int:
    """Refuse what does not fit; return the number of classes."""
    if not 1 <= k <= len(train_features):
        raise ValueError(f"k must be between 1 and the {len(train_features)} training rows, got {k}.")
    if train_labels.shape != train_features.shape[:1]:
        raise ValueError(
            f"train_labels must be [{len(train_features)}], one a row, got {list(train_labels.shape)}."
        )
    if len(test_features) and train_features.shape[1:] != test_features.shape[1:]:
        raise ValueError(
            "train_features and test_features must have one number of features, got "
            f"{list(train_features.shape)} and {list(test_features.shape)}; take both from the same layer."
        )
    least, most = int(train_labels.min()), int(train_labels.max())
    if least < 0 or (classes is not None and most >= classes):
        raise ValueError(
            f"train_labels must be from 0, and below {classes or 'their number'}, got {least} to {most}."
        )
    return most + 1 if classes is None else classes
