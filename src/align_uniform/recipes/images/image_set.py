"""Images with labels: pictures that are read one at a time, and the statistics of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from align_uniform.recipes.images.statistics import Statistics


class Pictures(Protocol):
    """A sequence of images of mode RGB or L."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image.Image: ...


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels.

    An image is read when it is asked for. A set can be sent to another process.
    """

    name: str
    pictures: Pictures
    labels: Tensor
    """Classes [N] as numbers from 0, int64; -1 for an image without label."""
    classes: tuple[str, ...]
    """The name of each label."""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.pictures):
            raise ValueError(
                f"{self.name} has {len(self.pictures)} images and {len(self.labels)} labels; give one label "
                "per image."
            )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[index]

    @property
    def channels(self) -> int:
        """3 for colour images, 1 for grey ones."""
        return len(self[0].getbands())

    def subset(self, rows: Sequence[int]) -> ImageSet:
        """Return the images of these rows, in this order."""
        rows = list(rows)
        return ImageSet(self.name, _Chosen(self.pictures, rows), self.labels[rows], self.classes)


@dataclass(frozen=True)
class _Chosen:
    pictures: Pictures
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[self.rows[index]]


@dataclass(frozen=True)
class GreyArrays:
    """Grey pictures in one array in memory."""

    pixels: NDArray[np.uint8]
    """Pixels of all pictures, [N, height, width]."""

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True)
class ImageFiles:
    """Pictures in files, converted to RGB."""

    paths: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image ({error}); remove or replace it.") from error


def evenly_spaced(images: ImageSet, at_most: int) -> ImageSet:
    """Return at most this many images, evenly spaced over the set."""
    count = min(at_most, len(images))
    return images.subset(np.linspace(0, len(images) - 1, count).round().astype(int).tolist())


def measure_statistics(images: ImageSet, at_most: int = 10_000) -> Statistics:
    """Return mean and standard deviation of each channel; all images count the same, whatever their size.

    Args:
        images: all RGB or all grey.
        at_most: number of images to read; of a larger set, evenly spaced ones.
    """
    if not len(images):
        raise ValueError(f"{images.name} has no image to measure the statistics of.")
    chosen = evenly_spaced(images, at_most)
    moments = []
    for row in range(len(chosen)):
        values = np.asarray(chosen[row], dtype=np.float64)
        pixels = values.reshape(values.shape[0] * values.shape[1], -1) / 255
        moments.append((pixels.mean(0), np.square(pixels).mean(0)))
    mean, square = (np.mean(moment, axis=0) for moment in zip(*moments, strict=True))
    std = np.sqrt(np.maximum(square - mean**2, 0))
    if not (std > 0).all():
        raise ValueError(
            f"A channel of {images.name} has one value in all {len(chosen)} images read; there is nothing to "
            "normalise by."
        )
    return Statistics(tuple(mean.tolist()), tuple(std.tolist()))
