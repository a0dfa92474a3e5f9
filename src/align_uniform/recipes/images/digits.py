"""scikit-learn's digits: 1,797 grey scans of 8x8 pixels, enlarged to 16x16, of ten classes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align_uniform.recipes.images.image_set import GreyArrays, ImageSet


class Labelled(NamedTuple):
    """Images with their classes."""

    images: Tensor
    """[N, channels, height, width], float32 in [0, 1]"""
    labels: Tensor
    """[N], int64"""


class Split(NamedTuple):
    """The images that encoders learn from, and those that they are judged on."""

    train: Labelled
    test: Labelled
    classes: list[str]


def load(_root: Path, split: str, _download: bool) -> ImageSet:
    """Return a split as pictures; see `datasets.load`."""
    parts = load_tensors()
    part = parts.train if split == "train" else parts.test
    pixels = (part.images.squeeze(1) * 255).round().to(torch.uint8).numpy()
    return ImageSet("digits", GreyArrays(pixels), part.labels, tuple(parts.classes))


def load_tensors(size: int = 16) -> Split:
    """Return all digits as tensors, always split the same way: 1,437 for training, 360 to test on.

    Args:
        size: height and width that the images are enlarged to, bilinearly, so that they can be shifted by
            fractions of a pixel.
    """
    from sklearn.datasets import load_digits  # nothing else here needs scikit-learn
    from sklearn.model_selection import train_test_split

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


def digits_views() -> nn.Module:
    """Return a module that turns, shifts, scales, shears, dims and blurs with noise each image of [N, 1,
    height, width].

    No flips and no large turns: a 6 must not become a 9.
    """
    import kornia.augmentation as K  # takes seconds to import, and nothing else here needs it

    return nn.Sequential(
        K.RandomAffine(degrees=15, translate=(0.12, 0.12), scale=(0.8, 1.2), shear=(-12, 12), p=1.0),
        K.RandomBrightness((0.7, 1.3), clip_output=False, p=1.0),
        K.RandomGaussianNoise(std=0.05, p=1.0),
    )
