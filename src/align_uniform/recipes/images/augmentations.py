"""Random changes of one image, the steps of a `Transform`.

A step draws its parameters from the `random.Random` it is given, and then changes the pixels. The
distributions of the parameters are torchvision's, and given the same parameters the pixels are those of
torchvision's step on images of Pillow, except that the blur is Pillow's own. `recipes.images.batches` has the
same steps for a batch.

Shapes are changed by Pillow, not by `torchvision.transforms.v2.functional`, which takes longer, and whose
import takes two seconds (benchmarks/views.json); colours by `recipes.images.colours`.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor

from align_uniform.recipes.images import colours
from align_uniform.recipes.images.colours import Planes

Pixels = Image.Image | Planes
"""An image on its way through the steps: Pillow's for changes of shape, planes for changes of colour."""

_BLENDS = colours.brighten, colours.change_contrast, colours.saturate


class Step(ABC):
    """A change of an image, with random parameters or with none."""

    def __call__(self, pixels: Pixels, rng: random.Random) -> Pixels:
        """Change an image by parameters drawn from the generator; planes are changed in place."""
        return self.apply(pixels, self.draw(size_of(pixels), rng))

    def draw(self, _size: tuple[int, int], _rng: random.Random, /) -> tuple[float, ...]:
        """Return the parameters for an image of this width and height; always the same number of them."""
        return ()

    def resized(self, size: tuple[int, int], /) -> tuple[int, int]:
        """Return the width and height of the result."""
        return size

    @abstractmethod
    def apply(self, pixels: Pixels, drawn: tuple[float, ...], /) -> Pixels:
        """Change an image by parameters; planes are changed in place."""


def size_of(pixels: Pixels) -> tuple[int, int]:
    """Return width and height."""
    return pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[2], pixels.shape[1])


def as_planes(pixels: Pixels) -> Planes:
    """Return the planes of an image."""
    if not isinstance(pixels, Image.Image):
        return pixels
    values = np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.height, pixels.width, -1)
    return values.transpose(2, 0, 1).astype(np.float32, order="C")


def as_image(pixels: Pixels) -> Image.Image:
    """Return the image of planes."""
    if isinstance(pixels, Image.Image):
        return pixels
    values = pixels.astype(np.uint8)
    return Image.fromarray(values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0)))


