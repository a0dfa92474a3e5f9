"""The demo: encoders of handwritten digits, trained without labels in a minute or two, and what the two
quantities say of them.

`align-uniform demo` trains with `align + uniform` and with the contrastive loss, in 64 dimensions over
several seeds and once on the circle; sets them beside an untrained encoder and raw pixels; and prints and
draws alignment, uniformity and accuracy.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
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
from align_uniform._writing import written_whole
from align_uniform.recipes.demo_options import DemoOptions
from align_uniform.recipes.encoders.networks import SmallConvNet
from align_uniform.recipes.images import digits
from align_uniform.recipes.judge.knn import knn_predict
from align_uniform.recipes.judge.logistic import linear_predict
from align_uniform.recipes.judge.scores import wilson
from align_uniform.recipes.small_two_view import Objective, Schedule, train

ALIGN_UNIFORM, CONTRASTIVE, UNTRAINED, PIXELS = (
    "align + uniform",
    "contrastive (τ = 0.5)",
    "random init",
    "raw pixels",
)
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    ALIGN_UNIFORM: lambda: AlignUniformLoss(),
    CONTRASTIVE: lambda: ContrastiveLoss(tau=0.5),
}
DIM = 64


@dataclass(frozen=True)
class Result:
    """What was measured of one encoder, on the test images alone."""

    name: str
    dim: int
    seed: int | None
    align: float
    """Of two views of each test image."""
    uniform: float
    """Of the plain test images."""
    optimum: float
    linear: float
    """Accuracy of a linear classifier on the features; raw pixels are their own features."""
    knn: float
    """5-nearest-neighbour accuracy on the features."""
    knn_output: float
    """The same on the outputs, which is where alignment and uniformity are measured."""
    test_images: int
    circle: dict[str, list[list[float]] | list[float]] | None = field(default=None, repr=False)


class Pixels(nn.Module):
    """The encoder that learns nothing: the image itself, scaled to unit norm."""

    def features(self, images: Tensor) -> Tensor:
        """[N, 1, height, width] -> [N, height * width]."""
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 1, height, width] -> [N, height * width], of unit norm."""
        return F.normalize(images.flatten(1), dim=-1)


def run(options: DemoOptions) -> int:
    """Train, measure, print and draw; return the exit code, 130 after Ctrl-C."""
    files = [
        options.out / name
        for name in ("results.json", "figure3.png", "figure3.svg", "plane.png", "plane.svg")
    ]
    if (existing := [str(file) for file in files if file.exists()]) and not options.force:
        raise ValueError(f"{existing[0]} exists; pass --force to replace it, or another folder with --out.")
    options.out.mkdir(parents=True, exist_ok=True)

    split = digits.load_tensors()
    results: list[Result] = []
    code = 0
    plan = list(_plan(options.seeds))
    with _progress() as progress:
        task = progress.add_task(
            "", total=sum(objective is not None for *_, objective in plan) * options.steps
        )
        try:
            for name, dim, seed, objective in plan:
                progress.update(task, description=f"{name}, {_space(dim)}, seed {seed}")
                results.append(
                    _make(name, dim, seed, objective, split, options.steps, lambda _: progress.advance(task))
                )
        except KeyboardInterrupt:
            code = 130
    if code:
        Console(stderr=True).print(f"Interrupted: {len(results)} of {len(plan)} encoders are shown.")
    if results:
        written = _write(results, split, options)
        _print(results, written, options)
    return code


def _plan(seeds: int) -> Iterator[tuple[str, int, int, Callable[[], Objective] | None]]:
    """Every encoder as `name, dim, seed, objective`; what needs no training first."""
    yield PIXELS, 0, 0, None
    for seed in range(seeds):
        yield UNTRAINED, DIM, seed, None
    yield UNTRAINED, 2, 0, None
    for seed in range(seeds):
        for name, objective in OBJECTIVES.items():
            yield name, DIM, seed, objective
    for name, objective in OBJECTIVES.items():
        yield name, 2, 0, objective


def _make(
    name: str,
    dim: int,
    seed: int,
    objective: Callable[[], Objective] | None,
    split: digits.Split,
    steps: int,
    on_step: Callable[[float], None],
) -> Result:
    torch.manual_seed(seed)
    encoder = SmallConvNet(dim) if dim else Pixels()
    if objective is not None:
        train(encoder, split.train.images, digits.random_views, objective(), Schedule(steps=steps), on_step)
    return evaluate(name, encoder, seed, split)


@torch.no_grad()
def evaluate(name: str, encoder: SmallConvNet | Pixels, seed: int, split: digits.Split) -> Result:
    """Measure an encoder as in the paper: alignment on augmented pairs, uniformity on plain images, all of
    the test set.
    """
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


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _space(dim: int) -> str:
    return {0: "pixels", 2: "S¹"}.get(dim, f"{dim}-d")


def _print(results: list[Result], written: list[Path], options: DemoOptions) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=128)  # a file or a pipe has no edge to wrap at
    table = Table(
        title=f"Handwritten digits, {results[0].test_images} test images",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )
    table.add_column("encoder", no_wrap=True)
    for column in ("dim", "align", "uniform", "− opt.", "linear %", "5-NN %", "5-NN % (out)"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, dim in dict.fromkeys((result.name, result.dim) for result in results):
        group = [result for result in results if (result.name, result.dim) == (name, dim)]
        accuracies = [
            [100 * getattr(result, key) for result in group] for key in ("linear", "knn", "knn_output")
        ]
        table.add_row(
            name,
            str(dim),
            _spread([result.align for result in group], 3),
            _spread([result.uniform for result in group], 3),
            _spread([result.uniform - result.optimum for result in group], 3),
            *(_spread(values, 1) for values in accuracies),
        )
    console.print(table)
    images = results[0].test_images
    right = round(0.98 * images)
    low, high = (100 * bound for bound in wilson(right, images))
    for line in (
        "(out): on the outputs, where alignment and uniformity are measured; otherwise on the layer kept "
        "for other tasks.",
        "Alignment is that of two random views of each test image, uniformity that of the plain test "
        "images; alpha = t = 2.",
        *([f"± is the deviation over {options.seeds} seeds."] if options.seeds > 1 else []),
        f"One accuracy of {right / images:.1%} has a 95% interval of {low:.1f} to {high:.1f}%: too wide to "
        "rank objectives by.",
        f"Written: {', '.join(map(str, written))}",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _spread(values: list[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _write(results: list[Result], split: digits.Split, options: DemoOptions) -> list[Path]:
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
