"""One of several processes that train together: run as a script, it trains and saves the weights and the log.

    python two_view_worker.py RANK WORLD STORE FOLDER

The test process imports the same run and compares with one process of its own.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.views import TwoViews, training_transform
from align_uniform.recipes.pretrain import two_view
from align_uniform.recipes.pretrain.loop import Trainer


class Plain(nn.Module):
    """An encoder without BatchNorm, so that a batch may be split."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.Tanh(), nn.Linear(32, 8))

    def forward(self, images: Tensor) -> Tensor:
        """[N, 1, 16, 16] -> [N, 8]."""
        return F.normalize(self.layers(images), dim=1)


class Doubles(TwoViews):
    """Views in float64."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, int]:
        x, y, index = super().__getitem__(key)
        return x.double(), y.double(), index


def options(folder: Path, **changed: Any) -> two_view.TwoViewOptions:
    """A short run on digits."""
    short = {
        "out": folder,
        "epochs": 2,
        "batch_size": 300,
        "lr": 0.2,
        "log_every": 1,
        "device": "cpu",
        "contrastive_weight": 0.5,
    }
    return two_view.options("digits", **short | changed)


def trainer(chosen: two_view.TwoViewOptions) -> Trainer:
    """The recipe's own loop and objective, in float64."""
    torch.manual_seed(chosen.seed)
    images = datasets.load("digits", chosen.root, "train")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    return Trainer(
        options=chosen,
        model=two_view.TwoViewModel(Plain().double(), chosen),
        views=Doubles(images, training_transform("digits"), chosen.seed),
        evaluate=dict,
    )


def train(chosen: two_view.TwoViewOptions) -> dict[str, Any]:
    """Weights and log of a whole run."""
    running = trainer(chosen)
    code = running.run()
    losses = [
        {name: line[name] for name in ("loss", "align", "uniform")}
        for line in running.history
        if "loss" in line
    ]
    return {"code": code, "weights": running.model.state_dict(), "losses": losses}


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Hold a run to have the losses and the weights of another, bit for bit."""
    assert found["code"] == 0
    assert found["losses"] == expected["losses"]
    for name, value in expected["weights"].items():
        assert torch.equal(found["weights"][name], value), name


def main(rank: int, world: int, store: str, folder: Path) -> None:
    """Train with the others."""
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    torch.save(train(options(folder)), folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
