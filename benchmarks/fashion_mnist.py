"""Training on Fashion-MNIST without labels: what comes of align + uniform, and of the contrastive loss, on 10,000 test images.

    python -m benchmarks.fashion_mnist --root FOLDER [--out FOLDER] [--images 20000] [--epochs 10] [--seeds 0 1 2]

Two parts. The first trains an encoder for each objective and seed, and sets beside them the same encoder untrained and the
pixels themselves. The second is the paper's figure 5: shorter runs over weights and t, in the align-uniform plane, and
coloured by accuracy. Epochs were set beforehand. Every encoder is judged by logistic regression and by 5 nearest
neighbours on the features that come before the head, both taught by the labels of the images that it was trained on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from align_uniform import align_loss, figures, uniform_loss, uniform_optimum
from align_uniform._writing import written_whole
from align_uniform.recipes import augment, data, two_view
from align_uniform.recipes.encoders import build
from align_uniform.recipes.evaluate import encoder_state
from align_uniform.recipes.knn_eval import knn_scores
from align_uniform.recipes.linear_eval import features, linear_scores
from align_uniform.recipes.sampler import EvalSampler

OBJECTIVES: dict[str, dict[str, float]] = {
    "align + uniform": {},
    "contrastive (tau = 0.5)": {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1},
}
PLANE: list[dict[str, float]] = [
    *(
        {"align_weight": a, "uniform_weight": u, "uniform_t": t}
        for t in (1, 2, 4)
        for a, u in ((1, 0.2), (1, 0.6), (1, 1), (0.3, 1))
    ),
    {"align_weight": 1, "uniform_weight": 0},
    *({"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1, "contrastive_tau": tau} for tau in (0.1, 0.3, 1)),
]
"""Sixteen mixtures."""


@dataclass(frozen=True)
class Outcome:
    """What was found of one encoder."""

    name: str
    seed: int | None
    epochs: int
    align: float
    """of two views of each test image, alpha = 2"""
    uniform: float
    """of the test images as they are, t = 2"""
    linear: float
    knn: float
    seconds: float
    """of training"""


def main() -> int:
    """Train, judge, print, draw and write."""
    parser = argparse.ArgumentParser("python -m benchmarks.fashion_mnist", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="where Fashion-MNIST is")
    parser.add_argument("--out", type=Path, default=Path("fashion-mnist"), help="folder for runs, results.json and plane.png")
    parser.add_argument("--images", type=int, default=20_000, help="training images, the first of the set")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plane-epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    try:
        for outcome in _outcomes(options):
            sys.stderr.write(f"{outcome}\n")
            outcomes.append(outcome)
            with written_whole(options.out / "results.json") as partial:
                document = {"schema_version": 1, "images": options.images, "outcomes": [asdict(each) for each in outcomes]}
                partial.write_text(json.dumps(document, indent=1) + "\n")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the runs that were finished are shown.\n")
    _show([each for each in outcomes if not each.name.startswith("plane")])
    _draw([each for each in outcomes if each.name.startswith("plane")], options.out)
    return 0


def _outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    yield _judge(Pixels(), "raw pixels", None, 0, 0.0, options)
    for seed in options.seeds:
        torch.manual_seed(seed)
        yield _judge(build("small-conv", 64, channels=1), "random init", seed, 0, 0.0, options)
    for seed in options.seeds:
        for name, weights in OBJECTIVES.items():
            yield _train(name, weights, seed, options.epochs, options)
    for weights in PLANE:
        name = " ".join(f"{key.replace('_weight', '')}={value:g}" for key, value in weights.items())
        yield _train(f"plane {name}", weights, 0, options.plane_epochs, options)


def _train(name: str, weights: dict[str, float], seed: int, epochs: int, options: argparse.Namespace) -> Outcome:
    chosen = two_view.options(
        "fashion-mnist", root=options.root, out=options.out / f"seed{seed}_epochs{epochs}", epochs=epochs, seed=seed,
        limit=options.images, workers=options.workers, evaluate_every=0, **weights,
    )  # fmt: skip
    started = time.perf_counter()
    if not (chosen.folder / "encoder.pth").exists():  # a finished run is not trained again
        two_view.run(chosen)
    seconds = time.perf_counter() - started
    encoder = build(chosen.arch, chosen.dim, size=chosen.size, channels=1)
    encoder.load_state_dict(encoder_state(chosen.folder / "encoder.pth"))
    return _judge(encoder, name, seed, epochs, seconds, options)


def _judge(
    encoder: nn.Module, name: str, seed: int | None, epochs: int, seconds: float, options: argparse.Namespace
) -> Outcome:
    train = data.load("fashion-mnist", options.root, "train").subset(range(options.images))
    test = data.load("fashion-mnist", options.root, "test")
    plain, random = augment.evaluation("fashion-mnist"), augment.views("fashion-mnist")
    train_rows, test_rows = (_rows(encoder, images, plain, "features") for images in (train, test))
    x, y = (_rows(encoder, test, random, "output", seed=view) for view in (1, 2))
    return Outcome(
        name, seed, epochs,
        align=float(align_loss(x, y)),
        uniform=float(uniform_loss(_rows(encoder, test, plain, "output"))),
        linear=linear_scores(train_rows, train.labels, test_rows, test.labels, classes=train.classes).top1,
        knn=knn_scores(train_rows, train.labels, test_rows, test.labels, 5, classes=train.classes).top1,
        seconds=seconds,
    )  # fmt: skip


class Pixels(nn.Module):
    """The encoder that learns nothing."""

    def forward(self, images: Tensor, layer: str) -> Tensor:
        """The image itself, of unit norm if it is the output."""
        return F.normalize(images.flatten(1), dim=1) if layer == "output" else images.flatten(1)


def _rows(encoder: nn.Module, images: data.ImageSet, transform: augment.Transform, layer: str, seed: int = 0) -> Tensor:
    views = augment.LabelledViews(images, transform, seed=seed)
    loader = DataLoader(views, batch_size=500, sampler=EvalSampler(len(images)))
    return features(encoder, loader, lambda batch: encoder(batch, layer))[0]


def _show(outcomes: list[Outcome]) -> None:
    """A line for each kind of encoder: mean and deviation over the seeds."""
    table = Table(title="Fashion-MNIST, 10,000 test images", title_justify="left")
    for heading in ("encoder", "epochs", "align", "uniform", "linear %", "5-NN %", "minutes"):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys(each.name for each in outcomes):
        mine = [each for each in outcomes if each.name == name]
        cells = [
            _spread([getattr(each, field) * scale for each in mine], digits)
            for field, scale, digits in (
                ("align", 1, 3),
                ("uniform", 1, 3),
                ("linear", 100, 2),
                ("knn", 100, 2),
                ("seconds", 1 / 60, 1),
            )
        ]
        table.add_row(name, str(mine[0].epochs), *cells)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _spread(values: list[float], digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def _draw(outcomes: list[Outcome], folder: Path) -> None:
    if outcomes:
        kinds: dict[bool, str] = {False: "align + uniform", True: "contrastive"}
        points = [
            figures.PlanePoint(kinds["contrastive" in each.name], each.align, each.uniform, 100 * each.linear)
            for each in outcomes
        ]
        figures.save(figures.plane_figure(points, uniform_optimum(64), "linear accuracy, %"), folder / "plane")


if __name__ == "__main__":
    sys.exit(main())
