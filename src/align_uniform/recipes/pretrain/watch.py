"""The images, the evaluations on the way and the report at the end, which both recipes share."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from align_uniform import _ranks as ranks
from align_uniform import figures, uniform_optimum
from align_uniform._messages import counted, listed
from align_uniform._options import spelled as spelled_option
from align_uniform.functional import align_loss
from align_uniform.measuring.measure import measure
from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.encoders.networks import Encoder
from align_uniform.recipes.encoders.weights import EncoderCard, save_encoder
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.image_set import ImageSet, drawn_evenly, evenly_spaced
from align_uniform.recipes.images.loader import ImageLoader
from align_uniform.recipes.images.sampler import EvalSampler
from align_uniform.recipes.images.views import LabelledViews, Transform
from align_uniform.recipes.images.workers import LostWorkerError
from align_uniform.recipes.judge.knn import knn_scores
from align_uniform.recipes.pretrain import summary
from align_uniform.recipes.pretrain.log import spelled
from align_uniform.recipes.pretrain.loop import Trainer
from align_uniform.recipes.pretrain.options import PretrainOptions
from align_uniform.report import write_report


def training_images(options: PretrainOptions) -> tuple[ImageSet, ImageSet]:
    """Return the images to pretrain on, and those with labels, among which neighbours are looked for."""
    data_set = datasets.data_set(options.data)
    images = load_images(options, data_set.pretraining)
    if data_set.labelled == data_set.pretraining:
        return images, images
    return images, load_images(options, data_set.labelled)


def load_images(options: PretrainOptions, split: str) -> ImageSet:
    """Return the images of a split; of a split to train on, only as many as the options allow."""
    images = datasets.load_on_all_ranks(options.data, options.root, split, download=options.download)
    if options.limit is None or split == datasets.data_set(options.data).judging:
        return images
    drawn = drawn_evenly(images, options.limit, options.seed)
    missing = set(images.labels.tolist()) - set(drawn.labels.tolist())
    if missing and ranks.rank() == 0:
        names = listed((images.classes[label] for label in sorted(missing)), 5)
        sys.stderr.write(
            f"{images.name}: with a limit of {counted(options.limit, 'image')}, {len(missing)} of "
            f"{counted(len(images.classes), 'class', 'classes')} have none: {names}.\n"
        )
    return drawn


@dataclass
class Evaluation:
    """The evaluation of an encoder on test images, by the first process alone.

    It gives 5-NN accuracy, and the encoder's place in the align-uniform plane. If a folder has no test
    images, alignment and uniformity are those of some training images, and there is no accuracy.
    """

    options: PretrainOptions
    encoder: nn.Module
    views: Transform
    """The transform that makes random views, as in training."""
    plain: Transform
    """The transform of an image that is shown as it is."""
    train: ImageSet
    """The images with labels, among which the neighbours of test images are looked for."""
    test: ImageSet | None = field(init=False)
    """The test images, or None if there are none."""

    def __post_init__(self) -> None:
        self.test = self._test_images()  # now: after hours of training it would be late to miss them

    def _test_images(self) -> ImageSet | None:
        data_set = datasets.data_set(self.options.data)
        try:
            return load_images(self.options, data_set.judging)
        except FileNotFoundError as error:
            if not data_set.may_lack_judging:
                raise
            if ranks.rank() == 0:
                sys.stderr.write(
                    f"{error} Alignment and uniformity will be measured on training images, without an "
                    "accuracy.\n"
                )
            return None

    def run(self) -> dict[str, float]:
        """Return alignment of two views, uniformity of plain images, RankMe and 5-NN accuracy, by name."""
        if ranks.rank() != 0:
            return {}
        with ranks.alone():
            return self._found()

    def _found(self) -> dict[str, float]:
        plain, labels = self._outputs(self.seen, None)
        result = measure(plain, t=self.options.uniform_t, top=0)
        x, y = (self._outputs(self.seen, view)[0] for view in (0, 1))
        found = {
            "align": float(align_loss(x, y, self.options.align_alpha)),
            "uniform_plain": result.uniform.value,
            "rankme": result.rankme,
        }
        if self.test is not None:
            train = self._outputs(self.train, None)
            k = min(5, len(self.train))
            found["knn"] = knn_scores(*train, plain, labels, k, classes=self.train.classes).top1
        return found

    @property
    def seen(self) -> ImageSet:
        """The images that alignment and uniformity are measured on."""
        return evenly_spaced(self.train, 10_000) if self.test is None else self.test

    def report(self, trainer: Trainer) -> None:
        """Write the page of two views of these images, with the run's path in the align-uniform plane."""
        options = self.options
        x, y = (self._outputs(self.seen, view)[0] for view in (0, 1))
        labels = self.seen.labels if bool((self.seen.labels >= 0).all()) else None
        name = f"{options.folder.name}, two views"
        result = measure(x, y, t=options.uniform_t, alpha=options.align_alpha, labels=labels, name=name)
        result = replace(result, provenance={**result.provenance, **as_typed(options)})
        path = path_of(trainer)
        optimum = uniform_optimum(options.dim, options.uniform_t)
        evaluations = [line for line in trainer.history if "evaluation" in line]
        write_report(
            options.folder / "report.html",
            result,
            texts=[self.seen.described(row) for row in range(len(self.seen))],
            images=self.seen.pictures,
            runs=[path] if len(path.steps) else [],
            numbers=spelled(evaluations[-1]) if evaluations else (),
            force=True,
        )
        if len(path.steps):  # none if the log is lost
            figures.save(figures.trajectory_figure([path], optimum, "batch"), options.folder / "trajectory")

    def _outputs(self, images: ImageSet, view: int | None) -> tuple[Tensor, Tensor]:
        """Return outputs and labels of the images as they are, or of one random view of each."""
        views = LabelledViews(images, self.plain if view is None else self.views, seed=(view or 0) + 1)
        loader = ImageLoader(
            views,
            batch_size=256,
            sampler=EvalSampler(len(images)),
            num_workers=self.options.loading_processes,
            # A generator of its own: otherwise evaluations would change the numbers that training draws.
            generator=torch.Generator().manual_seed(0),
        )
        return features(self.encoder, loader, lambda batch: self.encoder(batch))


