"""How an encoder's pictures become tensors when they are encoded as they are, without random views."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from align_uniform.files.pictures import as_seen, read_picture
from align_uniform.recipes.images.datasets import DATASETS
from align_uniform.recipes.images.statistics import Statistics
from align_uniform.recipes.images.views import Transform, evaluation_transform

Picture = str | os.PathLike[str] | Image.Image
"""A picture in a file or in memory."""


@dataclass(frozen=True)
class Preparation:
    """The transform from a picture in a file or in memory to a tensor [channels, height, width], float32."""

    transform: Transform
    """The steps, which draw nothing at random, and the statistics to normalise by."""

    def __call__(self, picture: Picture) -> Tensor:
        """Return a picture as a tensor; it becomes grey or coloured as the encoder takes it.

        Raises:
            ValueError: the file is no picture, or the picture has floating-point or 32-bit values.
        """
        read = as_seen(picture) if isinstance(picture, Image.Image) else read_picture(picture)
        mode = "L" if len(self.transform.statistics.mean) == 1 else "RGB"
        return self.transform(read if read.mode == mode else read.convert(mode), random.Random(0))


def plain_transform(
    data: str, arch: str, size: int | None, statistics: Statistics | None
) -> tuple[str, Transform]:
    """Return the name of the preset that judges an encoder on images as they are, and its transform.

    Args:
        data: the data set that it was trained on, or an empty text.
        arch: its architecture, by which the preset is chosen where the data set is not known.
        size: height and width of the images; None for those of the preset.
        statistics: statistics to normalise by; None for those of the preset.
    """
    usual = "stl10" if arch.startswith("small") else "imagenet"
    preset = DATASETS[data].evaluation if data in DATASETS else usual
    return preset, evaluation_transform(preset, size=size, statistics=statistics)
