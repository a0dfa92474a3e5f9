"""Pretraining on two views of each image, with alignment, uniformity and the contrastive loss, in any
mixture.

    align-uniform pretrain two-view --preset stl10 --root data --download
    torchrun --nproc-per-node 4 -m align_uniform pretrain two-view --preset stl10 --root data
    align-uniform pretrain two-view --preset digits --epochs 20

The preset stl10 is the reference's example: SmallAlexNet, 200 epochs of STL-10's train+unlabeled images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from align_uniform import _ranks as ranks
from align_uniform import contrastive_loss
from align_uniform.functional import align_loss, uniform_loss
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.images import augment, datasets
from align_uniform.recipes.pretrain import presets
from align_uniform.recipes.pretrain.loop import Trainer
from align_uniform.recipes.pretrain.options import TwoViewOptions
from align_uniform.recipes.pretrain.watch import (
    Evaluation,
    complete,
    load_images,
    unit_rows,
    weighted_sum,
)

__all__ = ["TwoViewModel", "TwoViewOptions", "options", "run", "transforms"]


def options(preset: str = "stl10", **changed: Any) -> TwoViewOptions:
    """Return the options of a preset, some of them changed."""
    return TwoViewOptions(**{"preset": preset} | presets.load(TwoViewOptions.recipe, preset) | changed)


class TwoViewModel(nn.Module):
    """An encoder with its objective: forward is the loss of two views."""

    def __init__(self, encoder: nn.Module, options: TwoViewOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Views [N, channels, height, width] -> the loss, alignment and uniformity, and the contrastive loss
        if it weighs.
        """
        options = self.options
        x, y = unit_rows(self.encoder(torch.cat([x, y])), options).chunk(2)
        gather = ranks.world_size() > 1 and not options.local_losses

        def uniform() -> Tensor:
            x_uniform, y_uniform = (
                uniform_loss(z, options.uniform_t, gather_distributed=gather) for z in (x, y)
            )
            return (x_uniform + y_uniform) / 2

        return weighted_sum(
            options,
            lambda: align_loss(x, y, options.align_alpha, gather_distributed=gather),
            uniform,
            lambda: contrastive_loss(x, y, options.contrastive_tau, gather_distributed=gather),
        )


def run(options: TwoViewOptions) -> int:
    """Train, evaluate, export; return 0, or 128 and the number of the signal that ended it."""
    torch.manual_seed(options.seed)
    images = load_images(options, "train+unlabeled" if options.data == "stl10" else "train")
    given = datasets.given_statistics(options.mean, options.std)
    statistics = given or datasets.STATISTICS.get(options.data) or datasets.measure_statistics(images)
    model = TwoViewModel(
        build(options.arch, options.dim, size=options.size, channels=images.channels), options
    )
    if options.sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    views, plain = transforms(options, statistics)
    labelled = load_images(options, "train") if options.data == "stl10" else images
    evaluation = Evaluation(options, model.encoder, views, plain, labelled)
    trainer = Trainer(
        options=options,
        folder=options.folder,
        model=model,
        views=augment.TwoViews(images, views, options.seed),
        dim=options.dim,
        t=options.uniform_t,
        evaluate=evaluation.run,
    )
    return complete(trainer, evaluation)


def transforms(
    options: TwoViewOptions, statistics: datasets.Statistics
) -> tuple[augment.Transform, augment.Transform]:
    """The random views, and an image as it is; an imagefolder has STL-10's views, and is judged as `evaluate`
    judges it.
    """
    views, plain = ("stl10", "imagenet") if options.data == "imagefolder" else (options.data, options.data)
    return (
        augment.views(views, size=options.size, statistics=statistics),
        augment.evaluation(plain, size=options.size, statistics=statistics),
    )
