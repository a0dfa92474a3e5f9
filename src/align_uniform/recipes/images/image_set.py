"""Images with labels: pictures that are read one at a time, and the statistics of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from align_uniform._messages import counted
from align_uniform.files.pictures import read_picture
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
    notes: tuple[str, ...] = ()
    """Sentences about what was left out, for those who asked for the images."""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.pictures):
            raise ValueError(
                f"{self.name} has {counted(len(self.pictures), 'image')} and "
                f"{counted(len(self.labels), 'label')}; give one label per image."
            )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[index]

    @property
    def channels(self) -> int:
        """3 for colour images, 1 for grey ones."""
        return len(self[0].getbands())

    def described(self, row: int) -> str:
        """Return the path of the file of an image, or else its class."""
        if (path := path_of(self.pictures, row)) is not None:
            return path
        label = int(self.labels[row])
        return self.classes[label] if label >= 0 else ""

    def subset(self, rows: Sequence[int]) -> ImageSet:
        """Return the images of these rows, in this order."""
        rows = list(rows)
        return replace(self, pictures=_Chosen(self.pictures, rows), labels=self.labels[rows])


@dataclass(frozen=True)
class _Chosen:
    pictures: Pictures
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[self.rows[index]]


@dataclass(frozen=True)
class Arrays:
    """Pictures in one array in memory."""

    pixels: NDArray[np.uint8]
    """Pixels of all pictures, [N, height, width] if they are grey, else [N, height, width, 3]."""

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True)
class ImageFiles:
    """Pictures in files, upright, with 8 bits a channel, and converted to RGB."""

    paths: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        picture = read_picture(self.paths[index])
        return picture if picture.mode == "RGB" else picture.convert("RGB")


def path_of(pictures: Pictures, index: int) -> str | None:
    """Return the path of the file of a picture, or None if it has no file of its own."""
    if isinstance(pictures, _Chosen):
        return path_of(pictures.pictures, pictures.rows[index])
    return pictures.paths[index] if isinstance(pictures, ImageFiles) else None


def evenly_spaced(images: ImageSet, at_most: int) -> ImageSet:
    """Return at most this many images, evenly spaced over the set."""
    count = min(at_most, len(images))
    return images.subset(np.linspace(0, len(images) - 1, count).round().astype(int).tolist())


def drawn_evenly(images: ImageSet, at_most: int, seed: int) -> ImageSet:
    """Return at most this many images, drawn at random and kept in their order.

    As many are drawn of each class as of any other, as far as a class has them. Images without a label keep
    their share of the set.

    Args:
        images: the images to draw from.
        at_most: the number of images to draw; a smaller set is returned as it is.
        seed: the seed of the draw; not negative.
    """
    if at_most >= len(images):
        return images
    order = np.random.default_rng(seed).permutation(len(images))
    labels = images.labels.numpy()[order]
    unlabelled = order[labels < 0][: round(at_most * np.mean(labels < 0))]
    order, labels = order[labels >= 0], labels[labels >= 0]
    # The first image of every class comes before the second of any.
    by_class = np.argsort(labels, kind="stable")
    turns = np.empty_like(by_class)
    turns[by_class] = np.arange(len(labels)) - np.searchsorted(labels[by_class], labels[by_class])
    labelled = order[np.argsort(turns, kind="stable")][: at_most - len(unlabelled)]
    return images.subset(sorted([*unlabelled.tolist(), *labelled.tolist()]))


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
            f"A channel of {images.name} has one value in all {counted(len(chosen), 'image')} read; there is "
            "nothing to normalise by."
        )
    return Statistics(tuple(mean.tolist()), tuple(std.tolist()))
