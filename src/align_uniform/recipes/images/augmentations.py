"""Random changes of one image, the steps of a `Transform`.

A step draws its parameters from the `random.Random` it is given. Given the same parameters, it changes the
pixels exactly as torchvision's step does, and the distributions of the parameters are torchvision's.

The steps call Pillow, not `torchvision.transforms.v2.functional`: on STL-10's images half of torchvision's
steps take 1.3 to 4 times as long, the others would save few lines, and importing it takes as long as
importing torch (benchmarks/views.json).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor

Step = Callable[[Image.Image, random.Random], Image.Image]
"""A function that changes an image, with random parameters drawn from the generator."""


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a random part of the image and resize it to a square.

    The area and the logarithm of the aspect ratio (3/4 to 4/3) are uniform.
    """

    size: int
    """Height and width of the result."""
    scale: tuple[float, float]
    """Smallest and largest share of the image's area."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of [size x size]."""
        left, top, width, height = self.box(image.width, image.height, rng)
        part = image.crop((left, top, left + width, top + height))
        return part.resize((self.size, self.size), Image.Resampling.BILINEAR)

    def box(self, width: int, height: int, rng: random.Random) -> tuple[int, int, int, int]:
        """Return left, top, width and height of a random part."""
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return _below(width - w + 1, rng), _below(height - h + 1, rng), w, h
        w = min(width, round(height * 4 / 3))  # for a very long image: the widest part of an allowed ratio
        h = min(height, round(width / (3 / 4)))
        return (width - w) // 2, (height - h) // 2, w, h


@dataclass(frozen=True)
class RandomFlip:
    """Swap left and right in half of the images."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue, in random order.

    The factor of each of the first three is uniform in 1 plus or minus the given number. The hue is rotated
    by at most the given part of the circle, either way. Grey images have neither saturation nor hue.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    p: float = 1.0
    """Share of the images that are changed."""

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
    """Replace the colours by grey, in three equal channels."""

    p: float = 0.2
    """Share of the images that are changed."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size and mode."""
        return image.convert("L").convert(image.mode) if rng.random() < self.p else image


@dataclass(frozen=True)
class RandomBlur:
    """Blur with a Gaussian."""

    sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the standard deviation, which is uniform, in pixels."""
    p: float = 0.5
    """Share of the images that are changed."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Image -> image of the same size."""
        return (
            image.filter(ImageFilter.GaussianBlur(rng.uniform(*self.sigma)))
            if rng.random() < self.p
            else image
        )


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, shift, scale and shear by uniform amounts; places outside the image are black."""

    degrees: float
    """Largest rotation, either way."""
    translate: float
    """Largest shift, as a share of width and height."""
    scale: tuple[float, float]
    """Smallest and largest scale."""
    shear: float
    """Largest shear along x, either way, in degrees."""

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
    """Resize the image so that its shorter side has `size` pixels."""

    size: int
    """Length of the shorter side of the result."""

    def __call__(self, image: Image.Image, _rng: random.Random) -> Image.Image:
        """Image -> image of the same proportions."""
        shorter = min(image.size)
        width, height = (int(self.size * side / shorter) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class CenterCrop:
    """Cut the central square out of an image that is at least as large."""

    size: int
    """Height and width of the square."""

    def __call__(self, image: Image.Image, _rng: random.Random) -> Image.Image:
        """Image -> image of [size x size]."""
        left, top = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))


def _below(count: int, rng: random.Random) -> int:
    return int(rng.random() * count)


# ------------------------------------------------------------------------ what steps do, given the parameters


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    """Blend an image with black: 0 is black, 1 the image."""
    return Image.blend(Image.new(image.mode, image.size), image, factor)


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Blend an image with its mean grey: 0 is grey, 1 the image."""
    grey = image if image.mode == "L" else image.convert("L")
    mean = int(int(np.asarray(grey).sum()) / (grey.width * grey.height) + 0.5)
    return Image.blend(
        Image.new(image.mode, image.size, mean if image.mode == "L" else (mean, mean, mean)), image, factor
    )


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
    """Blend an image with its grey version: 0 is grey, 1 the image."""
    return image if image.mode == "L" else Image.blend(image.convert("L").convert(image.mode), image, factor)


def adjust_hue(image: Image.Image, turn: float) -> Image.Image:
    """Rotate the hue by this part of the circle, -.5 to .5."""
    if image.mode == "L":
        return image
    by = Image.new("HSV", image.size, (int(turn * 255) % 256, 0, 0))
    return ImageChops.add_modulo(image.convert("HSV"), by).convert(image.mode)


def affine(
    image: Image.Image, *, angle: float, shift: tuple[float, float], scale: float, shear: float
) -> Image.Image:
    """Rotate and shear (degrees), scale and shift (pixels) an image around its centre, bilinearly."""
    turn, lean = math.radians(angle), math.tan(math.radians(shear))
    xx, xy, yx, yy = inverse_affine(math.cos(turn), math.sin(turn), lean, scale)
    centre = image.width / 2, image.height / 2
    x, y = -centre[0] - shift[0], -centre[1] - shift[1]
    coefficients = (xx, xy, xx * x + xy * y + centre[0], yx, yy, yx * x + yy * y + centre[1])
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


Number = TypeVar("Number", float, Tensor)


def inverse_affine(
    cos: Number, sin: Number, lean: Number, scale: Number
) -> tuple[Number, Number, Number, Number]:
    """Return the 2x2 matrix, row by row, that maps places in the result to places in the image.

    The result is the image sheared along x by the tangent `lean`, then rotated by the angle with the given
    cosine and sine, and scaled.
    """
    return (cos - sin * lean) / scale, (sin + cos * lean) / scale, -sin / scale, cos / scale
