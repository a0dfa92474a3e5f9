"""The images of `linear_worker` in batches, and the features of its encoder."""

from __future__ import annotations

from torch import Tensor

from tests.recipes.judge.linear_worker import Encoder, images_and_labels

Batches = list[tuple[Tensor, Tensor]]


def in_batches(n: int, seed: int, size: int = 12) -> Batches:
    images, labels = images_and_labels(n, seed)
    return list(zip(images.split(size), labels.split(size), strict=True))


def whole(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of the hidden layer, and labels."""
    images, labels = images_and_labels(n, seed)
    return Encoder().eval()(images, "hidden").detach(), labels
