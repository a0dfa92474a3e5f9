"""Nearest-neighbour accuracy: do features of one class lie together?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def knn_predict(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, k: int = 5, *, block: int = 1024
) -> Tensor:
    """Return the commonest class among the `k` training rows of largest cosine; the smallest class where two tie.

    Args:
        train_features: [N, m]; rows are normalised here.
        train_labels: [N], int64 from 0.
        test_features: [M, m].
        k: number of neighbours, at most N.
        block: test rows compared at a time.

    Returns:
        [M] classes.

    Raises:
        ValueError: k is not between 1 and N.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 5: 5 nearest neighbours.
    """
    if not 1 <= k <= len(train_features):
        raise ValueError(f"k must be between 1 and the {len(train_features)} training rows, got {k}.")
    train_features = F.normalize(train_features, dim=-1)
    votes = [
        train_labels[(F.normalize(rows, dim=-1) @ train_features.T).topk(k).indices] for rows in test_features.split(block)
    ]
    classes = int(train_labels.max()) + 1
    return F.one_hot(torch.cat(votes), classes).sum(1).argmax(1)
