"""Image data sets, as tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor


class Labelled(NamedTuple):
    """Images with their classes."""

    images: Tensor
    """[N, channels, height, width], float32 in [0, 1]"""
    labels: Tensor
    """[N], int64"""


class Split(NamedTuple):
    """What encoders learn from, and what they are judged on."""

    train: Labelled
    test: Labelled
    classes: list[str]


def digits(size: int = 16) -> Split:
    """Return scikit-learn's digits: 1,797 grey 8x8 scans of ten classes, always split the same way, 1,437 to 360.

    Args:
        size: the images are enlarged to this height and width, bilinearly, so that they can be shifted by parts of a pixel.
    """
    scans = load_digits()
    images = torch.from_numpy(scans.images).float().unsqueeze(1) / 16
    images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(scans.target).long()
    train, test = (
        torch.as_tensor(rows)
        for rows in train_test_split(range(len(labels)), test_size=0.2, stratify=scans.target, random_state=0)
    )
    return Split(
        Labelled(images[train], labels[train]),
        Labelled(images[test], labels[test]),
        [str(name) for name in scans.target_names],
    )
