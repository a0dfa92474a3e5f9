"""Several processes that evaluate different images: run as a module, it starts them and saves what they find.

    python -m tests.recipes.judge.linear_worker TOPIC FOLDER

writes FOLDER/WORLD-RANK.pt for every world size and rank. The test process imports the same data and encoder,
and compares with the evaluation of all images in one process.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.judge.linear import LinearData, LinearProtocol, score_linear, train_linear
from align_uniform.recipes.judge.scores import over_ranks, score
from tests import processes

CLASSES = 7
SHARDS: dict[int, list[tuple[int, ...]]] = {2: [(40, 33), (0, 25), (1, 30)], 3: [(20, 0, 19), (11, 12, 13)]}
"""World size: how many test images each process holds, in several splits."""

ADAM = LinearProtocol(lr=0.05, epochs=3, milestones=(2,), batch_size=12)
SGD = LinearProtocol(
    optimizer="sgd", lr=1.0, epochs=3, milestones=(1,), gamma=0.1, batch_size=12, init_std=0.01
)
PROTOCOLS = {"adam": ADAM, "sgd": SGD}

STEPS: dict[int, list[list[int]]] = {
    2: [[8, 4], [0, 12], [6, 6], [5]],
    3: [[3, 4, 5], [12, 0, 0], [0, 0, 7], [1, 1]],
}
"""World size: for each step the images of each process; the last processes run out before the others."""


def logits_and_labels(n: int) -> tuple[Tensor, Tensor]:
    """Some right, some wrong, the same in every process."""
    labels = torch.arange(n) * 3 % CLASSES
    logits = torch.randn(n, CLASSES, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    logits[torch.arange(n), labels] += 1
    return logits, labels


def images_and_labels(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 4, 4] in classes that can be told apart in part."""
    labels = torch.arange(n) * 3 % CLASSES
    centres = torch.randn(CLASSES, 1, 4, 4, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    noise = torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return centres[labels] + noise, labels


class Encoder(nn.Module):
    """A layer with a name, an output of unit norm, and a BatchNorm that must not learn."""

    layers = ("hidden", "output")

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 10), nn.BatchNorm1d(10), nn.ReLU(inplace=True))
        self.head = nn.Linear(10, 4)
        self.unused = nn.Identity()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        self.double()

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """[N, 1, 4, 4] -> [N, 10] or [N, 4]."""
        hidden: Tensor = self.trunk(images)
        return hidden if layer == "hidden" else nn.functional.normalize(self.head(hidden), dim=-1)


def batches(world: int, rank: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """Training batches: those of one process, or of all."""
    images, labels = images_and_labels(sum(map(sum, STEPS[world])), 1)
    start, kept = 0, []
    for shares in STEPS[world]:
        shares = shares if rank is not None else [sum(shares)]
        bounds = torch.tensor([0, *shares]).cumsum(0) + start
        if (rank or 0) < len(shares):
            rows = slice(int(bounds[rank or 0]), int(bounds[(rank or 0) + 1]))
            kept.append((images[rows], labels[rows]))
        start = int(bounds[-1])
    return kept


def evaluation_batches(counts: tuple[int, ...], rank: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """Batches of 9; none for no images."""
    images, labels = images_and_labels(sum(counts), 2)
    if rank is not None:
        images, labels = images.split(list(counts))[rank], labels.split(list(counts))[rank]
    return list(zip(images.split(9), labels.split(9), strict=True)) if len(images) else []


# ------------------------------------------------------------------------------------------------- the checks


def scores_of_own(rank: int, counts: tuple[int, ...]) -> dict[str, Any]:
    logits, labels = (part.split(list(counts))[rank] for part in logits_and_labels(sum(counts)))
    return over_ranks(score(logits, labels, CLASSES), sum(counts)).to_dict()


def message_of_padded_shards(rank: int) -> str:
    labels = torch.zeros(8, dtype=torch.long)[
        rank :: dist.get_world_size()
    ]  # 7 images, and the first one again
    try:
        over_ranks(score(labels, labels, CLASSES), expected=7)
    except ValueError as error:
        return str(error)
    return "no error"


def linear(rank: int, name: str, counts: tuple[int, ...]) -> dict[str, Any]:
    """Train, and score the classifier again."""
    world = dist.get_world_size()
    return trained(PROTOCOLS[name], batches(world, rank), evaluation_batches(counts, rank), sum(counts))


def trained(protocol: LinearProtocol, train: Any, test: Any, test_images: int) -> dict[str, Any]:
    encoder = Encoder()
    result = train_linear(encoder, LinearData(train, test, CLASSES, test_images), "hidden", protocol)
    again = score_linear(encoder, result.classifier, test, "hidden", classes=CLASSES, test_images=test_images)
    assert again == result.last
    return {
        "weight": result.classifier.weight.detach(),
        "bias": result.classifier.bias.detach(),
        "history": result.state["history"],
        "scores": result.last.to_dict(),
        "best": result.best.to_dict(),
    }


def gathered(rank: int, counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return features(Encoder(), evaluation_batches(counts, rank), "hidden", gather=True)


def message_of_a_broken_image(rank: int) -> str:
    train = batches(dist.get_world_size(), rank)
    if rank == 0:
        train[0][0][0] = math.nan
    try:
        trained(
            ADAM,
            train,
            evaluation_batches(SHARDS[dist.get_world_size()][0], rank),
            sum(SHARDS[dist.get_world_size()][0]),
        )
    except ValueError as error:
        return str(error)
    return "no error"


def checks(topic: str, world: int) -> dict[str, Callable[[int], Any]]:
    """Every check by name, in an order that all processes share."""
    if topic == "scores":
        return {f"scores {counts}": partial(scores_of_own, counts=counts) for counts in SHARDS[world]} | {
            "padded": message_of_padded_shards
        }
    todo: dict[str, Callable[[int], Any]] = {"broken": message_of_a_broken_image}
    for counts in SHARDS[world]:
        todo[f"gathered {counts}"] = partial(gathered, counts=counts)
        for name in PROTOCOLS:
            todo[f"{name} {counts}"] = partial(linear, name=name, counts=counts)
    return todo


if __name__ == "__main__":
    processes.run(partial(checks, sys.argv[1]), SHARDS, Path(sys.argv[2]))
