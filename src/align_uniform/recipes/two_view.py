"""Pretraining on two views of each image, with alignment, uniformity and the contrastive loss, in any mixture.

    align-uniform pretrain two-view --preset stl10 --root data --download
    torchrun --nproc-per-node 4 -m align_uniform pretrain two-view --preset stl10 --root data
    align-uniform pretrain two-view --preset digits --epochs 20

The preset stl10 is the reference's example: SmallAlexNet, 200 epochs of STL-10's train+unlabeled images.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform import contrastive_loss, figures, uniform_optimum
from align_uniform._writing import written_whole
from align_uniform.functional import align_loss, uniform_loss
from align_uniform.measuring.api import measure
from align_uniform.recipes import augment, data
from align_uniform.recipes.encoders import build
from align_uniform.recipes.knn_eval import knn_scores
from align_uniform.recipes.linear_eval import features
from align_uniform.recipes.sampler import EvalSampler
from align_uniform.recipes.training import Trainer, TrainingOptions
from align_uniform.report import write_report


@dataclass(frozen=True)
class TwoViewOptions(TrainingOptions):
    """Options of two-view pretraining; the defaults are those of the reference's STL-10 example."""

    preset: str = "stl10"
    """Sets the defaults: stl10, fashion-mnist, digits, imagefolder."""
    data: str = "stl10"
    """stl10, fashion-mnist, digits, or imagefolder."""
    arch: str = "small-alexnet"
    """small-alexnet, small-conv, or a ResNet of torchvision."""
    dim: int = 128
    """Features of the output."""
    size: int = 64
    """Height and width of the views."""
    align_weight: float = 1.0
    """Of alignment."""
    align_alpha: float = 2.0
    """Exponent of alignment."""
    uniform_weight: float = 1.0
    """Of uniformity."""
    uniform_t: float = 2.0
    """t of uniformity."""
    contrastive_weight: float = 0.0
    """Of the contrastive loss."""
    contrastive_tau: float = 0.5
    """Temperature of the contrastive loss."""
    local_losses: bool = False
    """Each process's losses over its own images, as the reference computes them, and not over the whole batch."""
    sync_batchnorm: bool = False
    """BatchNorm over all processes (CUDA only)."""
    batch_size: int = 768
    """Images of a batch, those of all processes together; each is seen twice."""
    lr: float = 0.36
    """Learning rate of SGD; the reference's is 0.12 for each 256 images of a batch."""
    milestones: tuple[int, ...] = (155, 170, 185)
    """Epochs after which the learning rate falls."""
    workers: int = 6
    """Processes that make the views; 0 makes them in the process itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_choice("preset", self.preset, tuple(PRESETS))
        weights = self.align_weight, self.uniform_weight, self.contrastive_weight
        if min(weights) < 0 or not any(weights):
            raise ValueError(f"the weights must not be negative, and not all 0, got {weights}.")
        for name in ("align_alpha", "uniform_t", "contrastive_tau"):
            checks.check_positive(name, getattr(self, name))

    @property
    def folder(self) -> Path:
        """Of the run, named as the reference names it: align1alpha2_unif1t2."""
        name = f"align{self.align_weight:g}alpha{self.align_alpha:g}_unif{self.uniform_weight:g}t{self.uniform_t:g}"
        if self.contrastive_weight:
            name += f"_contr{self.contrastive_weight:g}tau{self.contrastive_tau:g}"
        return self.out / name


SMALL: dict[str, Any] = {"arch": "small-conv", "size": 28, "batch_size": 256, "schedule": "cosine", "workers": 2}
PRESETS: dict[str, dict[str, Any]] = {
    "stl10": {},
    "fashion-mnist": SMALL | {"data": "fashion-mnist", "dim": 64, "epochs": 20, "lr": 0.12, "evaluate_every": 5},
    "digits": SMALL | {"data": "digits", "size": 16, "dim": 64, "epochs": 40, "lr": 0.12, "workers": 0, "evaluate_every": 10},
    "imagefolder": {"data": "imagefolder", "arch": "resnet18", "size": 224, "batch_size": 256, "lr": 0.12},
}
"""What each preset changes of the defaults."""


def options(preset: str = "stl10", **changed: Any) -> TwoViewOptions:
    """The options of a preset, some of them changed."""
    checks.check_choice("preset", preset, tuple(PRESETS))
    return TwoViewOptions(**{"preset": preset} | PRESETS[preset] | changed)


class TwoViewModel(nn.Module):
    """An encoder with its objective: forward is the loss of two views."""

    def __init__(self, encoder: nn.Module, options: TwoViewOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Views [N, channels, height, width] -> the loss, alignment and uniformity, and the contrastive loss if it weighs."""
        options = self.options
        outputs = self.encoder(torch.cat([x, y]))
        x, y = outputs.to(torch.promote_types(outputs.dtype, torch.float32)).chunk(2)
        if options.precision != "fp32":  # rows that half precision normalised are off by a thousandth
            x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        gather = ranks.world_size() > 1 and not options.local_losses
        with torch.set_grad_enabled(torch.is_grad_enabled() and options.align_weight > 0):
            align = align_loss(x, y, options.align_alpha, gather_distributed=gather)
        with torch.set_grad_enabled(torch.is_grad_enabled() and options.uniform_weight > 0):
            x_uniform, y_uniform = (uniform_loss(z, options.uniform_t, gather_distributed=gather) for z in (x, y))
            uniform = (x_uniform + y_uniform) / 2
        losses = {"loss": options.align_weight * align + options.uniform_weight * uniform, "align": align, "uniform": uniform}
        if options.contrastive_weight:
            losses["contrastive"] = contrastive_loss(x, y, options.contrastive_tau, gather_distributed=gather)
            losses["loss"] = losses["loss"] + options.contrastive_weight * losses["contrastive"]
        return losses


