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
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.datasets import Statistics
from align_uniform.recipes.images.image_set import measure_statistics
from align_uniform.recipes.images.views import Transform, TwoViews, evaluation_transform, training_transform
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
    data_set = datasets.data_set(options.data)
    images = load_images(options, data_set.pretraining)
    given = datasets.given_statistics(options.mean, options.std)
    statistics = given or data_set.statistics or measure_statistics(images)
    model = TwoViewModel(
        build(options.arch, options.dim, size=options.size, channels=images.channels), options
    )
    if options.sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    views, plain = transforms(options, statistics)
    same = data_set.labelled == data_set.pretraining
    labelled = images if same else load_images(options, data_set.labelled)
    evaluation = Evaluation(options, model.encoder, views, plain, labelled)
    trainer = Trainer(
        options=options,
        folder=options.folder,
        model=model,
        views=TwoViews(images, views, options.seed),
        dim=options.dim,
        t=options.uniform_t,
        evaluate=evaluation.run,
    )
    return complete(trainer, evaluation)


def transforms(options: TwoViewOptions, statistics: Statistics) -> tuple[Transform, Transform]:
    """Return the transforms for random views and for evaluation."""
    data_set = datasets.data_set(options.data)
    return (
        training_transform(data_set.views, size=options.size, statistics=statistics),
        evaluation_transform(data_set.evaluation, size=options.size, statistics=statistics),
    )
