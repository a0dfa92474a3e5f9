"""Encoders that are trained without labels and judged, one run each: what all experiments have in common.

Each run has one core, and several run at a time: together they do more a second than one run on all cores.
Runs in results.json are not repeated: after an interruption, or with more parts, the same command resumes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from align_uniform import align_loss, figures, uniform_loss, uniform_optimum
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
from align_uniform.recipes.judge.scores import Scores
from align_uniform.recipes.pretrain import moco, two_view
from experiments import records

RECIPES: dict[str, Any] = {"two-view": two_view, "moco": moco}


@dataclass(frozen=True)
class Run:
    """An encoder that is trained, unless its part is "baseline", and judged."""

    part: str
    name: str
    seed: int
    epochs: int
    dim: int = field(default=64, kw_only=True)
    """Number of output features."""

    @property
    def kind(self) -> tuple[str, str, int, int]:
        """The settings that a run shares with the runs of other seeds."""
        return self.part, self.name, self.epochs, self.dim

    @property
    def key(self) -> tuple[tuple[str, str, int, int], int]:
        """The identity of the run."""
        return self.kind, self.seed


@dataclass(frozen=True)
class Job(Run):
    """A run to be done."""

    settings: dict[str, Any] = field(default_factory=dict, kw_only=True)
    """Options of the recipe, which follow from the name."""
    recipe: str = field(default="two-view", kw_only=True)
    """The name of the recipe that trains the encoder."""
    images: int = field(kw_only=True)
    """The number of training images, whose labels the classifiers learn from, too."""


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
    """The seconds of training and judging, in the process that finished it."""
    hits: dict[str, str] = field(default_factory=dict, repr=False)
    """Whether each test image was classified right, a bit for each, in hexadecimal; of "linear" and "knn"."""


@dataclass(frozen=True)
class Experiment:
    """The data set, and the places of files."""

    data: str
    """The name of the data set, whose views encoders are trained and judged on."""
    preset: dict[str, str]
    """The preset of each recipe."""
    options: argparse.Namespace
    """The options `root`, `out` and `processes`."""

    @property
    def results(self) -> Path:
        """The file of the outcomes."""
        path: Path = self.options.out / "results.json"
        return path


def parser(name: str, text: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all experiments have."""
    found = argparse.ArgumentParser(
        f"python -m experiments.{name}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--root", type=Path, required=True, help="folder of the data set")
    found.add_argument(
        "--out", type=Path, default=Path(name), help="folder for runs, results.json and figures"
    )
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the runs")
    found.add_argument("--processes", type=int, default=2, help="runs at a time, one core each")
    return found


# ---------------------------------------------------------------------------------------------------- running


def carry_out(jobs: Sequence[Job], experiment: Experiment, **stated: Any) -> tuple[list[Outcome], int]:
    """Do the runs that are not in results.json; return all outcomes, and 130 after Ctrl-C or SIGTERM, else 0.

    Args:
        jobs: the runs.
        experiment: what they have in common.
        stated: values that stand at the head of results.json, and must be those of earlier runs in it.
    """
    experiment.options.out.mkdir(parents=True, exist_ok=True)
    stated = {"data": experiment.data} | stated
    outcomes = read(experiment.results, **stated)
    done = {each.key for each in outcomes}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        for outcome in _outcomes([job for job in jobs if job.key not in done], experiment):
            sys.stderr.write(f"{outcome}\n")
            outcomes.append(outcome)
            records.keep(experiment.results, outcomes, **stated)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the finished runs are shown. Run the same command again to resume.\n")
        return outcomes, 130
    return outcomes, 0


def read(results: Path, **stated: Any) -> list[Outcome]:
    """Return the outcomes of earlier runs with the same stated values."""
    return [Outcome(**each) for each in records.kept(results, **stated)]


