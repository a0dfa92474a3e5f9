"""Random views of a batch of images: each image is changed in its own way."""

from __future__ import annotations

import kornia.augmentation as K
from torch import nn


def digits_views() -> nn.Module:
    """Return a module that turns, shifts, scales, shears, dims and blurs with noise each image of [N, 1, height, width].

    No flips and no large turns: a 6 must not become a 9.
    """
    return nn.Sequential(
        K.RandomAffine(degrees=15, translate=(0.12, 0.12), scale=(0.8, 1.2), shear=(-12, 12), p=1.0),
        K.RandomBrightness((0.7, 1.3), clip_output=False, p=1.0),
        K.RandomGaussianNoise(std=0.05, p=1.0),
    )
