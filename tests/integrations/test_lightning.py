"""The callback in the trainer of PyTorch Lightning, on handwritten digits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from align_uniform import measure
from align_uniform.integrations.lightning import AlignUniformCallback
from align_uniform.integrations.online import OnlineUniformity
from tests.integrations.digits import two_views
from tests.integrations.pages import run_page
from tests.rows import normal

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated:FutureWarning"),
]


def test_the_page_trains_an_encoder(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data, validation = two_views(), two_views(320)
        names = run_page("lightning", {"views": data, "validation": validation, "folder": str(tmp_path)})
    encoder = names["encoder"].eval()
    found = names["callback"]
    with torch.no_grad():
        x, y = (encoder(view) for view in validation.tensors)
    expected = measure(x, y)
    assert expected.align is not None
    assert float(found.align.compute()) == pytest.approx(expected.align.value, rel=1e-5)
    of_views = [float(metric.compute()) for metric in found.uniform]
    assert sum(of_views) / 2 == pytest.approx(expected.uniform.value, rel=1e-5)
    assert expected.uniform.value < -1.5
    metrics = names["trainer"].callback_metrics
    alone = measure(x).uniform.value
    assert float(metrics["uniform"]) == pytest.approx(alone, rel=1e-5)
    assert float(metrics["val_uniform"]) == pytest.approx(expected.uniform.value, rel=1e-5)
    assert float(metrics["train_uniform"]) == pytest.approx(expected.uniform.value, abs=0.5)


class Identity(pl.LightningModule):
    """A module that embeds nothing, so that every number is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, *_: Any) -> Tensor:
        return self.weight**2

    def validation_step(self, *_: Any) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fitted(folder: Path, *callbacks: AlignUniformCallback, loaders: int = 1, **options: Any) -> pl.Trainer:
    loader = [
        DataLoader(TensorDataset(normal(50, 4, seed=2 * n), normal(50, 4, seed=2 * n + 1)), batch_size=20)
        for n in range(loaders)
    ]
    settings: dict[str, Any] = {"max_epochs": 1, "log_every_n_steps": 1, "logger": False} | options
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **settings,
    )
    trainer.fit(Identity(), loader[0], loader)
    return trainer


def test_two_callbacks_log_the_numbers_of_two_dataloaders(tmp_path: Path) -> None:
    first = AlignUniformCallback(lambda _, batch: (batch[0], batch[1]), alpha=1, t=3)
    second = AlignUniformCallback(lambda _, batch: batch[0], "other_", dataloader=1)
    assert first.state_key != second.state_key
    found = fitted(tmp_path, first, second, loaders=2).callback_metrics
    expected, other = (
        measure(normal(50, 4), normal(50, 4, seed=1), alpha=1, t=3),
        measure(normal(50, 4, seed=2)),
    )
    assert expected.align is not None
    assert set(found) == {
        "val_align", "val_align.stderr", "val_uniform", "val_uniform.stderr", "val_rankme",
        "other_uniform", "other_uniform.stderr", "other_rankme",
    }  # fmt: skip
    assert float(found["val_align"]) == pytest.approx(expected.align.value, rel=1e-5)
    assert float(found["val_align.stderr"]) == pytest.approx(expected.align.stderr or 0, rel=1e-5)
    assert float(found["val_uniform"]) == pytest.approx(expected.uniform.value, rel=1e-5)
    assert float(found["other_uniform"]) == pytest.approx(other.uniform.value, rel=1e-5)
    assert float(found["other_uniform.stderr"]) == pytest.approx(other.uniform.stderr or 0, rel=1e-5)
    assert float(found["other_rankme"]) == pytest.approx(other.rankme, rel=1e-5)
    assert float(found["val_uniform.stderr"]) >= (expected.uniform.stderr or 0)


def test_the_window_is_logged_where_the_trainer_logs(tmp_path: Path) -> None:
    online = OnlineUniformity()
    online.update(normal(30, 4))
    found = fitted(tmp_path, AlignUniformCallback(online=online), log_every_n_steps=2).callback_metrics
    expected = measure(normal(30, 4)).uniform
    assert float(found["train_uniform"]) == pytest.approx(expected.value, rel=1e-5)
    assert float(found["train_uniform.stderr"]) == pytest.approx(expected.stderr or 0, rel=1e-5)
    assert (
        "train_uniform"
        not in fitted(tmp_path, AlignUniformCallback(online=online), log_every_n_steps=4).callback_metrics
    )  # of 3 steps


def test_the_window_is_logged_once_a_step_with_the_error_of_the_mean_over_processes() -> None:
    online, logged = OnlineUniformity(), []
    online.update(normal(30, 4))
    callback = AlignUniformCallback(online=online)
    module = SimpleNamespace(log=lambda name, value, **_: logged.append((name, value)))
    for step in (0, 1, 1, 2, 2, 3):  # two batches each, whose gradients are accumulated
        trainer = SimpleNamespace(global_step=step, log_every_n_steps=2, world_size=4)
        callback.on_train_batch_end(trainer, module, None, None, 0)
    expected = measure(normal(30, 4)).uniform
    assert expected.stderr is not None
    assert [name for name, _ in logged] == ["train_uniform", "train_uniform.stderr", "train_uniform.gap"]
    assert dict(logged)["train_uniform.stderr"] == pytest.approx(expected.stderr / 2, rel=1e-5)
