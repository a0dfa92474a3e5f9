"""The steps of views against `torchvision.transforms.v2.functional`, with the same parameters, on one core.

    python -m benchmarks.views [--seconds 0.5] [--out FILE] [--force]

Both change the same PIL images, of STL-10's size and of 500x400 pixels, in turns; times are medians of the
processor's time. `differs` is the share of values that are not equal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table
from torchvision.transforms.v2 import functional as v2  # type: ignore[import-untyped]  # it is not typed

from align_uniform._writing import check_replaceable, written_whole
from align_uniform.recipes.images import augmentations
from align_uniform.recipes.images.statistics import STATISTICS
from align_uniform.recipes.images.views import Transform, generator

SIZES = {"STL-10": (96, 96, 64), "photograph": (500, 400, 224)}
"""Width and height of the images, and the size of their views."""
ROUNDS = 9
View = Callable[[Image.Image], object]


class Pair(NamedTuple):
    """Two ways to the same pixels."""

    ours: View
    theirs: View


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser("python -m benchmarks.views", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each step (default: 0.5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options = parser.parse_args()
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = [
        {"images": kind, "step": step, **compared(pair, photographs(width, height), options.seconds)}
        for kind, (width, height, size) in SIZES.items()
        for step, pair in steps(size).items()
    ]
    table = Table(title="Microseconds of a step on one core", title_justify="left")
    for heading in ("images", "step", "ours", "torchvision v2", "theirs / ours", "differs"):
        table.add_column(heading, justify="right")
    for row in rows:
        ours, theirs = row["ours"], row["theirs"]
        numbers = f"{ours:.0f}", f"{theirs:.0f}", f"{theirs / ours:.2f}", f"{row['differs']:.2%}"
        table.add_row(row["images"], row["step"], *numbers)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    seconds, mib = import_cost()
    sys.stdout.write(f"Importing torchvision.transforms.v2 takes {seconds:.2f} s and {mib:.0f} MiB more.\n")
    if options.out is not None:
        content = {"schema_version": 1, "import": {"seconds": seconds, "mib": mib}, "rows": rows}
        with written_whole(options.out) as partial_file:
            partial_file.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def compared(pair: Pair, images: Sequence[Image.Image], seconds: float) -> dict[str, float]:
    """Return the times of both, and how much their results differ."""
    ours, theirs = microseconds(pair, images, seconds)
    return {"ours": ours, "theirs": theirs, "differs": differing(pair, images)}


def photographs(width: int, height: int, count: int = 16) -> list[Image.Image]:
    """Return smooth random colour images."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (count, height // 8, width // 8, 3), dtype=np.uint8)
    return [Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC) for each in small]


def steps(size: int) -> dict[str, Pair]:
    """Return each step, with fixed parameters, and what torchvision has in its place."""
    return {**crops(size), **colours(), **others()}


def crops(size: int) -> dict[str, Pair]:
    """Return the steps that cut or resize."""
    crop, rng = augmentations.RandomResizedCrop(size, (0.5, 0.5)), generator(0, 0, 0)
    resize, centre = augmentations.Resize(size), augmentations.CenterCrop(size)

    def resized_crop(image: Image.Image) -> object:
        left, top, width, height = crop.box(image.width, image.height, generator(0, 0, 0))
        return v2.resized_crop(image, top, left, height, width, [size, size])

    return {
        "crop and resize": Pair(lambda image: crop(image, generator(0, 0, 0)), resized_crop),
        "shorter side": Pair(lambda image: resize(image, rng), partial(v2.resize, size=[size])),
        "centre": Pair(lambda image: centre(image, rng), partial(v2.center_crop, output_size=[size])),
    }


def colours() -> dict[str, Pair]:
    """Return the steps that change colours."""
    changes = {"brightness": 1.2, "contrast": 1.2, "saturation": 1.2, "hue": 0.2}
    found = {
        name: Pair(
            *(partial(_called, getattr(module, f"adjust_{name}"), by) for module in (augmentations, v2))
        )
        for name, by in changes.items()
    }
    always = augmentations.RandomGrayscale(p=1)
    grey = Pair(
        lambda image: always(image, generator(0, 0, 0)), partial(v2.rgb_to_grayscale, num_output_channels=3)
    )
    return {**found, "grey": grey}


def _called(change: Callable[[Image.Image, float], object], by: float, image: Image.Image) -> object:
    return change(image, by)


def others() -> dict[str, Pair]:
    """Return the other steps, and the tensor at the end."""
    blur, ours = ImageFilter.GaussianBlur(1.0), Transform((), STATISTICS["imagenet"])

    def tensor(image: Image.Image) -> object:
        values = v2.to_dtype(v2.pil_to_tensor(image), torch.float32, scale=True)
        return v2.normalize(values, *map(list, STATISTICS["imagenet"]))

    return {
        "flip": Pair(lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), v2.horizontal_flip),
        "blur": Pair(
            lambda image: image.filter(blur), partial(v2.gaussian_blur, kernel_size=[9, 9], sigma=[1.0, 1.0])
        ),
        "affine": Pair(
            partial(augmentations.affine, angle=10.0, shift=(2.0, 3.0), scale=1.1, shear=6.0),
            partial(v2.affine, angle=10.0, translate=[2.0, 3.0], scale=1.1, shear=[6.0, 0.0],
                    interpolation=v2.InterpolationMode.BILINEAR),
        ),
        "tensor": Pair(lambda image: ours(image, generator(0, 0, 0)), tensor),
    }  # fmt: skip


def microseconds(pair: Pair, images: Sequence[Image.Image], seconds: float) -> tuple[float, float]:
    """Return the medians, over rounds in which both take turns, of the time that an image takes."""
    rounds = [
        [1e6 / views_per_second(view, images, seconds / ROUNDS / 2) for view in pair] for _ in range(ROUNDS)
    ]
    return statistics.median(ours for ours, _ in rounds), statistics.median(theirs for _, theirs in rounds)


def differing(pair: Pair, images: Sequence[Image.Image]) -> float:
    """Return the share of values that differ between both, over all images."""
    both = ([np.asarray(view(image)) for view in pair] for image in images)
    return statistics.fmean(float((ours != theirs).mean()) for ours, theirs in both)


def import_cost() -> tuple[float, float]:
    """Return the seconds and MiB that importing v2 takes in a process that has loaded torch and our views."""
    program = (
        "import resource, time, align_uniform.recipes.images.views\n"
        "held = lambda: int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 2**20\n"
        "start, before = time.process_time(), held()\n"
        "from torchvision.transforms.v2 import functional\n"
        "print(time.process_time() - start, held() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, mib = map(float, done.stdout.split())
    return seconds, mib


def views_per_second(view: View, images: Sequence[Image.Image], seconds: float = 1.0) -> float:
    """Return how many views a core makes in a second, from the processor time of this process."""
    start = time.process_time()
    for made, image in enumerate(cycle(images)):
        if (spent := time.process_time() - start) > seconds:
            return made / spent
        view(image)
    raise ValueError("There is no image to make views of.")


if __name__ == "__main__":
    sys.exit(main())
