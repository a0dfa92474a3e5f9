"""Two-view pretraining: its steps are those of the reference, and a whole run leaves what it should."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from align_uniform.recipes.encoders.networks import SmallAlexNet
from align_uniform.recipes.pretrain import two_view
from align_uniform.recipes.pretrain.log import read_log
from tests import rows
from tests.recipes.pretrain.two_view_worker import Plain, options, trainer
from tests.recipes.small_runs import brief


def reference_step(encoder: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """A step as the reference's example takes it: both views in one batch, align + uniform."""
    x, y = encoder(torch.cat([x, y])).chunk(2)
    align = (x - y).norm(dim=1).pow(2).mean()
    uniform = sum(torch.pdist(z).pow(2).mul(-2).exp().mean().log() for z in (x, y)) / 2
    loss = align + uniform
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def sgd(module: nn.Module, lr: float) -> torch.optim.SGD:
    return torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)


def test_five_steps_are_the_references(tmp_path: Path) -> None:
    ours = trainer(options(tmp_path, contrastive_weight=0))
    theirs = Plain().double()
    theirs.load_state_dict(ours.model.get_submodule("encoder").state_dict())
    optimizer = sgd(theirs, 0.2)
    for seed in range(5):
        x, y = rows.normal(2, 20, 1, 16, 16, seed=seed)
        found = ours.step(ours.model.train(), x, y)
        assert found["loss"] == pytest.approx(reference_step(theirs, optimizer, x, y), abs=1e-8)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(
            ours.model.get_submodule("encoder").state_dict()[name], value, rtol=0, atol=1e-8
        )


def test_one_step_of_the_small_alexnet_is_the_references() -> None:
    torch.manual_seed(0)
    ours = two_view.TwoViewModel(SmallAlexNet(16, size=15), two_view.options())
    theirs = SmallAlexNet(16, size=15)
    theirs.load_state_dict(ours.encoder.state_dict())
    x, y = rows.normal(2, 6, 3, 15, 15, dtype=torch.float32)
    loss = ours(x, y)["loss"]
    loss.backward()
    expected = reference_step(theirs, sgd(theirs, 0.0), x, y)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    found, wanted = (
        torch.cat(
            [parameter.grad.flatten() for parameter in encoder.parameters() if parameter.grad is not None]
        )
        for encoder in (ours.encoder, theirs)
    )
    assert float((found - wanted).norm()) <= 1e-4 * float(wanted.norm())


def test_batchnorm_may_be_over_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[nn.Module] = []
    monkeypatch.setattr(two_view, "complete", lambda trainer, _: built.append(trainer.model))
    for sync in (False, True):
        two_view.run(two_view.options("digits", out=tmp_path, sync_batchnorm=sync, device="cpu"))
    has = [
        {type(module) for module in model.modules()} & {nn.SyncBatchNorm, nn.BatchNorm2d} for model in built
    ]
    assert has == [{nn.BatchNorm2d}, {nn.SyncBatchNorm}]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_whole_recipe_runs_on_digits(precision: str, tmp_path: Path) -> None:
    chosen = two_view.options(
        "digits", out=tmp_path, epochs=2, precision=precision, channels_last=True, device="cpu"
    )
    assert two_view.run(chosen) == 0
    names = {path.name for path in chosen.folder.iterdir()}
    assert {
        "checkpoint.pt",
        "encoder.pth",
        "encoder.safetensors",
        "log.jsonl",
        "report.html",
        "trajectory.png",
    } <= names
    assert "encoder.json" in names
    (evaluation,) = [line for line in read_log(chosen.folder) if "evaluation" in line]
    assert 0.5 < evaluation["knn"] <= 1
    assert all(math.isfinite(value) for value in evaluation.values())
    assert json.loads((chosen.folder / "log.jsonl").read_text().splitlines()[0])["equivalent_dim"] > 1
    weights = torch.load(chosen.folder / "encoder.pth", weights_only=True)
    assert F.normalize(weights["head.3.weight"]).isfinite().all()


def test_the_whole_recipe_runs_on_stl10s_format(trained: Path) -> None:
    assert {"encoder.pth", "encoder.safetensors", "report.html", "trajectory.svg"} <= {
        path.name for path in trained.iterdir()
    }
    assert (
        len([line for line in read_log(trained) if "loss" in line]) == 6
    )  # 84 images in batches of 40, 40 and 4


def test_a_run_goes_on_with_the_statistics_it_began_with_and_a_refused_one_leaves_them(folder: Path) -> None:
    chosen = brief(folder, epochs=2, steps=1)
    assert two_view.run(chosen) == 0
    kept = (chosen.folder / "encoder.json").read_bytes()
    with pytest.raises(
        ValueError,
        match=r"other options or images: mean was .* epochs was 2 and is 1, lr was 0\.12 and is 0\.5",
    ):
        two_view.run(brief(folder, lr=0.5, mean=(0.5,) * 3, std=(1.0,) * 3))
    Image.new("RGB", (32, 32), "white").save(folder / "train" / "class0" / "white.png")
    with pytest.raises(ValueError, match=r"other options or images: mean was .*, images was 12 and is 13\."):
        two_view.run(brief(folder, epochs=2))
    assert (chosen.folder / "encoder.json").read_bytes() == kept
    (folder / "train" / "class0" / "white.png").unlink()
    assert two_view.run(brief(folder, epochs=2)) == 0
    assert (chosen.folder / "encoder.json").read_bytes() == kept


def test_a_run_with_given_statistics_is_not_resumed_with_another_number_of_images(folder: Path) -> None:
    given: dict[str, Any] = {"mean": (0.5,) * 3, "std": (1.0,) * 3, "epochs": 2}
    assert two_view.run(brief(folder, steps=1, **given)) == 0
    next((folder / "train").rglob("*.png")).unlink()
    with pytest.raises(ValueError, match=r"images: images was 12 and is 11\. Restore them"):
        two_view.run(brief(folder, **given))


def losses(chosen: two_view.TwoViewOptions) -> list[float]:
    """Train without an evaluation, or resume the folder's run; return the losses of all batches."""
    training, _ = two_view.prepared(chosen)
    training.evaluate = dict
    assert training.run() == 0
    return [line["loss"] for line in training.history if "loss" in line]


def test_views_that_are_made_on_the_device_train_as_those_of_the_processes_that_read(tmp_path: Path) -> None:
    common = {"limit": 30, "batch_size": 10, "epochs": 1}
    expected = losses(options(tmp_path / "cpu", **common, workers=0))
    assert len(expected) == 3
    found = losses(options(tmp_path / "device", **common, workers=1, augment_on="device"))
    assert found == pytest.approx(expected, abs=1e-5)
    stopped = losses(options(tmp_path / "both", **common, workers=0, steps=1))
    assert len(stopped) == 1
    resumed = losses(options(tmp_path / "both", **common, workers=0, augment_on="device"))
    assert resumed == pytest.approx(expected, abs=1e-5)
