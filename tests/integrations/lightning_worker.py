"""Processes of a validation, some without a batch; run as a module, it saves the numbers that each logs.

python -m tests.integrations.lightning_worker FOLDER
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from align_uniform.integrations.lightning import AlignUniformCallback
from tests import processes
from tests.rows import normal

COUNTS: dict[int, list[tuple[int, ...]]] = {2: [(40, 9), (0, 30), (31, 0)], 3: [(20, 0, 17), (0, 0, 12)]}
"""The numbers of rows of each process, by world size, in several splits."""

VIEWS = (1, 2)


class Batches(IterableDataset[Tensor]):
    """Batches of at most 7 rows of both views, [N, 2, 4]; no rows are no batch, which no length tells."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.rows.split(7) if len(self.rows) else ())


class Identity(pl.LightningModule):
    """A module that embeds nothing."""

    def validation_step(self, *_: Any) -> None:
        pass


def numbers(rows: Tensor, views: int, **settings: Any) -> dict[str, float]:
    """Return the numbers that a validation logs, of one view of the rows or of both."""
    callback = AlignUniformCallback(lambda _, batch: tuple(batch.unbind(1)[:views]))
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            callbacks=[callback],
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            logger=False,
            **settings,
        )
        trainer.validate(Identity(), DataLoader(Batches(rows), batch_size=None), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def rows_of(counts: tuple[int, ...]) -> Tensor:
    """Return two views of the rows of all processes, [N, 2, 4]."""
    return normal(sum(counts), 2, 4, seed=sum(counts))


def numbers_of_a_process(rank: int, counts: tuple[int, ...], views: int) -> dict[str, float]:
    """Return the numbers that one of several processes logs, after a validation of its own rows."""
    os.environ["LOCAL_RANK"] = str(rank)  # tells the trainer that its processes are there already
    torch.set_num_threads(1)
    own = rows_of(counts).split(list(counts))[rank]
    return numbers(own, views, devices=len(counts), strategy="ddp", use_distributed_sampler=False)


def checks(world: int) -> processes.Checks:
    return {
        f"{counts} {views}": partial(numbers_of_a_process, counts=counts, views=views)
        for counts in COUNTS[world]
        for views in VIEWS
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of data without a length
    processes.run(checks, COUNTS, Path(sys.argv[1]))
