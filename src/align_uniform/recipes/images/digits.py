"""The digits of scikit-learn: 1,797 grey scans of 8x8 pixels, as pictures and as tensors.

Recipes read pictures, one at a time; the demo augments whole batches of tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform._extras import needs
from align_uniform.recipes.images.augmentations import inverse_affine
from align_uniform.recipes.images.image_set import Arrays, ImageSet


class Labelled(NamedTuple):
    """Images with their classes."""

    images: Tensor
    """Pixels [N, channels, height, width], float32 in [0, 1]."""
    labels: Tensor
    """Classes [N] as numbers from 0, int64."""


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
    return ImageSet("digits", Arrays(pixels), part.labels, tuple(parts.classes))


def load_tensors(size: int = 16) -> Split:
    """Return all digits as tensors, always split the same way: 1,437 for training, 360 to test on.

    Args:
        size: height and width that the images are enlarged to, bilinearly, so that they can be shifted by
            fractions of a pixel.
    """
    with needs("recipes"):
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


def random_views(images: Tensor) -> Tensor:
    """Return a random view of each image: rotated, shifted, scaled, sheared, dimmed, and with noise.

    There are no flips and no large rotations: a 6 must not become a 9. Torch's generator decides.

    Args:
        images: [N, channels, height, width], floating point.
    """
    uniform = torch.rand(6, len(images), device=images.device, dtype=images.dtype) * 2 - 1
    turn, lean, scale, x, y, light = uniform.unbind()
    views = affine(
        images,
        angle=turn * 15,
        shift=torch.stack([x * images.shape[3], y * images.shape[2]]) * 0.12,
        scale=1 + scale * 0.2,
        shear=lean * 12,
    )
    return views + light.view(-1, 1, 1, 1) * 0.3 + torch.randn_like(images) * 0.05


def affine(images: Tensor, *, angle: Tensor, shift: Tensor, scale: Tensor, shear: Tensor) -> Tensor:
    """Rotate and shear (degrees), scale and shift (pixels) each image around its centre, bilinearly.

    Args:
        images: [N, channels, height, width], floating point.
        angle: [N].
        shift: [2, N], along x and y.
        scale: [N].
        shear: [N], along x.
    """
    count, _, height, width = images.shape
    turn, lean = angle.deg2rad(), shear.deg2rad().tan()
    xx, xy, yx, yy = inverse_affine(turn.cos(), turn.sin(), lean, scale)
    x, y = shift.neg().unbind()
    # grid_sample counts from -1 to 1 along both sides
    rows = (xx, xy * (height / width), (xx * x + xy * y) * (2 / width))
    columns = (yx * (width / height), yy, (yx * x + yy * y) * (2 / height))
    matrices = torch.stack([*rows, *columns], dim=1).view(count, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
