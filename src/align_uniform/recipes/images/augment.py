"""Random views of images: what is random in a view follows from a generator of its own, and from nothing
else.

A `Transform` turns one PIL image into a tensor, drawing from the `random.Random` it is given. `views` are the
presets to train with, `evaluation` those to judge with. The steps do to the pixels exactly what torchvision's
do with the same parameters, and draw these from the same distributions; the stl10 preset takes half the time.
`TwoViews` and `LabelledViews` are the data sets for a DataLoader.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor, nn
from torch.utils.data import Dataset

from align_uniform.recipes.images.datasets import STATISTICS, ImageSet, Statistics

Step = Callable[[Image.Image, random.Random], Image.Image]
"""Changes an image in a random way, which it draws from the generator."""


@dataclass(frozen=True)
class Transform:
    """Steps, one after the other, and then a normalised tensor."""

    steps: tuple[Step, ...]
    statistics: Statistics

    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """Image -> [channels, height, width], float32."""
        for step in self.steps:
            image = step(image, rng)
        channels = len(image.getbands())
        if len(self.statistics.mean) != channels:
            raise ValueError(
                f"The image has {channels} channels, the statistics are of {len(self.statistics.mean)}; give "
                "its own."
            )
        mean, std = (np.array(moment, np.float32).reshape(-1, 1, 1) for moment in self.statistics)
        pixels = np.asarray(image).reshape(image.height, image.width, channels)
        values = pixels.transpose(2, 0, 1).astype(
            np.float32, order="C"
        )  # numpy is quicker than torch on so few values
        values /= np.float32(255)
        values -= mean
        values /= std
        return torch.from_numpy(values)


# ---------------------------------------------------------------------------------------------------- presets


def views(preset: str, *, size: int | None = None, statistics: Statistics | None = None) -> Transform:
    """Return the augmentation to train with on two views.

    | preset | size | steps |
    | --- | --- | --- |
    | stl10 | 64 | crop of 8-100% of the area, flip, colour jitter .4 .4 .4 .4, grey 20% |
    | moco-v1 | 224 | crop of 20-100%, grey 20%, colour jitter .4 .4 .4 .4, flip |
    | moco-v2 | 224 | crop of 20-100%, colour jitter .4 .4 .4 .1 in 80%, grey 20%, blur of .1-2 in 50%, flip |
    | fashion-mnist | 28 | crop of 30-100%, flip, brightness and contrast .4 |
    | digits | 16 | turn up to 15°, shift 12%, scale .8-1.2, shear up to 12°, brightness .3 |

    Args:
        preset: one of the table.
        size: height and width of the views, where not the preset's.
        statistics: to normalise by, where not the preset's (ImageNet's for both of MoCo).

    Raises:
        ValueError: there is no such preset, or the size is not positive.
    """
    if preset not in _VIEWS:
        raise ValueError(f"There is no augmentation {preset!r}; choose from {', '.join(_VIEWS)}.")
    default, measured, steps = _VIEWS[preset]
    return Transform(steps(_checked(default if size is None else size)), statistics or STATISTICS[measured])


def evaluation(
    preset: str, *, train: bool = False, size: int | None = None, statistics: Statistics | None = None
) -> Transform:
    """Return the transform to judge an encoder with.

    | preset | size | test | train |
    | --- | --- | --- | --- |
    | stl10 | 64 | shorter side to 70, centre 64 | crop of 8-100%, flip |
    | imagenet | 224 | shorter side to 256, centre 224 | crop of 8-100%, flip |
    | fashion-mnist, digits | as it is | the image itself | the image itself |

    Args:
        preset: one of the table.
        train: for the images that a classifier is trained on.
        size: height and width, where not the preset's; the shorter side goes with it.
        statistics: to normalise by, where not the preset's.

    Raises:
        ValueError: there is no such preset, or the size is not positive.
    """
    if preset not in _EVALUATIONS:
        raise ValueError(
            f"There is no evaluation transform {preset!r}; choose from {', '.join(_EVALUATIONS)}."
        )
    default, ratio = _EVALUATIONS[preset]
    side = _checked(default if size is None else size)
    steps: tuple[Step, ...] = ()
    if train and ratio:
        steps = (RandomResizedCrop(side, (0.08, 1.0)), RandomFlip())
    elif ratio:
        steps = (Resize(round(side * ratio)), CenterCrop(side))
    elif size is not None:
        steps = (Resize(side), CenterCrop(side))
    return Transform(steps, statistics or STATISTICS[preset])


def evaluation_size(preset: str) -> int:
    """Return the height and width of images of a preset of `evaluation`."""
    return _EVALUATIONS[preset][0]


def _checked(size: int) -> int:
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}.")
    return size


# -------------------------------------------------------------------------------------------------- data sets

Key = tuple[int, int]
"""Epoch and index of a sample: what the samplers of `recipes.sampler` yield."""


def generator(seed: int, epoch: int, index: int, view: int = 0) -> random.Random:
    """Return the generator of one view: the same for the same four numbers, whatever the worker, the process
    or the order.
    """
    if min(seed, epoch, index, view) < 0:
        raise ValueError(
            f"seed, epoch, index and view must not be negative, got {seed}, {epoch}, {index}, {view}."
        )
    return random.Random((((seed << 32 | epoch) << 48 | index) << 8) | view)


class TwoViews(Dataset[tuple[Tensor, Tensor, int]]):
    """Two views of each image.

    An item is asked for by `(epoch, index)`, which is how every worker, persistent or not, knows the epoch,
    and is `(view_1, view_2, index)`.

    Args:
        images: N images.
        transform: one of `views`.
        seed: of all views; not negative.
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
    """One view of each image with its label: an item is asked for by `(epoch, index)`, and is `(view, label,
    index)`.

    Args:
        images: N images.
        transform: one of `evaluation`.
        seed: of all views, if they are random; not negative.
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
    if not isinstance(key, tuple):  # a sampler that knows no epoch would show the same views in all of them
        raise TypeError(
            f"An item is asked for by (epoch, index), got {key!r}; use a sampler of "
            "align_uniform.recipes.images.sampler."
        )
    return key


def views_per_second(
    view: Callable[[Image.Image], object], images: Sequence[Image.Image], seconds: float = 1.0
) -> float:
    """Return how many views a core makes in a second, from the processor time of this process."""
    start = time.process_time()
    for made, image in enumerate(cycle(images)):
        if (spent := time.process_time() - start) > seconds:
            return made / spent
        view(image)
    raise ValueError("There is no image to make views of.")


# ------------------------------------------------------------------------------------------------------ steps


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the image, resized: its area and the logarithm of its aspect ratio (3/4 to 4/3) are
    uniform.
    """

    size: int
    scale: tuple[float, float]
    """Smallest and largest share of the area."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> [size x size]."""
        left, top, width, height = self.box(image.width, image.height, rng)
        part = image.crop((left, top, left + width, top + height))
        return part.resize((self.size, self.size), Image.Resampling.BILINEAR)

    def box(self, width: int, height: int, rng: random.Random) -> tuple[int, int, int, int]:
        """Draw left, top, width and height."""
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return _below(width - w + 1, rng), _below(height - h + 1, rng), w, h
        w = min(width, round(height * 4 / 3))  # a very long image: the widest part of an allowed ratio
        h = min(height, round(width / (3 / 4)))
        return (width - w) // 2, (height - h) // 2, w, h


