"""Views and their steps against torchvision's, on one core.

    python -m benchmarks.views [--seconds 0.5] [--out FILE] [--force]

Whole views: those of each preset, from the image to the tensor, next to a `Compose` of torchvision's
transforms on PIL images. The first step alone, the crop, is what no augmentation can do without; *in batches*
is `recipes.images.batches` with this core as its device. Then each step, with the same parameters, next to
`torchvision.transforms.v2.functional`: images of Pillow, of STL-10's size and of 500x400 pixels; `differs` is
the share of values that are not equal. All take turns, in the processor's time: whole views in their best
round, with the median of the ratios; steps in the median. Ours include the way from an image to an array.
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
from torchvision import transforms  # type: ignore[import-untyped]  # it is not typed
from torchvision.transforms.v2 import functional as v2  # type: ignore[import-untyped]  # it is not typed

from align_uniform._writing import check_replaceable, written_whole
from align_uniform.recipes.images import augmentations
from align_uniform.recipes.images import colours as colour_changes
from align_uniform.recipes.images.batches import Drafting, render
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.statistics import STATISTICS
from align_uniform.recipes.images.views import Transform, TwoViews, generator, training_transform

SIZES = {"STL-10": (96, 96, 64), "photograph": (500, 400, 224)}
"""Width and height of the images, and the size of their views."""
ROUNDS = 9
VIEWS = 64
"""The number of views of a round."""
View = Callable[[Image.Image], object]


IMAGES = {
    "stl10": (96, 96, "RGB"),
    "cifar10": (32, 32, "RGB"),
    "fashion-mnist": (28, 28, "L"),
    "moco-v1": (500, 400, "RGB"),
    "moco-v2": (500, 400, "RGB"),
    "digits": (16, 16, "L"),
}
"""The width, height and mode of the images of each preset."""


class Pair(NamedTuple):
    """Two ways to the same pixels."""

    ours: View
    theirs: View


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser("python -m benchmarks.views", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds for each step (default: 0.5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options = parser.parse_args()
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    torch.set_num_threads(1)
    views = [row_of_views(preset, options.seconds) for preset in IMAGES]
    print_views(views)
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
        loading = {"seconds": seconds, "mib": mib}
        content = {"schema_version": 2, "import": loading, "views": views, "rows": rows}
        with written_whole(options.out) as partial_file:
            partial_file.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def row_of_views(preset: str, seconds: float) -> dict[str, Any]:
    """Return the views that a core makes in a second in each way, in the best round, and the median ratio."""
    width, height, mode = IMAGES[preset]
    images = [image.convert(mode) for image in photographs(width, height, VIEWS)]
    transform, theirs = training_transform(preset), torchvisions(preset)
    ways: dict[str, Callable[[int], object]] = {
        "ours": lambda row: transform(images[row], generator(0, 0, row)),
        "torchvision": lambda row: theirs(images[row]),
        "first step": lambda row: transform.steps[0](images[row], generator(0, 0, row)),
    }
    rounds = [
        [timed(way) for way in ways.values()] + [batched_per_second(transform, images)]
        for _ in range(max(3, round(seconds * ROUNDS)))
    ]
    found = dict(zip([*ways, "in batches"], map(max, zip(*rounds, strict=True)), strict=True))
    ratio = statistics.median(row[0] / row[1] for row in rounds)
    size, _ = transform.steps[0].resized((width, height))
    return {"preset": preset, "image": [width, height], "view": size, **found, "ratio": ratio}


def timed(way: Callable[[int], object]) -> float:
    """Return the views that a core makes in a second; the same ones in each call."""
    torch.manual_seed(0)
    start = time.process_time()
    for row in range(VIEWS):
        way(row)
    return VIEWS / (time.process_time() - start)


def batched_per_second(transform: Transform, images: Sequence[Image.Image]) -> float:
    """Return the views that a core makes in a second, of all images at once."""
    labels = torch.zeros(len(images), dtype=torch.int64)
    drafting = Drafting(TwoViews(ImageSet("images", list(images), labels, ("any",)), transform, seed=0))
    drafting.done = int(images[0].width > 128)  # photographs would be in files
    start = time.process_time()
    first, second = render(
        drafting.collate([drafting[0, row] for row in range(len(images))]), transform, torch.device("cpu")
    )
    return (len(first) + len(second)) / (time.process_time() - start)


def torchvisions(preset: str) -> View:
    """Return the pipeline of a preset in transforms of torchvision."""
    size = training_transform(preset).steps[0].resized(IMAGES[preset][:2])[0]
    flip, grey = transforms.RandomHorizontalFlip(), transforms.RandomGrayscale(p=0.2)
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.4)
    weaker = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
    blur = transforms.RandomApply([transforms.GaussianBlur(9, sigma=(0.1, 2.0))], p=0.5)
    bilinear = transforms.InterpolationMode.BILINEAR
    affine = transforms.RandomAffine(
        15, translate=(0.12, 0.12), scale=(0.8, 1.2), shear=12, interpolation=bilinear
    )
    low = {"stl10": 0.08, "fashion-mnist": 0.3}.get(preset, 0.2)
    crop = transforms.RandomResizedCrop(size, scale=(low, 1.0))
    steps = {
        "stl10": [crop, flip, jitter, grey],
        "cifar10": [crop, flip, weaker, grey],
        "fashion-mnist": [crop, flip, transforms.ColorJitter(0.4, 0.4)],
        "moco-v1": [crop, grey, jitter, flip],
        "moco-v2": [crop, weaker, grey, blur, flip],
        "digits": [affine, transforms.ColorJitter(0.3), transforms.Resize(size)],
    }[preset]
    normalize = transforms.Normalize(*training_transform(preset).statistics)
    made: View = transforms.Compose([*steps, transforms.ToTensor(), normalize])
    return made


def print_views(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table of whole views."""
    table = Table(title="Views a second on one core", title_justify="left")
    for heading in ("preset", "pixels", "ours", "torchvision", "ratio", "first step", "in batches"):
        table.add_column(heading, justify="right")
    for row in rows:
        width, height = row["image"]
        numbers = (f"{row[name]:,.0f}" for name in ("ours", "torchvision", "first step", "in batches"))
        ours, theirs, crop, batches = numbers
        pixels = f"{width}x{height} to {row['view']}"
        table.add_row(row["preset"], pixels, ours, theirs, f"{row['ratio']:.2f}x", crop, batches)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def compared(pair: Pair, images: Sequence[Image.Image], seconds: float) -> dict[str, float]:
    """Return the times of both, and how much their results differ."""
    ours, theirs = microseconds(pair, images, seconds)
    return {"ours": ours, "theirs": theirs, "differs": differing(pair, images)}