def run(options: TwoViewOptions) -> int:
    """Train, evaluate, export; return 0, or 128 and the number of the signal that ended it."""
    torch.manual_seed(options.seed)
    images = _images(options, "train+unlabeled" if options.data == "stl10" else "train")
    channels = len(images[0].getbands())
    statistics = data.STATISTICS.get(options.data) or data.measure_statistics(images)
    preset = options.data if options.data != "imagefolder" else "stl10"
    model = TwoViewModel(build(options.arch, options.dim, size=options.size, channels=channels), options)
    if options.sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    options.folder.mkdir(parents=True, exist_ok=True)
    transform = augment.views(preset, size=_size(options), statistics=statistics)
    evaluation = Evaluation(options, model.encoder, transform, statistics)
    trainer = Trainer(
        options=options,
        folder=options.folder,
        model=model,
        views=augment.TwoViews(images, transform, options.seed),
        dim=options.dim,
        t=options.uniform_t,
        evaluate=evaluation.run,
    )
    code = trainer.run()
    if ranks.rank() == 0:
        if code == 0 and trainer.stopped is None:
            export(model.encoder, options.folder)
            evaluation.report(trainer)
        sys.stderr.write(f"{options.folder}: {trainer.epoch} of {options.epochs} epochs\n")
    return code


@dataclass
class Evaluation:
    """kNN accuracy and the place in the align-uniform plane, on test images; by the first process alone."""

    options: TwoViewOptions
    encoder: nn.Module
    transform: augment.Transform
    statistics: data.Statistics

    def run(self) -> dict[str, float]:
        """Alignment of two views of each test image, uniformity of the images as they are, and 5-NN accuracy."""
        if ranks.rank() != 0:
            return {}
        train, test = (_images(self.options, split) for split in self._splits())
        plain_train, labels = self._outputs(train, None)
        plain_test, test_labels = self._outputs(test, None)
        result = measure(plain_test, t=self.options.uniform_t, top=0)
        x, y = (self._outputs(test, view)[0] for view in (0, 1))
        scores = knn_scores(plain_train, labels, plain_test, test_labels, 5, classes=train.classes)
        return {
            "align": float(align_loss(x, y, self.options.align_alpha)),
            "uniform": result.uniform.value,
            "rankme": result.rankme,
            "knn": scores.top1,
        }

    def report(self, trainer: Trainer) -> None:
        """The page of the test images, and the way there in the align-uniform plane."""
        test = _images(self.options, self._splits()[1])
        x, y = (self._outputs(test, view)[0] for view in (0, 1))
        labels = test.labels if bool((test.labels >= 0).all()) else None
        result = measure(
            x, y, t=self.options.uniform_t, alpha=self.options.align_alpha, labels=labels, name=self.options.folder.name
        )
        write_report(self.options.folder / "report.html", result, force=True)
        lines = [line for line in trainer.history if "evaluation" not in line]
        path = figures.Trajectory(
            name=self.options.folder.name,
            steps=np.array([line["epoch"] * trainer.sampler.batches + line["batch"] for line in lines]),
            align=np.array([line["align"] for line in lines]),
            uniform=np.array([line["uniform"] for line in lines]),
        )
        optimum = uniform_optimum(self.options.dim, self.options.uniform_t)
        figures.save(figures.trajectory_figure([path], optimum, "batch"), self.options.folder / "trajectory")

    def _splits(self) -> tuple[str, str]:
        return ("train", "val") if self.options.data == "imagefolder" else ("train", "test")

    def _outputs(self, images: data.ImageSet, view: int | None) -> tuple[Tensor, Tensor]:
        """Outputs of the images as they are, or of one random view of each."""
        preset = self.options.data if self.options.data != "imagefolder" else "stl10"
        plain = augment.evaluation(preset, size=_size(self.options), statistics=self.statistics)
        views = augment.LabelledViews(images, plain if view is None else self.transform, seed=(view or 0) + 1)
        loader = DataLoader(views, batch_size=256, sampler=EvalSampler(len(images)), num_workers=self.options.workers)
        return features(self.encoder, loader, lambda batch: self.encoder(batch))


def export(encoder: nn.Module, folder: Path) -> None:
    """Write encoder.pth, the bare state dict as the reference has it, and the same as safetensors if that is installed."""
    state = {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}
    with written_whole(folder / "encoder.pth") as partial:
        torch.save(state, partial)
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError:
        return
    with written_whole(folder / "encoder.safetensors") as partial:
        save_file(state, partial)


def _images(options: TwoViewOptions, split: str) -> data.ImageSet:
    """One split; the first process alone fetches what is missing."""
    if options.download and ranks.rank() == 0:
        data.load(options.data, options.root, split, download=True)
    ranks.barrier()
    return data.load(options.data, options.root, split)


def _size(options: TwoViewOptions) -> int | None:
    return None if options.data == "digits" else options.size