def _outcomes(listed: list[Job], experiment: Experiment) -> Iterator[Outcome]:
    """Yield the outcome of each job, in the order of the jobs."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(experiment.options.processes, context, initializer=_one_thread) as pool:
        futures = [pool.submit(_outcome, job, experiment) for job in listed]
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


def _outcome(job: Job, experiment: Experiment) -> Outcome:
    started = time.process_time()
    outcome = judged(encoder_of(job, experiment), job, experiment)
    return replace(outcome, seconds=time.process_time() - started)


def encoder_of(job: Job, experiment: Experiment) -> nn.Module:
    """Return the encoder of a run, which is trained unless that has been done before."""
    torch.manual_seed(job.seed)
    channels = datasets.data_set(experiment.data).channels
    if job.name == "raw pixels":
        return Pixels()
    if job.part == "baseline":
        return build("small-conv", job.dim, channels=channels)
    recipe = RECIPES[job.recipe]
    chosen = recipe.options(
        experiment.preset[job.recipe], root=experiment.options.root,
        out=experiment.options.out / f"seed{job.seed}_epochs{job.epochs}_images{job.images}_dim{job.dim}",
        epochs=job.epochs, seed=job.seed, limit=job.images, workers=0, evaluate_every=0,
        channels_last=True, dim=job.dim, **job.settings,
    )  # fmt: skip
    if not (chosen.folder / "encoder.pth").exists() and (code := recipe.run(chosen)):
        signal.raise_signal(code - 128)  # the recipe kept what it had; the signal ends this process too
    encoder = build(chosen.arch, chosen.dim, size=chosen.size, channels=channels)
    encoder.load_state_dict(EncoderFile.read(chosen.folder).state)
    return encoder


# ---------------------------------------------------------------------------------------------------- judging


class Pixels(nn.Module):
    """An encoder that learns nothing."""

    def forward(self, images: Tensor, layer: str) -> Tensor:
        """Return the image itself, of unit norm if it is the output."""
        return F.normalize(images.flatten(1), dim=1) if layer == "output" else images.flatten(1)


def judged(encoder: nn.Module, job: Job, experiment: Experiment) -> Outcome:
    """Return the results for an encoder, but for the seconds."""
    name, root = experiment.data, experiment.options.root
    train = drawn_evenly(datasets.load(name, root, "train"), job.images, job.seed)
    test = datasets.load(name, root, "test")
    plain, random = evaluation_transform(name), training_transform(name)
    train_rows, test_rows = (rows(encoder, images, plain, "features") for images in (train, test))
    x, y = (rows(encoder, test, random, "output", seed=view) for view in (1, 2))
    args = train_rows, train.labels, test_rows, test.labels
    linear, knn = linear_scores(*args, classes=train.classes), knn_scores(*args, 5, classes=train.classes)
    return Outcome(
        job.part, job.name, job.seed, job.epochs, dim=job.dim,
        align=float(align_loss(x, y)),
        uniform=float(uniform_loss(rows(encoder, test, plain, "output"))),
        linear=linear.top1,
        knn=knn.top1,
        seconds=0.0,
        hits={"linear": packed(linear), "knn": packed(knn)},
    )  # fmt: skip


def rows(encoder: nn.Module, images: ImageSet, transform: Transform, layer: str, seed: int = 0) -> Tensor:
    """Return the features of images at a layer, [N, m]."""
    views = LabelledViews(images, transform, seed=seed)
    loader = DataLoader(views, batch_size=500, sampler=EvalSampler(len(images)))
    return features(encoder, loader, lambda batch: encoder(batch, layer))[0]


def packed(scores: Scores) -> str:
    """Return the hits of images, a bit for each, in hexadecimal."""
    assert scores.hits is not None
    return records.packed(scores.hits)


def hits_of(outcome: Outcome, judge: str) -> Tensor:
    """Return whether each test image was classified right, by "linear" or "knn"."""
    return torch.from_numpy(records.unpacked(outcome.hits[judge]))


# ---------------------------------------------------------------------------------------------- what is shown


def show(outcomes: Sequence[Outcome], title: str) -> None:
    """Print a line for each kind of encoder: mean and deviation over the seeds."""
    table = Table(title=title, title_justify="left")
    for heading in ("encoder", "dim", "epochs", "align", "uniform", "linear %", "5-NN %", "minutes"):
        table.add_column(heading, justify="right")
    for kind in dict.fromkeys(each.kind for each in outcomes):
        mine = [each for each in outcomes if each.kind == kind]
        cells = [
            _spread([getattr(each, name) * scale for each in mine], digits)
            for name, scale, digits in (
                ("align", 1, 3),
                ("uniform", 1, 3),
                ("linear", 100, 2),
                ("knn", 100, 2),
                ("seconds", 1 / 60, 1),
            )
        ]
        table.add_row(mine[0].name, str(mine[0].dim), str(mine[0].epochs), *cells)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _spread(values: list[float], digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def draw_plane(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw encoders in the align-uniform plane, coloured by linear accuracy."""
    if outcomes:
        kinds: dict[bool, str] = {False: "align + uniform", True: "contrastive"}
        points = [
            figures.PlanePoint(kinds["contrastive" in each.name], each.align, each.uniform, 100 * each.linear)
            for each in outcomes
        ]
        figures.save(
            figures.plane_figure(points, uniform_optimum(outcomes[0].dim), "linear accuracy, %"), path
        )


def spelled(weights: dict[str, float]) -> str:
    """Return the weights of an objective as the name of a run."""
    return " ".join(f"{key.replace('_weight', '')}={value:g}" for key, value in weights.items())
