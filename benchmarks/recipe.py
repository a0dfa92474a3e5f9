"""The STL-10 recipe against a restatement of the reference's: views a second, images a second in training.

    python -m benchmarks.recipe [--batch 32] [--seconds 20] [--out FILE] [--force]

Views: the reference's pipeline is torchvision's transforms on PIL images; both make views of the same 96x96
pictures, in turns, on one core, and are timed by the processor's time. Step: SmallAlexNet, forward and
backward of both views, align + uniform, and SGD. The share of time waiting for data is measured on a loop
over a loader that makes the views in the process itself, with one core for them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms  # type: ignore[import-untyped]  # it is not typed

from align_uniform._writing import check_replaceable, written_whole
from align_uniform.recipes.encoders.networks import SmallAlexNet
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.statistics import STATISTICS
from align_uniform.recipes.images.views import TwoViews, generator, training_transform
from align_uniform.recipes.pretrain import two_view
from align_uniform.recipes.pretrain.loop import Trainer
from benchmarks.views import views_per_second

ROUNDS = 20


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser("python -m benchmarks.recipe", description=__doc__)
    parser.add_argument("--batch", type=int, default=32, help="number of images of a step (default: 32)")
    parser.add_argument("--seconds", type=float, default=20, help="time for the views (default: 20)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options = parser.parse_args()
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    images = pictures(max(128, 2 * options.batch))
    found = {**views_a_second(images, options.seconds), **step(images, options.batch)}
    table = Table(title=f"STL-10 recipe, {torch.get_num_threads()} threads", title_justify="left")
    for heading in ("", "ours", "reference", "ratio"):
        table.add_column(heading, justify="right")
    for what in ("views a second, one core", "images a second, training step"):
        ours, reference = found[what]
        table.add_row(what, f"{ours:,.1f}", f"{reference:,.1f}", f"{ours / reference:.2f}x")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    ours, reference = found["waiting"]
    sys.stdout.write(
        f"waiting for views, made in the same process: {ours:.1%} of our loop, {reference:.1%} of the "
        "reference's\n"
    )
    if options.out is not None:
        with written_whole(options.out) as partial:
            partial.write_text(
                json.dumps({"schema_version": 1, "batch": options.batch, **found}, indent=1) + "\n"
            )
    return 0


def pictures(count: int) -> ImageSet:
    """Return smooth random colour pictures of STL-10's size."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    made = [Image.fromarray(each).resize((96, 96), Image.Resampling.BICUBIC) for each in small]
    return ImageSet("pictures", made, torch.zeros(count, dtype=torch.int64), ("any",))


def reference_views() -> Callable[[Image.Image], Tensor]:
    """Return the reference's pipeline."""
    made: Callable[[Image.Image], Tensor] = transforms.Compose([
        transforms.RandomResizedCrop(64, scale=(0.08, 1)),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.4, 0.4, 0.4, 0.4),
        transforms.RandomGrayscale(p=0.2),
        transforms.ToTensor(),
        transforms.Normalize(*STATISTICS["stl10"]),
    ])  # fmt: skip
    return made


def views_a_second(images: ImageSet, seconds: float) -> dict[str, tuple[float, float]]:
    """Return medians over rounds in which both take turns."""
    ours = training_transform("stl10")
    numbers = iter(range(10**9))
    makers: list[Callable[[Image.Image], object]] = [
        lambda image: ours(image, generator(0, 0, next(numbers))),
        reference_views(),
    ]
    listed = [images[row] for row in range(len(images))]
    rounds = [
        [views_per_second(make, listed, seconds / ROUNDS / 2) for make in makers] for _ in range(ROUNDS)
    ]
    return {
        "views a second, one core": (
            statistics.median(a for a, _ in rounds),
            statistics.median(b for _, b in rounds),
        )
    }


def step(images: ImageSet, batch: int) -> dict[str, tuple[float, float]]:
    """Return the images a second, median over steps in turns, and the shares of both loops spent waiting."""
    with tempfile.TemporaryDirectory() as folder:
        options = two_view.options(
            out=Path(folder), batch_size=batch, epochs=2, workers=0, log_every=10**6, device="cpu"
        )
        torch.manual_seed(0)
        trainer = Trainer(
            options=options, model=two_view.TwoViewModel(SmallAlexNet(), options),
            views=TwoViews(images, training_transform("stl10"), 0), evaluate=dict,
        )  # fmt: skip
        plain = SmallAlexNet()
        optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        x, y = torch.randn(2, batch, 3, 64, 64)
        actions = (lambda: trainer.step(trainer.model, x, y), lambda: _reference(plain, optimizer, x, y))
        times = [[_seconds(action) for action in actions] for _ in range(ROUNDS)]
        speeds = [batch / statistics.median(column) for column in zip(*times, strict=True)]
        trainer.run()
        ours = statistics.fmean(line["waiting"] for line in trainer.history if "waiting" in line)
    reference = _waiting(lambda a, b: _reference(plain, optimizer, a, b), images, batch)
    return {"images a second, training step": (speeds[0], speeds[1]), "waiting": (ours, reference)}


def _waiting(train: Callable[[Tensor, Tensor], None], images: ImageSet, batch: int) -> float:
    """Return the share of an epoch of the reference's loop that is spent waiting for views."""
    pairs = _Pairs(images, reference_views())
    waited, began = 0.0, time.perf_counter()
    last = began
    for x, y in DataLoader(pairs, batch_size=batch, shuffle=True):
        waited += time.perf_counter() - last
        train(x, y)
        last = time.perf_counter()
    return waited / (last - began)


class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    """A data set of two views of each image."""

    def __init__(self, images: ImageSet, make: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.make = images, make

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.make(self.images[row]), self.make(self.images[row])


def _reference(encoder: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Take a step as the reference's example takes it."""
    a, b = encoder(torch.cat([x, y])).chunk(2)
    align = (a - b).norm(dim=1).pow(2).mean()
    uniform = (
        torch.pdist(a).pow(2).mul(-2).exp().mean().log() + torch.pdist(b).pow(2).mul(-2).exp().mean().log()
    ) / 2
    optimizer.zero_grad()
    (align + uniform).backward()
    optimizer.step()


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
