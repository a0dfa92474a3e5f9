"""Handwritten digits of scikit-learn, two random views of each, and a small encoder."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.utils.data import TensorDataset


def images_and_labels(count: int = 640) -> tuple[Tensor, Tensor]:
    """Return the first digits, [count, 64] in [0, 1], and their classes."""
    digits = load_digits()
    return torch.tensor(digits.data[:count] / 16).float(), torch.tensor(digits.target[:count])


def two_views(count: int = 640) -> TensorDataset:
    """Return two random views of each digit, of which 30% of the pixels are dropped."""
    images, _ = images_and_labels(count)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TensorDataset(dropout(images, 0.3), dropout(images, 0.3))


def small_encoder() -> nn.Module:
    """Return an untrained encoder from digits to 8 features."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
