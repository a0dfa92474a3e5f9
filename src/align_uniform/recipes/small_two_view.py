"""Training on two views: every image is seen twice, and the objective says what the two outputs should be to
each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Objective = Callable[[Tensor, Tensor], Tensor]
"""From two views' outputs, [N, dim] each, to a scalar loss."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int = 200
    """Number of batches."""
    batch_size: int = 128
    """Images of a batch; each is seen twice."""
    learning_rate: float = 2e-3
    """Adam's; it falls to 0 along a cosine."""
    weight_decay: float = 1e-4
    """Adam's."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}.")
        if self.batch_size < 2:
            raise ValueError(
                "batch_size must be at least 2, for a row to have another to keep away from, got "
                f"{self.batch_size}."
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}.")


def train(
    encoder: nn.Module,
    images: Tensor,
    views: Callable[[Tensor], Tensor],
    objective: Objective,
    schedule: Schedule,
    on_step: Callable[[float], None] | None = None,
) -> None:
    """Train `encoder` in place, without labels.

    Args:
        encoder: from images to outputs on the sphere.
        images: [N, channels, height, width].
        views: a random augmentation of a batch of images.
        objective: `AlignUniformLoss(...)`, `ContrastiveLoss(...)`, or any function like them.
        schedule: steps, batch size and learning rate.
        on_step: called after every step with its loss, if given.
    """
    optimizer = torch.optim.Adam(
        encoder.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=schedule.steps)
    batches = _shuffled_batches(images, schedule.batch_size)
    encoder.train()
    for _ in range(schedule.steps):
        batch = next(batches)
        x, y = encoder(torch.cat([views(batch), views(batch)])).chunk(2)
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if on_step is not None:
            on_step(loss.item())


def _shuffled_batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Full batches without end; each image once before any comes again, but for the few left over from full
    batches.
    """
    size = min(size, len(images))
    while True:
        for rows in torch.randperm(len(images), device=images.device).split(size):
            if len(rows) == size:
                yield images[rows]
