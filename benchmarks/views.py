"""The speed at which views of images are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle

from PIL import Image


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
