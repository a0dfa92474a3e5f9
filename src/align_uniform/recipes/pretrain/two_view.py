"""Pretraining on two views of each image, by alignment, uniformity and the contrastive loss, in any mixture.

    align-uniform pretrain two-view --preset stl10 --root data --download
    torchrun --nproc-per-node 4 -m align_uniform pretrain two-view --preset stl10 --root data
    align-uniform pretrain two-view --preset digits --epochs 20

The preset stl10 is the reference's example: SmallAlexNet, 200 epochs of STL-10's train+unlabeled images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.image_set import measure_statistics
from align_uniform.recipes.images.statistics import Statistics, given_statistics
from align_uniform.recipes.images.views import Transform, TwoViews, evaluation_transform, training_transform
from align_uniform.recipes.pretrain import presets
from align_uniform.recipes.pretrain.folder import folder_of_one_run
from align_uniform.recipes.pretrain.loop import Trainer
from align_uniform.recipes.pretrain.objective import by_name, objective, unit_rows
from align_uniform.recipes.pretrain.options import TwoViewOptions
from align_uniform.recipes.pretrain.watch import Evaluation, complete, training_images

__all__ = ["TwoViewModel", "TwoViewOptions", "options", "run", "transforms"]


def options(preset: str = "stl10", **changed: Any) -> TwoViewOptions:
    """Return the options of a preset, some of them changed."""
    return TwoViewOptions(**{"preset": preset} | presets.load(TwoViewOptions.recipe, preset) | changed)


class TwoViewModel(nn.Module):
    """An encoder with its objective, whose forward pass is the loss of two views."""

    def __init__(self, encoder: nn.Module, options: TwoViewOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options
        self.objective = objective(options)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the loss of two views, [N, channels, height, width] each, and its terms, by name."""
        x, y = unit_rows(self.encoder(torch.cat([x, y])), self.options).chunk(2)
        return by_name(self.objective.terms(x, y))


def run(options: TwoViewOptions) -> int:
    """Train, evaluate and export; return 0, or 128 plus the number of a signal."""
    with folder_of_one_run(options.folder, options.resume):
        return complete(*prepared(options))


def prepared(options: TwoViewOptions) -> tuple[Trainer, Evaluation]:
    """Return the loop, resumed from its folder's checkpoint if there is one, and the evaluation."""
    torch.manual_seed(options.seed)
    data_set = datasets.data_set(options.data)
    images, labelled = training_images(options)
    given = given_statistics(options.mean, options.std)
    statistics = given or data_set.statistics or measure_statistics(images)
    model = TwoViewModel(
        build(
            options.arch,
            options.dim,
            size=options.size,
            channels=images.channels,
            stem=options.stem,
        ),
        options,
    )
    if options.sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    views, plain = transforms(options, statistics)
    evaluation = Evaluation(options, model.encoder, views, plain, labelled)
    trainer = Trainer(
        options=options,
        model=model,
        views=TwoViews(images, views, options.seed),
        evaluate=evaluation.run,
    )
    return trainer, evaluation


def transforms(options: TwoViewOptions, statistics: Statistics) -> tuple[Transform, Transform]:
    """Return the transforms for random views and for evaluation."""
    data_set = datasets.data_set(options.data)
    return (
        training_transform(data_set.views, size=options.size, statistics=statistics),
        evaluation_transform(data_set.evaluation, size=options.size, statistics=statistics),
    )
