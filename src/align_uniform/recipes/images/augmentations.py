"""Random changes of one image, the steps of a `Transform`.

A step draws its parameters from the `random.Random` it is given. Given the same parameters, it changes the
pixels exactly as torchvision's step does, and the distributions of the parameters are torchvision's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

Step = Callable[[Image.Image, random.Random], Image.Image]
"""A function that changes an image, with random parameters drawn from the generator."""


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
