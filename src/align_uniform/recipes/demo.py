"""The demo: small encoders of handwritten digits, trained without labels, and the two quantities of each.

`align-uniform demo` trains with `align + uniform` and with the contrastive loss, in 64 dimensions over
several seeds and once on the circle. It compares them with an untrained encoder and with raw pixels, and
prints and draws alignment, uniformity and accuracy.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from align_uniform import (
    AlignUniformLoss,
    ContrastiveLoss,
    __version__,
    align_loss,
    figures,
    uniform_loss,
    uniform_optimum,
)
from align_uniform._messages import counted
from align_uniform._progress import progress_bar
from align_uniform._writing import check_absent, written_whole
from align_uniform.recipes.demo_options import DemoOptions
from align_uniform.recipes.encoders.networks import SmallConvNet
from align_uniform.recipes.images import digits
from align_uniform.recipes.judge.knn import knn_predict
from align_uniform.recipes.judge.logistic import linear_predict
from align_uniform.recipes.judge.scores import wilson

Objective = Callable[[Tensor, Tensor], Tensor]
"""A function from the outputs of two views, [N, dim] each, to a scalar loss."""

ALIGN_UNIFORM, CONTRASTIVE, UNTRAINED, PIXELS = (
    "align + uniform",
    "contrastive (τ = 0.5)",
    "random init",
    "raw pixels",
)
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    ALIGN_UNIFORM: lambda: AlignUniformLoss(normalize=False),  # the encoder normalises
    CONTRASTIVE: lambda: ContrastiveLoss(tau=0.5, normalize=False),
}
DIM = 64
"""Number of output features of the encoders that are not on the circle."""

LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-4
"""Settings of Adam; the learning rate falls to 0 along a cosine."""

FILES = ("results.json", "figure3.png", "figure3.svg", "plane.png", "plane.svg")
"""The files that the demo writes."""

NEXT = {
    "your features": "align-uniform measure x.npy --positives y.npy --report report.html",
    "your sentences": "align-uniform measure --encoder sentence-transformers:MODEL --texts pairs.csv",
    "your images": "align-uniform pretrain two-view --preset imagefolder --root FOLDER",
}
"""The commands that go on where the demo ends, by what they are for."""


GEOMETRY = ("align", "uniform", "− opt.")
ACCURACIES = ("linear %", "5-NN %", "5-NN % (out)")
"""The headings of the table, in the two parts that it has on a narrow terminal."""


@dataclass(frozen=True)
class Result:
    """The measurements of one encoder, on the test images alone."""

    name: str
    dim: int
    seed: int | None
    align: float
    """Alignment of two views of each test image."""
    uniform: float
    """Uniformity of the plain test images."""
    optimum: float
    """Uniformity of the uniform distribution."""
    linear: float
    """Accuracy of a linear classifier on the features; the features of raw pixels are the pixels."""
    knn: float
    """Accuracy of the 5 nearest neighbours among the features."""
    knn_output: float
    """Accuracy of the 5 nearest neighbours among the outputs, where alignment and uniformity are measured."""
    test_images: int
    """Number of test images."""
    circle: dict[str, list[list[float]] | list[float]] | None = field(default=None, repr=False)
    """Outputs and distances of positive pairs, of an encoder on the circle."""

    def __str__(self) -> str:
        return f"alignment {self.align:.3f}, uniformity {self.uniform:.3f}, 5-NN accuracy {self.knn:.1%}"


class Pixels(nn.Module):
    """An encoder that learns nothing: its output is the image, scaled to unit norm."""

    def features(self, images: Tensor) -> Tensor:
        """Return images, [N, 1, height, width], as rows, [N, height * width]."""
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return images, [N, 1, height, width], as rows of unit norm, [N, height * width]."""
        return F.normalize(images.flatten(1), dim=-1)


def run(options: DemoOptions) -> int:
    """Train, measure, print and draw; return the exit code, 130 after Ctrl-C."""
    for name in FILES:
        check_absent(options.out / name, force=options.force)
    options.out.mkdir(parents=True, exist_ok=True)
    split = digits.load_tensors()
    plan = list(_plan(options.seeds))
    results, code = _trained(plan, split, options)
    if code:
        sys.stderr.write(f"Interrupted: {len(results)} of {counted(len(plan), 'encoder')} are shown.\n")
    if results:
        written = _write(results, split, options)
        _print(results, written, options)
    return code