def path_of(trainer: Trainer) -> figures.Trajectory:
    """Return the course of a run: alignment and uniformity of its batches, the loss, and the accuracies."""
    lines = [line for line in trainer.history if "evaluation" not in line]
    judged = [line for line in trainer.history if "knn" in line]
    batches = trainer.sampler.batches
    steps = np.array([(line["epoch"] - 1) * batches + line["batch"] for line in lines])
    curves = [figures.Curve("loss", steps / batches, np.array([line["loss"] for line in lines]))]
    if judged:
        epochs, accuracies = (np.array([line[name] for line in judged], float) for name in ("epoch", "knn"))
        curves.append(figures.Curve("5-NN accuracy", epochs, accuracies, is_share=True))
    return figures.Trajectory(
        name=trainer.folder.name,
        steps=steps,
        align=np.array([line["align"] for line in lines]),
        uniform=np.array([line["uniform"] for line in lines]),
        curves=tuple(curves),
    )


def as_typed(options: PretrainOptions) -> dict[str, Any]:
    """Return the recipe of a run and its options by the names that are typed."""
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    typed = {
        spelled_option(name): str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if value not in (None, ())
    }
    return {"recipe": f"pretrain {options.recipe}", **typed}


def complete(trainer: Trainer, evaluation: Evaluation) -> int:
    """Train in the folder of the run, export and report; return 0, or 128 plus the number of a signal.

    The description of the encoder is written first: the trainer has found the folder to be empty or of the
    same run.

    Raises:
        ChildProcessError: a process that makes views was lost; the state is saved.
    """
    if ranks.rank() == 0:
        assert isinstance(evaluation.encoder, Encoder)
        statistics, data = evaluation.plain.statistics, evaluation.options.data
        EncoderCard.of(evaluation.encoder, statistics, data).write(trainer.folder)
        sys.stderr.write(summary.opening(trainer))
    try:
        code = trainer.run()
        if ranks.rank() != 0:
            return code
        if trainer.stopped is not None:
            sys.stderr.write(summary.interruption(trainer))
            return code
        save_encoder(evaluation.encoder, trainer.folder)
        with ranks.alone():
            evaluation.report(trainer)
    except LostWorkerError as error:
        raise ChildProcessError(summary.loss_of_worker(trainer)) from error
    sys.stderr.write(summary.closing(trainer))
    return code