@dataclass(frozen=True)
class RandomFlip:
    """Left becomes right in half of the images."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue change, in a random order.

    Each factor of the first three is uniform in 1 plus or minus the given number, the hue turns by up to the
    given part of the circle. Grey images have neither saturation nor hue.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    p: float = 1.0
    """Share of the images that change at all."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size."""
        if self.p < 1 and rng.random() >= self.p:
            return image
        changes: list[tuple[float, Callable[[Image.Image, float], Image.Image], float]] = [
            (
                rng.random(),
                change,
                rng.uniform(max(0, centre - by), centre + by) if centre else rng.uniform(-by, by),
            )
            for change, centre, by in (
                (adjust_brightness, 1, self.brightness),
                (adjust_contrast, 1, self.contrast),
                (adjust_saturation, 1, self.saturation),
                (adjust_hue, 0, self.hue),
            )
            if by
        ]
        for _, change, factor in sorted(changes, key=lambda entry: entry[0]):
            image = change(image, factor)
        return image


@dataclass(frozen=True)
class RandomGrayscale:
    """The colours go, and three equal channels stay."""

    p: float = 0.2

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size and mode."""
        return image.convert("L").convert(image.mode) if rng.random() < self.p else image


@dataclass(frozen=True)
class RandomBlur:
    """A Gaussian blur of uniform standard deviation, in pixels."""

    sigma: tuple[float, float] = (0.1, 2.0)
    p: float = 0.5

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size."""
        return (
            image.filter(ImageFilter.GaussianBlur(rng.uniform(*self.sigma)))
            if rng.random() < self.p
            else image
        )