@dataclass(frozen=True)
class RandomResizedCrop(Step):
    """Crop a random part of the image and resize it to a square.

    The area and the logarithm of the aspect ratio (3/4 to 4/3) are uniform.
    """

    size: int
    """Height and width of the result."""
    scale: tuple[float, float]
    """Smallest and largest share of the image's area."""

    def draw(self, size: tuple[int, int], rng: random.Random, /) -> tuple[int, int, int, int]:
        """Return left, top, width and height of a random part."""
        width, height = size
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return _below(width - w + 1, rng), _below(height - h + 1, rng), w, h
        w = min(width, round(height * 4 / 3))  # for a very long image: the widest part of an allowed ratio
        h = min(height, round(width / (3 / 4)))
        return (width - w) // 2, (height - h) // 2, w, h

    def resized(self, _size: tuple[int, int], /) -> tuple[int, int]:
        """Return the width and height of the result."""
        return self.size, self.size

    def apply(self, pixels: Pixels, drawn: tuple[float, ...], /) -> Image.Image:
        """Cut out and resize the part with the given left, top, width and height."""
        left, top, width, height = drawn
        part = as_image(pixels).crop((int(left), int(top), int(left + width), int(top + height)))
        return part.resize((self.size, self.size), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class RandomFlip(Step):
    """Swap left and right in half of the images."""

    def draw(self, _size: tuple[int, int], rng: random.Random, /) -> tuple[float, ...]:
        """Return whether to flip."""
        return (rng.random() < 0.5,)

    def apply(self, pixels: Pixels, drawn: tuple[float, ...], /) -> Pixels:
        """Swap left and right if the parameter is true."""
        if not drawn[0]:
            return pixels
        if isinstance(pixels, Image.Image):
            return pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.ascontiguousarray(pixels[:, :, ::-1])


@dataclass(frozen=True)
class ColorJitter(Step):
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

    def draw(self, _size: tuple[int, int], rng: random.Random, /) -> tuple[float, ...]:
        """Return for each of the four its place in the order, -1 if it is not to be made, and its factor."""
        if self.p < 1 and rng.random() >= self.p:
            return (-1.0, 0.0) * 4
        drawn: list[float] = []
        for centre, by in ((1, self.brightness), (1, self.contrast), (1, self.saturation), (0, self.hue)):
            if by:
                place = rng.random()
                factor = rng.uniform(max(0, centre - by), centre + by) if centre else rng.uniform(-by, by)
                drawn += place, factor
            else:
                drawn += -1.0, 0.0
        return tuple(drawn)

    def apply(self, pixels: Pixels, drawn: tuple[float, ...], /) -> Pixels:
        """Make the changes that have a place, in the order of their places."""
        order = sorted((drawn[2 * which], which) for which in range(4) if drawn[2 * which] >= 0)
        if not order:
            return pixels
        planes = as_planes(pixels)
        for _, which in order:
            factor = drawn[2 * which + 1]
            if which < len(_BLENDS):
                _BLENDS[which](planes, factor)
            else:
                colours.turn_hue(planes, colours.hue_steps(factor))
        return planes


@dataclass(frozen=True)
class RandomGrayscale(Step):
    """Replace the colours by grey, in three equal channels."""

    p: float = 0.2
    """Share of the images that are changed."""

    def draw(self, _size: tuple[int, int], rng: random.Random, /) -> tuple[float, ...]:
        """Return whether to replace them."""
        return (rng.random() < self.p,)

    def apply(self, pixels: Pixels, drawn: tuple[float, ...], /) -> Pixels:
        """Replace the colours if the parameter is true."""
        if not drawn[0]:
            return pixels
        planes = as_planes(pixels)
        planes[:] = colours.grey(planes)
        return planes


@dataclass(frozen=True)
class RandomBlur(Step):
    """Blur with a Gaussian."""

    sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the standard deviation, which is uniform, in pixels."""
    p: float = 0.5
    """Share of the images that are changed."""

    def draw(self, _size: tuple[int, int], rng: random.Random, /) -> tuple[float, ...]:
        """Return the standard deviation, 0 for an image that is not changed."""
        return (rng.uniform(*self.sigma) if rng.random() < self.p else 0.0,)

    def apply(self, pixels: Pixels, drawn: tuple[float, ...], /) -> Pixels:
        """Blur with the given standard deviation."""
        return as_image(pixels).filter(ImageFilter.GaussianBlur(drawn[0])) if drawn[0] else pixels


@dataclass(frozen=True)
class RandomAffine(Step):
    """Rotate, shift, scale and shear by uniform amounts; places outside the image are black."""

    degrees: float
    """Largest rotation, either way."""
    translate: float
    """Largest shift, as a share of width and height."""
    scale: tuple[float, float]
    """Smallest and largest scale."""
    shear: float
    """Largest shear along x, either way, in degrees."""

    def draw(self, size: tuple[int, int], rng: random.Random, /) -> tuple[float, ...]:
        """Return the angle, the shift along x and y in pixels, the scale and the shear."""
        shift = rng.uniform(-self.translate, self.translate), rng.uniform(-self.translate, self.translate)
        angle, scale = rng.uniform(-self.degrees, self.degrees), rng.uniform(*self.scale)
        return angle, shift[0] * size[0], shift[1] * size[1], scale, rng.uniform(-self.shear, self.shear)

    def apply(self, pixels: Pixels, drawn: tuple[float, ...], /) -> Image.Image:
        """Change the shape by the parameters."""
        image = as_image(pixels)
        coefficients = affine_coefficients(image.size, *drawn)
        return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Resize(Step):
    """Resize the image so that its shorter side has `size` pixels."""

    size: int
    """Length of the shorter side of the result."""

    def resized(self, size: tuple[int, int], /) -> tuple[int, int]:
        """Return the width and height of the result, of the same proportions."""
        return int(self.size * size[0] / min(size)), int(self.size * size[1] / min(size))

    def apply(self, pixels: Pixels, _drawn: tuple[float, ...], /) -> Pixels:
        """Resize the image, unless it has its size already."""
        size = size_of(pixels)
        if (resized := self.resized(size)) == size:
            return pixels
        return as_image(pixels).resize(resized, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class CenterCrop(Step):
    """Cut the central square out of an image that is at least as large."""

    size: int
    """Height and width of the square."""

    def resized(self, _size: tuple[int, int], /) -> tuple[int, int]:
        """Return the width and height of the square."""
        return self.size, self.size

    def apply(self, pixels: Pixels, _drawn: tuple[float, ...], /) -> Image.Image:
        """Cut out the square."""
        image = as_image(pixels)
        left, top = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))


def _below(count: int, rng: random.Random) -> int:
    return int(rng.random() * count)


def affine_coefficients(
    size: tuple[int, int], angle: float, right: float, down: float, scale: float, shear: float
) -> tuple[float, float, float, float, float, float]:
    """Return the numbers a to f that take a place (x, y) of the result to (a x + b y + c, d x + e y + f).

    The result is the image, of the given width and height, sheared along x and rotated (degrees) and scaled
    around its centre, and then shifted (pixels).
    """
    turn, lean = math.radians(angle), math.tan(math.radians(shear))
    xx, xy, yx, yy = inverse_affine(math.cos(turn), math.sin(turn), lean, scale)
    centre = size[0] / 2, size[1] / 2
    x, y = -centre[0] - right, -centre[1] - down
    return xx, xy, xx * x + xy * y + centre[0], yx, yy, yx * x + yy * y + centre[1]


Number = TypeVar("Number", float, Tensor)


def inverse_affine(
    cos: Number, sin: Number, lean: Number, scale: Number
) -> tuple[Number, Number, Number, Number]:
    """Return the 2x2 matrix, row by row, that maps places in the result to places in the image.

    The result is the image sheared along x by the tangent `lean`, then rotated by the angle with the given
    cosine and sine, and scaled.
    """
    return (cos - sin * lean) / scale, (sin + cos * lean) / scale, -sin / scale, cos / scale
