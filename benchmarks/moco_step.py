"""The share of the loss in a step of MoCo: a whole step, and the loss alone, by our functions and plainly.

    python -m benchmarks.moco_step [--batch 32] [--seconds 30] [--out FILE] [--force]

There are two steps, of random images: ResNet-50 on 224 x 224 pixels with 128 outputs and 65,536 keys, as on
ImageNet except for the batch, and the small network of the preset fashion-mnist with its batch of 256, 64
outputs and 4,096 keys. The loss is timed with its gradient. The plain formulation keeps the matrix of queries
and keys. All three take turns in one process; numbers are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align_uniform import align_loss, contrastive_loss, uniform_loss
from align_uniform._writing import check_replaceable, written_whole
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.images.datasets import data_set
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.views import TwoViews
from align_uniform.recipes.pretrain import moco
from benchmarks.operations import unit_rows
from benchmarks.timing import take_turns

T, TAU = 3.0, 0.2
OBJECTIVES: dict[str, dict[str, float]] = {
    "3 align + uniform": {"align_weight": 3, "uniform_weight": 1, "uniform_t": T},
    "contrastive": {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1, "contrastive_tau": TAU},
}
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser("python -m benchmarks.moco_step", description=__doc__)
    parser.add_argument(
        "--batch", type=int, default=32, help="number of images of a step of ResNet-50 (default: 32)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=30,
        help="time for each of the four steps, at least five rounds (default: 30)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options = parser.parse_args()
    if options.out is not None:
        check_replaceable(options.out, force=options.force)
    large: dict[str, Any] = {
        "preset": "imagenet-100",
        "queue": 65536 // options.batch * options.batch,
        "batch_size": options.batch,
    }
    rows = [
        {"objective": objective, **measured(objective, settings | weights, options.seconds)}
        for settings in (large, {"preset": "fashion-mnist"})
        for objective, weights in OBJECTIVES.items()
    ]
    Console(width=None if sys.stdout.isatty() else 140).print(_table(rows))
    if options.out is not None:
        with written_whole(options.out) as partial:
            partial.write_text(json.dumps({"schema_version": 1, "rows": rows}, indent=1) + "\n")
    return 0


def _table(rows: list[dict[str, Any]]) -> Table:
    """Return a table with a line for each step."""
    table = Table(title=f"A step of MoCo on a CPU, {torch.get_num_threads()} threads", title_justify="left")
    columns = (
        "encoder",
        "batch",
        "keys",
        "objective",
        "step, s",
        "loss, ms",
        "of the step",
        "loss plainly, ms",
        "ratio",
    )
    for heading in columns:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            *(str(row[name]) for name in ("arch", "batch", "keys", "objective")),
            f"{row['step']:.2f}", f"{1e3 * row['ours']:.1f}", f"{row['ours'] / row['step']:.2%}",
            f"{1e3 * row['plain']:.1f}", f"{row['plain'] / row['ours']:.2f}x",
        )  # fmt: skip
    return table


def measured(objective: str, settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the median seconds of the step and of the loss in it, ours and plain."""
    with tempfile.TemporaryDirectory() as folder:
        options = moco.options(**settings, device="cpu", workers=0, out=Path(folder))
        step = _step(options, Path(folder))
        q, k = (
            unit_rows(options.batch_size, options.dim).requires_grad_(),
            unit_rows(options.batch_size, options.dim, seed=1),
        )
        queue = unit_rows(options.queue, options.dim, seed=2)
        ours, plain = LOSSES[objective]
        actions = {
            "step": step,
            "ours": lambda: ours(q, k, queue).backward(),
            "plain": lambda: plain(q, k, queue).backward(),
        }
        rounds = [turn for _, turn in take_turns(actions, seconds)]
    medians = {name: statistics.median(turn.seconds[name] for turn in rounds) for name in actions}
    return {"arch": options.arch, "batch": options.batch_size, "keys": options.queue, **medians}


def _step(options: moco.MocoOptions, folder: Path) -> Callable[[], object]:
    """Return a step as the recipe takes it: keys, loss, gradient, optimiser, queue."""
    channels = data_set(options.data).channels
    x, y = torch.randn(2, options.batch_size, channels, options.size, options.size)
    model = moco.MocoModel(build(options.arch, options.dim, size=options.size, channels=channels), options)
    images = ImageSet(
        "none",
        [Image.new("L", (1, 1))] * options.batch_size,
        torch.zeros(options.batch_size, dtype=torch.int64),
        ("any",),
    )
    trainer = moco.trainer(options, model, TwoViews(images, moco.transforms(options)[0], seed=0))
    trainer.model.train()
    return lambda: trainer.step(trainer.model, x, y)


# The objectives, ours and as one writes them with a matrix of all queries and keys.


def _align_uniform(q: Tensor, k: Tensor, queue: Tensor) -> Tensor:
    return 3 * align_loss(q, k) + uniform_loss(q, T, negatives=queue)


def _align_uniform_plainly(q: Tensor, k: Tensor, queue: Tensor) -> Tensor:
    across = (2 * T * (q @ queue.T) - 2 * T).exp()
    within = torch.pdist(q).pow(2).mul(-T).exp()
    uniform = ((across.sum() + within.sum()) / (across.numel() + within.numel())).log()
    align: Tensor = (q - k).norm(dim=1).pow(2).mean()
    return 3 * align + uniform


def _contrastive(q: Tensor, k: Tensor, queue: Tensor) -> Tensor:
    return contrastive_loss(q, k, TAU, negatives=queue)


def _contrastive_plainly(q: Tensor, k: Tensor, queue: Tensor) -> Tensor:
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / TAU
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))


LOSSES: dict[str, tuple[Loss, Loss]] = {
    "3 align + uniform": (_align_uniform, _align_uniform_plainly),
    "contrastive": (_contrastive, _contrastive_plainly),
}


if __name__ == "__main__":
    sys.exit(main())