def photographs(width: int, height: int, number: int = 16) -> list[Image.Image]:
    """Return smooth random colour images."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (number, height // 8, width // 8, 3), dtype=np.uint8)
    return [Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC) for each in small]


def steps(size: int) -> dict[str, Pair]:
    """Return each step, with fixed parameters, and what torchvision has in its place."""
    return {**crops(size), **colours(), **others()}


def crops(size: int) -> dict[str, Pair]:
    """Return the steps that cut or resize."""
    crop, rng = augmentations.RandomResizedCrop(size, (0.5, 0.5)), generator(0, 0, 0)
    resize, centre = augmentations.Resize(size), augmentations.CenterCrop(size)

    def resized_crop(image: Image.Image) -> object:
        left, top, width, height = crop.draw(image.size, generator(0, 0, 0))
        return v2.resized_crop(image, top, left, height, width, [size, size])

    return {
        "crop and resize": Pair(lambda image: crop(image, generator(0, 0, 0)), resized_crop),
        "shorter side": Pair(lambda image: resize(image, rng), partial(v2.resize, size=[size])),
        "centre": Pair(lambda image: centre(image, rng), partial(v2.center_crop, output_size=[size])),
    }


def colours() -> dict[str, Pair]:
    """Return the steps that change colours, ours from the image's pixels to an array of them."""
    changes: dict[str, tuple[Callable[[colour_changes.Planes, Any], None], float, float]] = {
        "brightness": (colour_changes.brighten, 1.2, 1.2),
        "contrast": (colour_changes.change_contrast, 1.2, 1.2),
        "saturation": (colour_changes.saturate, 1.2, 1.2),
        "hue": (colour_changes.turn_hue, colour_changes.hue_steps(0.2), 0.2),
    }
    found = {
        name: Pair(partial(_changed, change, by), partial(_called, getattr(v2, f"adjust_{name}"), theirs))
        for name, (change, by, theirs) in changes.items()
    }
    always = augmentations.RandomGrayscale(p=1)
    grey = Pair(
        lambda image: always(image, generator(0, 0, 0)), partial(v2.rgb_to_grayscale, num_output_channels=3)
    )
    return {**found, "grey": grey}


def _changed(
    change: Callable[[colour_changes.Planes, Any], None], by: float, image: Image.Image
) -> colour_changes.Planes:
    planes = augmentations.as_planes(image)
    change(planes, by)
    return planes


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
            partial(_applied, augmentations.RandomAffine(0, 0, (1, 1), 0), (10.0, 2.0, 3.0, 1.1, 6.0)),
            partial(v2.affine, angle=10.0, translate=[2.0, 3.0], scale=1.1, shear=[6.0, 0.0],
                    interpolation=v2.InterpolationMode.BILINEAR),
        ),
        "tensor": Pair(lambda image: ours(image, generator(0, 0, 0)), tensor),
    }  # fmt: skip


def _applied(step: augmentations.Step, drawn: tuple[float, ...], image: Image.Image) -> augmentations.Pixels:
    return step.apply(image, drawn)


def microseconds(pair: Pair, images: Sequence[Image.Image], seconds: float) -> tuple[float, float]:
    """Return the medians, over rounds in which both take turns, of the time that an image takes."""
    rounds = [
        [1e6 / views_per_second(view, images, seconds / ROUNDS / 2) for view in pair] for _ in range(ROUNDS)
    ]
    return statistics.median(ours for ours, _ in rounds), statistics.median(theirs for _, theirs in rounds)


def differing(pair: Pair, images: Sequence[Image.Image]) -> float:
    """Return the share of values that differ between both, over all images."""
    both = ([np.asarray(_seen(view(image))) for view in pair] for image in images)
    return statistics.fmean(float((ours != theirs).mean()) for ours, theirs in both)


def _seen(result: object) -> object:
    """Return planes as the image that they are."""
    return augmentations.as_image(result) if isinstance(result, np.ndarray) else result


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
