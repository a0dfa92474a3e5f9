"""Several processes that train MoCo together: run as a module, it keeps what each of them found.

    python -m tests.recipes.pretrain.moco_worker FOLDER

For each number of processes, every check runs in each of them, and rank r of W writes `W-r.pt`. The test
process imports the same runs and compares with one process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from align_uniform import _ranks as ranks
from align_uniform.recipes.encoders.networks import SmallConvNet
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.views import TwoViews, training_transform
from align_uniform.recipes.pretrain import loop, moco
from align_uniform.recipes.pretrain.loop import Trainer
from tests import processes
from tests.recipes.pretrain.two_view_worker import Doubles, Plain

WORLDS = (2, 3)


def options(folder: Path, **changed: Any) -> moco.MocoOptions:
    """A short run on digits, 2 epochs of 4 batches, in which the queue is filled four times."""
    short = {
        "data": "digits",
        "size": 16,
        "dim": 8,
        "out": folder,
        "epochs": 2,
        "batch_size": 300,
        "queue": 600,
        "key_momentum": 0.9,
        "lr": 0.2,
        "log_every": 1,
        "workers": 0,
        "device": "cpu",
        "contrastive_weight": 0.5,
        "keep_every": 0,
    }
    return moco.options("fashion-mnist", **short | changed)


def trainer(chosen: moco.MocoOptions) -> Trainer:
    """The recipe's own loop and objective, in float64, on an encoder without BatchNorm."""
    torch.manual_seed(chosen.seed)
    views = Doubles(datasets.load("digits", chosen.root, "train"), training_transform("digits"), chosen.seed)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    return moco.trainer(chosen, moco.MocoModel(Plain(), chosen).double(), views)


def normalised_trainer(chosen: moco.MocoOptions) -> Trainer:
    """The same in float32, on an encoder with BatchNorm."""
    torch.manual_seed(chosen.seed)
    views = TwoViews(datasets.load("digits", chosen.root, "train"), training_transform("digits"), chosen.seed)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    return moco.trainer(chosen, moco.MocoModel(SmallConvNet(chosen.dim), chosen), views)


def train(running: Trainer) -> dict[str, Any]:
    """State and log of a whole run."""
    code = running.run()
    terms = ("loss", "align", "uniform", "contrastive")
    losses = [{name: line[name] for name in terms} for line in running.history if "loss" in line]
    ranks.barrier()
    return {"code": code, "state": running.model.state_dict(), "losses": losses}


class Marked(nn.Module):
    """Leaves the mean of its batch behind, as BatchNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False, momentum=1.0)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 4] -> [N, 4]."""
        normed: Tensor = self.norm(images)
        return normed


def images_of(rank: int) -> Tensor:
    """[5 + rank, 4], far from those of other ranks."""
    return 10.0 * rank + torch.arange(4.0 * (5 + rank)).reshape(-1, 4) / 40


def shuffled(rank: int) -> dict[str, Any]:
    """The mean of the batch that a process has keys of, and what comes of images that the encoder leaves
    alone.
    """
    torch.manual_seed(rank)
    chosen = moco.options("fashion-mnist", dim=4, batch_size=24, queue=24)
    model = moco.MocoModel(Marked(), chosen)
    model.keys(images_of(rank))
    norm = model.encoder_k.get_submodule("norm")
    assert isinstance(norm, nn.BatchNorm1d)
    model.encoder_k = nn.Flatten()
    own, everyones = model.keys(images_of(rank))
    orders = [model.order(24, torch.device("cpu")) for _ in range(2)]
    return {"mean": norm.running_mean, "own": own, "everyones": everyones, "orders": orders}


def queued(rank: int) -> dict[str, Any]:
    """The queue after a few steps in which nothing but the model itself keeps it the same on all
    processes.
    """
    torch.manual_seed(0)
    model = moco.MocoModel(Plain(), options(Path(), batch_size=12, queue=36)).double()
    for seed in range(5):
        model(*views_of(rank + 10 * seed))
    return {"queue": model.queue, "place": int(model.queue_ptr)}


def local_losses(rank: int, folder: Path) -> dict[str, Tensor]:
    """Losses of own images, and of all."""
    found = {}
    for local in (True, False):
        torch.manual_seed(0)
        chosen = options(folder, local_losses=local, batch_size=12, queue=24)
        model = moco.MocoModel(Plain(), chosen).double()
        losses = model(*views_of(rank))
        found["local" if local else "all"] = losses["loss"].detach()
        found["logged" if local else "logged of all"] = torch.tensor(loop.means_over_ranks(losses)["loss"])
    return found


def views_of(rank: int) -> Tensor:
    """Two views of a process's own 4 images."""
    return torch.randn(2, 4, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))


def interrupted(rank: int, folder: Path) -> dict[str, Any]:
    """A run in one piece, and one in two."""
    whole = train(normalised_trainer(options(folder / "whole", epochs=1)))
    train(normalised_trainer(options(folder / "pieces", epochs=1, steps=2)))
    return {"whole": whole, "pieces": train(normalised_trainer(options(folder / "pieces", epochs=1)))}


def checks(folder: Path, world: int) -> dict[str, Callable[[int], Any]]:
    """Every check by name, in an order that all processes share."""
    todo: dict[str, Callable[[int], Any]] = {
        "trained": lambda _: train(trainer(options(folder / f"trained-{world}"))),
        "shuffled": shuffled,
        "queued": queued,
        "local": partial(local_losses, folder=folder),
    }
    return todo | ({"interrupted": partial(interrupted, folder=folder / "interrupted")} if world == 2 else {})


if __name__ == "__main__":
    processes.run(partial(checks, Path(sys.argv[1])), WORLDS, Path(sys.argv[1]))