@dataclass(frozen=True)
class RandomAffine:
    """Turns, shifts, scales and shears; what comes from outside the image is black."""

    degrees: float
    translate: float
    """Largest shift, as a share of width and height."""
    scale: tuple[float, float]
    shear: float
    """Degrees, along x."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size."""
        shift = rng.uniform(-self.translate, self.translate), rng.uniform(-self.translate, self.translate)
        return affine(
            image,
            angle=rng.uniform(-self.degrees, self.degrees),
            shift=(shift[0] * image.width, shift[1] * image.height),
            scale=rng.uniform(*self.scale),
            shear=rng.uniform(-self.shear, self.shear),
        )


@dataclass(frozen=True)
class Resize:
    """The shorter side becomes `size` pixels."""

    size: int

    def __call__(self, image: Image.Image, _rng: random.Random) -> Image.Image:
        """Image -> image of the same shape."""
        shorter = min(image.size)
        width, height = (int(self.size * side / shorter) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class CenterCrop:
    """The middle `size` x `size` pixels of an image at least as large."""

    size: int

    def __call__(self, image: Image.Image, _rng: random.Random) -> Image.Image:
        """Image -> [size x size]."""
        left, top = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))


def _below(count: int, rng: random.Random) -> int:
    return int(rng.random() * count)


# ------------------------------------------------------------------------ what steps do, given the parameters


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    """Blend with black: 0 is black, 1 the image."""
    return Image.blend(Image.new(image.mode, image.size), image, factor)


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the mean grey: 0 is grey, 1 the image."""
    grey = image if image.mode == "L" else image.convert("L")
    mean = int(int(np.asarray(grey).sum()) / (grey.width * grey.height) + 0.5)
    return Image.blend(
        Image.new(image.mode, image.size, mean if image.mode == "L" else (mean, mean, mean)), image, factor
    )


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the grey image: 0 is grey, 1 the image."""
    return image if image.mode == "L" else Image.blend(image.convert("L").convert(image.mode), image, factor)


def adjust_hue(image: Image.Image, turn: float) -> Image.Image:
    """Turn the hue by this part of the circle, -.5 to .5."""
    if image.mode == "L":
        return image
    by = Image.new("HSV", image.size, (int(turn * 255) % 256, 0, 0))
    return ImageChops.add_modulo(image.convert("HSV"), by).convert(image.mode)


def affine(
    image: Image.Image, *, angle: float, shift: tuple[float, float], scale: float, shear: float
) -> Image.Image:
    """Turn and shear (degrees), scale, and shift (pixels) around the centre, bilinearly."""
    turn, lean = math.radians(angle), math.tan(math.radians(shear))
    # from places in the result to places in the image
    matrix = (
        (math.cos(turn) - math.sin(turn) * lean) / scale,
        (math.sin(turn) + math.cos(turn) * lean) / scale,
        -math.sin(turn) / scale,
        math.cos(turn) / scale,
    )
    centre = image.width / 2, image.height / 2
    x, y = -centre[0] - shift[0], -centre[1] - shift[1]
    coefficients = (
        *matrix[:2],
        matrix[0] * x + matrix[1] * y + centre[0],
        *matrix[2:],
        matrix[2] * x + matrix[3] * y + centre[1],
    )
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


_JITTER = ColorJitter(0.4, 0.4, 0.4, 0.4)
_VIEWS: dict[str, tuple[int, str, Callable[[int], tuple[Step, ...]]]] = {
    "stl10": (
        64,
        "stl10",
        lambda size: (RandomResizedCrop(size, (0.08, 1.0)), RandomFlip(), _JITTER, RandomGrayscale()),
    ),
    "moco-v1": (
        224,
        "imagenet",
        lambda size: (RandomResizedCrop(size, (0.2, 1.0)), RandomGrayscale(), _JITTER, RandomFlip()),
    ),
    "moco-v2": (
        224,
        "imagenet",
        lambda size: (
            RandomResizedCrop(size, (0.2, 1.0)),
            ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
            RandomGrayscale(),
            RandomBlur(),
            RandomFlip(),
        ),
    ),
    "fashion-mnist": (
        28,
        "fashion-mnist",
        lambda size: (RandomResizedCrop(size, (0.3, 1.0)), RandomFlip(), ColorJitter(0.4, 0.4)),
    ),
    "digits": (
        16,
        "digits",
        lambda size: (RandomAffine(15, 0.12, (0.8, 1.2), 12), ColorJitter(0.3), Resize(size)),
    ),
}
"""Size, whose statistics, and the steps of each preset."""
_EVALUATIONS = {
    "stl10": (64, 70 / 64),
    "imagenet": (224, 256 / 224),
    "fashion-mnist": (28, 0.0),
    "digits": (16, 0.0),
}
"""Size, and the shorter side before the centre is cut out over it; 0 where the image is kept whole."""


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
