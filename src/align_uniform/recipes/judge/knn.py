"""Nearest-neighbour accuracy: do features of one class lie together?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform._checks import check_choice, check_positive
from align_uniform._messages import counted
from align_uniform.geometry.neighbours import nearest_in_blocks
from align_uniform.recipes.judge.options import Weight
from align_uniform.recipes.judge.scores import TOP, Scores, check_labels, class_names, score

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
) -> Scores:
    """Return the scores of the nearest neighbours' votes, which `knn_rank` counts, on the test rows.

    The paper's 5-NN is `k=5`; the weighted vote that is customary for ImageNet is `k=200, weight="softmax",
    tau=0.07`.

    Args:
        train_features: [N, m], the same rows on every process, as `features.features(gather=True)` returns.
        train_labels: [N] integers from 0.
        test_features: [M, m], this process's own rows; add up the scores by `scores.over_ranks`. M may be 0.
        test_labels: [M] integers from 0.
        k: number of neighbours, at most N.
        weight: weight of a neighbour's vote, as in `knn_rank`.
        tau: temperature of "softmax".
        classes: names or number of classes, the same on every process. By default one more than the largest
            label.

    Returns:
        Scores; a class that no neighbour has is not among the five.
    """
    names = class_names(classes, train_labels, test_labels)
    ranked = knn_rank(
        train_features, train_labels, test_features, k, weight=weight, tau=tau, classes=len(names)
    )
    return score(ranked, test_labels, names)


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
    r"""Return the classes that the k training rows of largest cosine vote for, the most votes first.

    With "votes" each neighbour counts 1, and the class of the nearest neighbour wins a tie. With "softmax" a
    neighbour of cosine :math:`s` counts :math:`e^{s / \tau}`. The search is exact. It proceeds in tiles, so
    that memory does not grow with N M. On CUDA, cosines are as exact as torch's setting for float32 products.

    Args:
        train_features: [N, m], rows that are normalised here; half precision is widened to float32.
        train_labels: [N] integers from 0.
        test_features: [M, m] on the same device.
        k: number of neighbours, at most N. `torch.topk` decides between rows that are equally near.
        weight: "votes" or "softmax".
        tau: temperature of "softmax".
        classes: number of classes. By default one more than the largest training label.
        block: number of test rows that are compared at a time.

    Returns:
        [M, min(5, classes)] classes, -1 where the neighbours have no further class.

    Raises:
        ValueError: k is not between 1 and N, or features or labels do not fit.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 5: 5 nearest neighbours. Wu et al., CVPR 2018,
        arXiv 1805.01978, section 3.4: the weighted vote.
    """
    classes = _check(train_features, train_labels, test_features, k, classes)
    check_choice("weight", weight, get_args(Weight))
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
    """Return the commonest class among the k nearest neighbours, the first of `knn_rank`, [M]."""
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
            f"{name} must be finite numbers, got a NaN or an infinity, which has no neighbours; look at the "
            "encoder."
        )
    wide = features if features.dtype == torch.float64 else features.float()
    return F.normalize(wide, dim=-1)


def check_k(k: int, rows: int) -> None:
    """Refuse more neighbours than there are rows to learn from."""
    if not 1 <= k <= rows:
        raise ValueError(f"k must be between 1 and the {counted(rows, 'training row')}, got {k}.")


def _check(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, k: int, classes: int | None
) -> int:
    """Refuse features or labels that do not fit, and return the number of classes."""
    check_k(k, len(train_features))
    if len(test_features) and train_features.shape[1:] != test_features.shape[1:]:
        raise ValueError(
            "train_features and test_features must have one number of features, got "
            f"{list(train_features.shape)} and {list(test_features.shape)}; take both from the same layer."
        )
    return check_labels(train_labels, len(train_features), classes, name="train_labels")