def _trained(plan: list[Planned], split: digits.Split, options: DemoOptions) -> tuple[list[Result], int]:
    """Return the measurements of the planned encoders, up to Ctrl-C if it is pressed, and the exit code."""
    results: list[Result] = []
    trained = sum(planned.objective is not None for planned in plan)
    with progress_bar("", trained * options.steps, shown=True) as progress:
        progress.say(
            f"Training {counted(trained, 'encoder')} of {len(split.train.labels):,} handwritten digits, "
            f"{options.steps} batches each, on the CPU; Ctrl-C shows what is done. Files go to "
            f"{options.out.resolve()}."
        )
        try:
            for planned in plan:
                progress(0, str(planned))
                results.append(planned.make(split, options.steps, lambda _: progress(1)))
                progress.say(f"{planned}: {results[-1]}")
        except KeyboardInterrupt:
            return results, 130
    return results, 0


class Planned(NamedTuple):
    """An encoder that the demo makes."""

    name: str
    dim: int
    """Number of output features; 0 for raw pixels."""
    seed: int
    objective: Callable[[], Objective] | None = None
    """The objective that the encoder is trained with, if it is trained."""

    def __str__(self) -> str:
        space = {0: "pixels", 2: "S¹"}.get(self.dim, f"{self.dim}-d")
        return f"{self.name}, {space}, seed {self.seed}" if self.dim else self.name

    def make(self, split: digits.Split, steps: int, on_step: Callable[[float], None]) -> Result:
        """Train the encoder, and measure it."""
        torch.manual_seed(self.seed)
        encoder = SmallConvNet(self.dim) if self.dim else Pixels()
        if self.objective is not None:
            train(encoder, split.train.images, self.objective(), steps=steps, on_step=on_step)
        return evaluate(self.name, encoder, self.seed, split)


def _plan(seeds: int) -> Iterator[Planned]:
    """Yield every encoder; those that need no training come first."""
    yield Planned(PIXELS, 0, 0)
    for seed in range(seeds):
        yield Planned(UNTRAINED, DIM, seed)
    yield Planned(UNTRAINED, 2, 0)
    for seed in range(seeds):
        for name, objective in OBJECTIVES.items():
            yield Planned(name, DIM, seed, objective)
    for name, objective in OBJECTIVES.items():
        yield Planned(name, 2, 0, objective)


