"""Random views of images: everything random in a view follows from its own generator and from nothing else.

A `Transform` turns one PIL image into a tensor, drawing from the `random.Random` it is given.
`training_transform` has the presets to train with, `evaluation_transform` those to judge with. `TwoViews` and
`LabelledViews` are the data sets for a DataLoader.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from align_uniform._messages import counted
from align_uniform.recipes.images.augmentations import (
    CenterCrop,
    ColorJitter,
    Pixels,
    RandomAffine,
    RandomBlur,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
    Resize,
    Step,
    as_planes,
)
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.statistics import STATISTICS, Statistics


@dataclass(frozen=True)
class Transform:
    """Steps, one after the other, whose result becomes a normalised tensor."""

    steps: tuple[Step, ...]
    statistics: Statistics

    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """Image -> [channels, height, width], float32."""
        pixels: Pixels = image
        for step in self.steps:
            pixels = step(pixels, rng)
        values = as_planes(pixels)  # an array of our own, which may be changed
        self.check(len(values))
        mean, std = _moments(self.statistics)
        # numpy is quicker than torch on so few values
        values /= np.float32(255)
        values -= mean
        values /= std
        return torch.from_numpy(values)

    def draw(self, size: tuple[int, int], rng: random.Random) -> list[tuple[float, ...]]:
        """Return the parameters of each step for an image of this width and height."""
        drawn = []
        for step in self.steps:
            drawn.append(step.draw(size, rng))
            size = step.resized(size)
        return drawn

    def check(self, channels: int) -> None:
        """Raise ValueError if the statistics are of another number of channels."""
        if len(self.statistics.mean) != channels:
            raise ValueError(
                f"The image has {counted(channels, 'channel')}, but the statistics have "
                f"{len(self.statistics.mean)}; pass those of its data set."
            )


@cache
def _moments(statistics: Statistics) -> list[NDArray[np.float32]]:
    """Return mean and standard deviation, [channels, 1, 1] each."""
    return [np.array(moment, np.float32).reshape(-1, 1, 1) for moment in statistics]


# ---------------------------------------------------------------------------------------------------- presets


class _Views(NamedTuple):
    size: int
    statistics: Statistics
    steps: Callable[[int], tuple[Step, ...]]
    """The steps that make views of a given size."""


class _Evaluation(NamedTuple):
    size: int
    statistics: Statistics
    ratio: float = 0.0
    """Shorter side of the image over the size of the centre that is cut out; 0 keeps the whole image."""


_JITTER = ColorJitter(0.4, 0.4, 0.4, 0.4)
_VIEWS = {
    "stl10": _Views(
        64,
        STATISTICS["stl10"],
        lambda size: (RandomResizedCrop(size, (0.08, 1.0)), RandomFlip(), _JITTER, RandomGrayscale()),
    ),
    "moco-v1": _Views(
        224,
        STATISTICS["imagenet"],
        lambda size: (RandomResizedCrop(size, (0.2, 1.0)), RandomGrayscale(), _JITTER, RandomFlip()),
    ),
    "moco-v2": _Views(
        224,
        STATISTICS["imagenet"],
        lambda size: (
            RandomResizedCrop(size, (0.2, 1.0)),
            ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
            RandomGrayscale(),
            RandomBlur(),
            RandomFlip(),
        ),
    ),
    "fashion-mnist": _Views(
        28,
        STATISTICS["fashion-mnist"],
        lambda size: (RandomResizedCrop(size, (0.3, 1.0)), RandomFlip(), ColorJitter(0.4, 0.4)),
    ),
    "cifar10": _Views(
        32,
        STATISTICS["cifar10"],
        lambda size: (
            RandomResizedCrop(size, (0.2, 1.0)),
            RandomFlip(),
            ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
            RandomGrayscale(),
        ),
    ),
    "digits": _Views(
        16,
        STATISTICS["digits"],
        lambda size: (RandomAffine(15, 0.12, (0.8, 1.2), 12), ColorJitter(0.3), Resize(size)),
    ),
}
_EVALUATIONS = {
    "stl10": _Evaluation(64, STATISTICS["stl10"], 70 / 64),
    "imagenet": _Evaluation(224, STATISTICS["imagenet"], 256 / 224),
    "fashion-mnist": _Evaluation(28, STATISTICS["fashion-mnist"]),
    "cifar10": _Evaluation(32, STATISTICS["cifar10"]),
    "digits": _Evaluation(16, STATISTICS["digits"]),
}


def training_transform(
    preset: str, *, size: int | None = None, statistics: Statistics | None = None
) -> Transform:
    """Return the transform that makes random views to train with.

    | preset | size | steps |
    | --- | --- | --- |
    | stl10 | 64 | crop of 8-100% of the area, flip, colour jitter .4 .4 .4 .4, grey 20% |
    | moco-v1 | 224 | crop of 20-100%, grey 20%, colour jitter .4 .4 .4 .4, flip |
    | moco-v2 | 224 | crop of 20-100%, colour jitter .4 .4 .4 .1 in 80%, grey 20%, blur of .1-2 in 50%, flip |
    | fashion-mnist | 28 | crop of 30-100%, flip, brightness and contrast .4 |
    | cifar10 | 32 | crop of 20-100%, flip, colour jitter .4 .4 .4 .1 in 80%, grey 20% |
    | digits | 16 | rotate up to 15°, shift 12%, scale .8-1.2, shear up to 12°, brightness .3 |

    Args:
        preset: a preset in the table.
        size: height and width of the views; None for the preset's.
        statistics: statistics to normalise by; None for those of the preset's data set (ImageNet for both of
            MoCo's).

    Raises:
        ValueError: the preset is unknown, or the size is not positive.
    """
    if preset not in _VIEWS:
        raise ValueError(f"There is no augmentation {preset!r}; choose from {', '.join(_VIEWS)}.")
    chosen = _VIEWS[preset]
    return Transform(chosen.steps(_positive(size, chosen.size)), statistics or chosen.statistics)


def evaluation_transform(
    preset: str, *, train: bool = False, size: int | None = None, statistics: Statistics | None = None
) -> Transform:
    """Return the transform to judge an encoder with.

    | preset | size | test | train |
    | --- | --- | --- | --- |
    | stl10 | 64 | shorter side to 70, centre 64 | crop of 8-100%, flip |
    | imagenet | 224 | shorter side to 256, centre 224 | crop of 8-100%, flip |
    | fashion-mnist, cifar10, digits | unchanged | the image itself | the image itself |

    Args:
        preset: a preset in the table.
        train: whether to return the transform for training a classifier.
        size: height and width; None for the preset's. The shorter side is scaled in proportion.
        statistics: statistics to normalise by; None for those of the preset's data set.

    Raises:
        ValueError: the preset is unknown, or the size is not positive.
    """
    if preset not in _EVALUATIONS:
        raise ValueError(
            f"There is no evaluation transform {preset!r}; choose from {', '.join(_EVALUATIONS)}."
        )
    chosen = _EVALUATIONS[preset]
    side = _positive(size, chosen.size)
    steps: tuple[Step, ...] = ()
    if train and chosen.ratio:
        steps = (RandomResizedCrop(side, (0.08, 1.0)), RandomFlip())
    elif chosen.ratio:
        steps = (Resize(round(side * chosen.ratio)), CenterCrop(side))
    elif size is not None:
        steps = (Resize(side), CenterCrop(side))
    return Transform(steps, statistics or chosen.statistics)


def _positive(size: int | None, default: int) -> int:
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}.")
    return default if size is None else size


# -------------------------------------------------------------------------------------------------- data sets

Key = tuple[int, int]
"""Epoch and index of a sample, as the samplers of `recipes.images.sampler` yield them."""


def generator(seed: int, epoch: int, index: int, view: int = 0) -> random.Random:
    """Return the generator of one view, which depends on these four numbers alone.

    The worker, the process and the order of the samples have no influence.
    """
    if min(seed, epoch, index, view) < 0:
        raise ValueError(
            f"seed, epoch, index and view must not be negative, got {seed}, {epoch}, {index}, {view}."
        )
    return random.Random((((seed << 32 | epoch) << 48 | index) << 8) | view)


class TwoViews(Dataset[tuple[Tensor, Tensor, int]]):
    """Two views of each image.

    An item is requested by `(epoch, index)`, so that every worker, persistent or not, knows the epoch; it is
    `(view_1, view_2, index)`.

    Args:
        images: N images.
        transform: a transform of `training_transform`.
        seed: seed of all views; not negative.
    """

    def __init__(self, images: ImageSet, transform: Transform, seed: int) -> None:
        self.images = images
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, int]:
        epoch, index = _split(key)
        image = self.images[index]
        one, two = (self.transform(image, generator(self.seed, epoch, index, view)) for view in (0, 1))
        return one, two, index


class LabelledViews(Dataset[tuple[Tensor, int, int]]):
    """One view of each image with its label.

    An item is requested by `(epoch, index)`; it is `(view, label, index)`.

    Args:
        images: N images.
        transform: a transform of `evaluation_transform`.
        seed: seed of all views, if they are random; not negative.
    """

    def __init__(self, images: ImageSet, transform: Transform, seed: int = 0) -> None:
        self.images = images
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, int, int]:
        epoch, index = _split(key)
        return (
            self.transform(self.images[index], generator(self.seed, epoch, index)),
            int(self.images.labels[index]),
            index,
        )


def _split(key: Key) -> Key:
    if not isinstance(key, tuple):  # a sampler without epochs would yield the same views in each of them
        raise TypeError(
            f"An item is requested by (epoch, index), got {key!r}; use a sampler of "
            "align_uniform.recipes.images.sampler."
        )
    return key
