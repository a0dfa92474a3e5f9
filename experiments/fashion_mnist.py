"""Training on Fashion-MNIST without labels: align + uniform next to the contrastive loss.

    python -m experiments.fashion_mnist --root FOLDER [--out FOLDER] [--parts two-view moco plane]
                                        [--images 20000] [--epochs 48]

There are three parts. `two-view` and `moco` train an encoder for each objective and seed, and compare it with
the same encoder untrained and with the pixels themselves. `plane` is the paper's figure 5: shorter runs over
weights and t, in the align-uniform plane, coloured by accuracy. Epochs were fixed beforehand. Every encoder
is judged on 10,000 test images, by logistic regression and by 5 nearest neighbours on the features that come
before the head; both learn from the labels of the images that the encoder was trained on.

Each run has one processor core, `--processes` of them at a time, which does more a second than one run on all
cores. Runs in results.json are not repeated: after an interruption, or with more parts, the same command
resumes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from align_uniform import align_loss, figures, uniform_loss, uniform_optimum
from align_uniform._writing import written_whole
from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import EncoderFile
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.image_set import ImageSet, drawn_evenly
from align_uniform.recipes.images.sampler import EvalSampler
from align_uniform.recipes.images.views import (
    LabelledViews,
    Transform,
    evaluation_transform,
    training_transform,
)
from align_uniform.recipes.judge.knn import knn_scores
from align_uniform.recipes.judge.logistic import linear_scores
from align_uniform.recipes.pretrain import moco, two_view

DIM = 64
Weights = dict[str, float]
TWO_VIEW: dict[str, Weights] = {
    "align + uniform": {},
    "contrastive, tau = 0.5": {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1},
}
MOCO: dict[str, Weights] = {
    "moco, 3 align + uniform(t = 3)": {},
    "moco, contrastive, tau = 0.2": {
        "align_weight": 0,
        "uniform_weight": 0,
        "contrastive_weight": 1,
        "contrastive_tau": 0.2,
    },
}
PLANE: list[Weights] = [
    *(
        {"align_weight": a, "uniform_weight": u, "uniform_t": t}
        for t in (1, 2, 4)
        for a, u in ((1, 0.2), (1, 1), (0.3, 1))
    ),
    *(
        {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1, "contrastive_tau": tau}
        for tau in (0.1, 0.3, 1)
    ),
]
"""The twelve mixtures of the plane."""


@dataclass(frozen=True)
class Run:
    """An encoder that is trained, unless its part is "baseline", and judged."""

    part: str
    name: str
    seed: int
    epochs: int

    @property
    def kind(self) -> tuple[str, str, int]:
        """The settings that a run shares with the runs of other seeds."""
        return self.part, self.name, self.epochs

    @property
    def key(self) -> tuple[tuple[str, str, int], int]:
        """The identity of the run."""
        return self.kind, self.seed


@dataclass(frozen=True)
class Job(Run):
    """A run to be done."""

    weights: Weights = field(default_factory=dict)
    """The weights, which follow from the name."""


@dataclass(frozen=True)
class Outcome(Run):
    """The results for the encoder of one run."""

    align: float
    """The alignment of two views of each test image, alpha = 2."""
    uniform: float
    """The uniformity of the test images as they are, t = 2."""
    linear: float
    knn: float
    seconds: float
    """The seconds of training, in the process that finished it."""


def main() -> int:
    """Train, judge, print, draw and write; return 130 after Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser("python -m experiments.fashion_mnist", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of Fashion-MNIST")
    parser.add_argument(
        "--out", type=Path, default=Path("fashion-mnist"), help="folder for runs, results.json and plane.png"
    )
    parser.add_argument(
        "--parts", nargs="+", default=["two-view", "moco", "plane"], choices=["two-view", "moco", "plane"]
    )
    parser.add_argument("--images", type=int, default=20_000, help="number of training images")
    parser.add_argument("--epochs", type=int, default=48)
    parser.add_argument("--plane-epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one core each")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.json"
    outcomes = _read(results, options.images)
    done = {each.key for each in outcomes}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    code = 0
    try:
        for outcome in _outcomes([job for job in jobs(options) if job.key not in done], options):
            sys.stderr.write(f"{outcome}\n")
            outcomes.append(outcome)
            with written_whole(results) as partial:
                document = {
                    "schema_version": 2,
                    "images": options.images,
                    "outcomes": [asdict(each) for each in outcomes],
                }
                partial.write_text(json.dumps(document, indent=1) + "\n")
    except KeyboardInterrupt:
        code = 130
        sys.stderr.write("Interrupted; the finished runs are shown. Run the same command again to resume.\n")
    _show(outcomes)
    _draw([each for each in outcomes if each.part == "plane"], options.out)
    return code


def jobs(options: argparse.Namespace) -> list[Job]:
    """Return the jobs of the requested parts, with pixels and untrained encoders before them."""
    found = [
        Job("baseline", "raw pixels", 0, 0),
        *(Job("baseline", "random init", seed, 0) for seed in options.seeds),
    ]
    for part, objectives in (("two-view", TWO_VIEW), ("moco", MOCO)):
        if part in options.parts:
            found += [
                Job(part, name, seed, options.epochs, objectives[name])
                for seed in options.seeds
                for name in objectives
            ]
    if "plane" in options.parts:
        found += [Job("plane", _spelled(weights), 0, options.plane_epochs, weights) for weights in PLANE]
    return found


def _spelled(weights: Weights) -> str:
    return " ".join(f"{key.replace('_weight', '')}={value:g}" for key, value in weights.items())


def _read(results: Path, images: int) -> list[Outcome]:
    """Return the results of earlier runs on as many images."""
    if not results.exists():
        return []
    held = json.loads(results.read_text())
    if held["images"] != images:
        raise SystemExit(f"{results} is of {held['images']} images, not {images}; choose another --out.")
    return [Outcome(**each) for each in held["outcomes"]]


def _outcomes(listed: list[Job], options: argparse.Namespace) -> Iterator[Outcome]:
    """Yield the outcome of each job, in the order of the jobs."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, initializer=_one_thread) as pool:
        futures = [pool.submit(_outcome, job, options) for job in listed]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _one_thread() -> None:
    torch.set_num_threads(1)
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # a recipe stops by itself while it trains; all else just ends


def _outcome(job: Job, options: argparse.Namespace) -> Outcome:
    torch.manual_seed(job.seed)
    if job.name == "raw pixels":
        return _judge(Pixels(), job, 0.0, options)
    if job.part == "baseline":
        return _judge(build("small-conv", DIM, channels=1), job, 0.0, options)
    recipe = moco if job.part == "moco" else two_view
    chosen = recipe.options(
        "fashion-mnist", root=options.root,
        out=options.out / f"seed{job.seed}_epochs{job.epochs}_images{options.images}",
        epochs=job.epochs, seed=job.seed, limit=options.images, workers=0, evaluate_every=0,
        channels_last=True, dim=DIM, **job.weights,
    )  # fmt: skip
    started = time.perf_counter()
    if code := recipe.run(chosen):
        signal.raise_signal(code - 128)  # the recipe kept what it had; the signal ends this process too
    seconds = time.perf_counter() - started
    encoder = build(chosen.arch, chosen.dim, size=chosen.size, channels=1)
    encoder.load_state_dict(EncoderFile.read(chosen.folder).state)
    return _judge(encoder, job, seconds, options)


def _judge(encoder: nn.Module, job: Job, seconds: float, options: argparse.Namespace) -> Outcome:
    train = drawn_evenly(datasets.load("fashion-mnist", options.root, "train"), options.images, job.seed)
    test = datasets.load("fashion-mnist", options.root, "test")
    plain, random = evaluation_transform("fashion-mnist"), training_transform("fashion-mnist")
    train_rows, test_rows = (_rows(encoder, images, plain, "features") for images in (train, test))
    x, y = (_rows(encoder, test, random, "output", seed=view) for view in (1, 2))
    return Outcome(
        job.part, job.name, job.seed, job.epochs,
        align=float(align_loss(x, y)),
        uniform=float(uniform_loss(_rows(encoder, test, plain, "output"))),
        linear=linear_scores(train_rows, train.labels, test_rows, test.labels, classes=train.classes).top1,
        knn=knn_scores(train_rows, train.labels, test_rows, test.labels, 5, classes=train.classes).top1,
        seconds=seconds,
    )  # fmt: skip


class Pixels(nn.Module):
    """An encoder that learns nothing."""

    def forward(self, images: Tensor, layer: str) -> Tensor:
        """Return the image itself, of unit norm if it is the output."""
        return F.normalize(images.flatten(1), dim=1) if layer == "output" else images.flatten(1)


def _rows(encoder: nn.Module, images: ImageSet, transform: Transform, layer: str, seed: int = 0) -> Tensor:
    views = LabelledViews(images, transform, seed=seed)
    loader = DataLoader(views, batch_size=500, sampler=EvalSampler(len(images)))
    return features(encoder, loader, lambda batch: encoder(batch, layer))[0]


def _show(outcomes: list[Outcome]) -> None:
    """Print a line for each kind of encoder: mean and deviation over the seeds."""
    table = Table(title="Fashion-MNIST, 10,000 test images", title_justify="left")
    for heading in ("encoder", "epochs", "align", "uniform", "linear %", "5-NN %", "minutes"):
        table.add_column(heading, justify="right")
    for kind in dict.fromkeys(each.kind for each in outcomes):
        mine = [each for each in outcomes if each.kind == kind]
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
        table.add_row(mine[0].name, str(mine[0].epochs), *cells)
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
        figures.save(
            figures.plane_figure(points, uniform_optimum(DIM), "linear accuracy, %"), folder / "plane"
        )


if __name__ == "__main__":
    sys.exit(main())