def train(
    encoder: nn.Module,
    images: Tensor,
    objective: Objective,
    *,
    steps: int,
    batch_size: int = 128,
    on_step: Callable[[float], None] | None = None,
) -> None:
    """Train an encoder in place, without labels, on two random views of each image.

    Args:
        encoder: network from images to outputs on the sphere.
        images: images of digits, [N, 1, height, width].
        objective: `AlignUniformLoss(...)`, `ContrastiveLoss(...)`, or any function like them.
        steps: number of batches.
        batch_size: number of images in a batch.
        on_step: function that is called after every step with its loss.
    """
    optimizer = torch.optim.Adam(encoder.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    batches = _shuffled_batches(images, batch_size)
    encoder.train()
    for _ in range(steps):
        batch = next(batches)
        x, y = encoder(torch.cat([digits.random_views(batch), digits.random_views(batch)])).chunk(2)
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if on_step is not None:
            on_step(loss.item())


def _shuffled_batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Yield full batches without end, each image at most once in a pass over the images."""
    size = min(size, len(images))
    while True:
        for rows in torch.randperm(len(images), device=images.device).split(size):
            if len(rows) == size:
                yield images[rows]


@torch.no_grad()
def evaluate(name: str, encoder: SmallConvNet | Pixels, seed: int, split: digits.Split) -> Result:
    """Measure an encoder on test images: alignment of two views, uniformity of plain images, accuracies."""
    encoder.eval()
    train, test = split.train, split.test
    torch.manual_seed(0)  # the same views for every encoder
    x, y = (encoder(digits.random_views(test.images)) for _ in range(2))
    train_output, output = encoder(train.images), encoder(test.images)
    train_features, features = encoder.features(train.images), encoder.features(test.images)
    with torch.enable_grad():
        linear = linear_predict(train_features, train.labels, features)
    circle = None
    if output.shape[1] == 2:
        circle = {
            "features": output.tolist(),
            "pair_distances": align_loss(x, y, alpha=1, reduction="none").tolist(),
        }
    return Result(
        name=name,
        dim=output.shape[1],
        seed=seed,
        align=align_loss(x, y).item(),
        uniform=uniform_loss(output).item(),
        optimum=uniform_optimum(output.shape[1]),
        linear=_accuracy(linear, test.labels),
        knn=_accuracy(knn_predict(train_features, train.labels, features), test.labels),
        knn_output=_accuracy(knn_predict(train_output, train.labels, output), test.labels),
        test_images=len(test.labels),
        circle=circle,
    )


def _accuracy(predicted: Tensor, labels: Tensor) -> float:
    return (predicted == labels).double().mean().item()


# ---------------------------------------------------------------------------------------------- what is shown


def _print(results: list[Result], written: list[Path], options: DemoOptions) -> None:
    """Print the table, what it means, the files, and the next commands."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=128)  # a file or a pipe has no edge to wrap at
    for table in _tables(results, console.width):
        console.print(table)
    images, names = results[0].test_images, {path.name for path in written}
    right = round(0.98 * images)
    low, high = (100 * bound for bound in wilson(right, images))
    for line in (
        "(out): on the outputs, where alignment and uniformity are measured; otherwise on the layer kept "
        "for other tasks.",
        "Alignment is that of two random views of each test image, uniformity that of the plain test "
        "images; alpha = t = 2.",
        *([f"± is the deviation over {counted(options.seeds, 'seed')}."] if options.seeds > 1 else []),
        f"One accuracy of {right / images:.1%} has a 95% interval of {low:.1f} to {high:.1f}%: too wide to "
        "rank objectives by.",
        "On another processor, or with another torch, the numbers differ as much as between seeds.",
        f"Written to {options.out.resolve()}: {', '.join(path.name for path in written)}",
        *(["Look at plane.png: alignment and uniformity of every encoder."] if "plane.png" in names else []),
        *(["Look at figure3.png: the encoders on the circle."] if "figure3.png" in names else []),
        "Next, on data of your own:",
        *(f"  {what:<15} {command}" for what, command in NEXT.items()),
    ):
        console.print(line, highlight=False, soft_wrap=not console.is_terminal)


def _tables(results: list[Result], width: int) -> list[Table]:
    """Return a row for each kind of encoder, in one table if it fits the width, else in two."""
    cells: list[tuple[str, ...]] = [("encoder", "dim", *GEOMETRY, *ACCURACIES)]
    for name, dim in dict.fromkeys((result.name, result.dim) for result in results):
        group = [result for result in results if (result.name, result.dim) == (name, dim)]
        accuracies = [
            [100 * getattr(result, key) for result in group] for key in ("linear", "knn", "knn_output")
        ]
        cells.append(
            (
                name,
                str(dim),
                _spread([result.align for result in group], 3),
                _spread([result.uniform for result in group], 3),
                _spread([result.uniform - result.optimum for result in group], 3),
                *(_spread(values, 1) for values in accuracies),
            )
        )
    title = f"Handwritten digits, {counted(results[0].test_images, 'test image')}"
    border = 3 * len(cells[0]) + 1
    if border + sum(max(map(len, column)) for column in zip(*cells, strict=True)) <= width:
        return [_table(title, cells)]
    cut = 2 + len(GEOMETRY)
    return [
        _table(f"{title}: alignment and uniformity", [row[:cut] for row in cells]),
        _table(f"{title}: accuracies", [row[:2] + row[cut:] for row in cells]),
    ]


def _table(title: str, cells: list[tuple[str, ...]]) -> Table:
    """Return a table of cells, the headings first."""
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    table.add_column(cells[0][0], no_wrap=True)
    for column in cells[0][1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in cells[1:]:
        table.add_row(*row)
    return table


def _spread(values: list[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _write(results: list[Result], split: digits.Split, options: DemoOptions) -> list[Path]:
    """Write the figures and results.json, and return their paths."""
    written = []
    on_circle = [
        figures.CircleFeatures(
            result.name,
            np.asarray(result.circle["pair_distances"]),
            np.asarray(result.circle["features"]),
            split.test.labels.numpy(),
        )
        for result in results
        if result.circle is not None
    ]
    if on_circle:
        written += figures.save(figures.circle_figure(on_circle, split.classes), options.out / "figure3")
    points = [figures.PlanePoint(r.name, r.align, r.uniform, r.knn_output) for r in results if r.dim == DIM]
    if points:
        plane = figures.plane_figure(points, uniform_optimum(DIM), "5-NN accuracy of the outputs")
        written += figures.save(plane, options.out / "plane")
    document = {
        "schema_version": 1,
        "version": __version__,
        "torch": torch.__version__,
        "options": {**asdict(options), "out": str(options.out)},
        "results": [
            {key: value for key, value in asdict(result).items() if key != "circle"} for result in results
        ],
    }
    path = options.out / "results.json"
    with written_whole(path) as partial:
        partial.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return [*written, path]
