"""Checkpoints in the reference's layout are loaded, saved again, and resumed from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.views import TwoViews
from align_uniform.recipes.pretrain import moco
from align_uniform.recipes.pretrain.log import read_log


def reference_file(
    path: Path, *, contrastive: bool = False, queue: int = 64, arch: str = "resnet18"
) -> dict[str, Any]:
    """A checkpoint with the reference's keys, after a step."""
    from torchvision import models  # type: ignore[import-untyped]

    torch.manual_seed(1)
    q, k = (models.get_model(arch, num_classes=16) for _ in range(2))
    k.requires_grad_(False)
    sgd = torch.optim.SGD([*q.parameters(), *k.parameters()], 0.03, momentum=0.9, weight_decay=1e-4)
    q(torch.randn(4, 3, 32, 32)).sum().backward()
    sgd.step()
    state = {f"module.encoder_q.{name}": value for name, value in q.state_dict().items()}
    state |= {f"module.encoder_k.{name}": value for name, value in k.state_dict().items()}
    state |= {
        "module.queue": F.normalize(torch.randn(16, queue), dim=0),
        "module.queue_ptr": torch.tensor([32]),
    }
    if contrastive:
        state["module.scalar_label"] = torch.tensor(0)
    held = {"epoch": 3, "arch": arch, "state_dict": state, "optimizer": sgd.state_dict()}
    torch.save(held, path)
    return held


def resnet_options(folder: Path, **changed: Any) -> moco.MocoOptions:
    small = {
        "arch": "resnet18",
        "dim": 16,
        "size": 32,
        "queue": 64,
        "batch_size": 16,
        "epochs": 4,
        "workers": 0,
        "device": "cpu",
    }
    return moco.options(
        "imagenet-100", **small | {"out": folder, "root": folder, "lr": 0.01, "log_every": 1} | changed
    )


def resnet_trainer(chosen: moco.MocoOptions) -> Any:
    torch.manual_seed(0)
    model = moco.MocoModel(build(chosen.arch, chosen.dim), chosen)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    pictures = [Image.effect_noise((40, 40), 50 + i).convert("RGB") for i in range(40)]
    images = ImageSet("noise", pictures, torch.zeros(40, dtype=torch.long), ("noise",))
    return moco.trainer(chosen, model, TwoViews(images, moco.transforms(chosen)[0], 0))


@pytest.mark.parametrize("contrastive", [False, True])
def test_the_references_checkpoint_is_loaded_and_saved_again(contrastive: bool, tmp_path: Path) -> None:
    held = reference_file(tmp_path / "theirs.pth.tar", contrastive=contrastive)
    running = resnet_trainer(
        resnet_options(tmp_path, start=tmp_path / "theirs.pth.tar", contrastive_weight=float(contrastive))
    )
    assert running.epoch == 3
    assert running.optimizer.param_groups[0]["lr"] == 0.01  # the options', and not the file's
    moco.save_reference(tmp_path / "ours.pth.tar", running.model, running.optimizer, epoch=3, arch="resnet18")
    ours = torch.load(tmp_path / "ours.pth.tar", weights_only=True)
    assert ours.keys() == held.keys()
    assert ours["state_dict"].keys() == held["state_dict"].keys()
    for name, value in held["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name
    momentum, expected = ours["optimizer"]["state"], held["optimizer"]["state"]
    assert momentum.keys() == expected.keys()
    assert all(torch.equal(momentum[i]["momentum_buffer"], expected[i]["momentum_buffer"]) for i in expected)
    assert ours["optimizer"]["param_groups"][0]["params"] == held["optimizer"]["param_groups"][0]["params"]


def test_a_run_goes_on_from_the_references_checkpoint_and_then_from_its_own(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.pth.tar"
    reference_file(theirs)
    chosen = resnet_options(tmp_path, start=theirs)
    assert resnet_trainer(resnet_options(tmp_path, start=theirs, steps=7)).run() == 0  # batch 1 of epoch 3
    running = resnet_trainer(chosen)
    assert (running.epoch, running.batch) == (3, 1)
    assert running.run() == 0
    assert [(line["epoch"], line["batch"]) for line in read_log(chosen.folder) if "loss" in line] == [
        (4, 1),
        (4, 2),
    ]
    assert sorted(path.name for path in chosen.folder.glob("*.tar")) == ["checkpoint_0003.pth.tar"]
    last = torch.load(chosen.folder / "checkpoint_0003.pth.tar", weights_only=True)
    assert (last["epoch"], last["arch"], last["state_dict"]["module.queue_ptr"].tolist()) == (
        4,
        "resnet18",
        [0],
    )


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    reference_file(tmp_path / "theirs.pth.tar", queue=128)
    with pytest.raises(
        ValueError, match=r"of another shape: queue \(expected \[16, 64\], got \[16, 128\]\)\. Choose"
    ):
        resnet_trainer(resnet_options(tmp_path, start=tmp_path / "theirs.pth.tar"))
    with pytest.raises(ValueError, match="has a resnet18, the options say resnet34; pass --arch resnet18"):
        resnet_trainer(resnet_options(tmp_path, start=tmp_path / "theirs.pth.tar", arch="resnet34"))
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(
        ValueError, match=r"must hold epoch, arch, state_dict and optimizer, as .* do; it holds weights"
    ):
        resnet_trainer(resnet_options(tmp_path, start=tmp_path / "other.pt"))


@pytest.mark.parametrize(("name", "is_apart"), [("checkpoint_0002", True), ("checkpoint_0003", False)])
def test_a_start_is_not_replaced_by_a_later_checkpoint(name: str, is_apart: bool, tmp_path: Path) -> None:
    chosen = resnet_options(tmp_path)
    chosen.folder.mkdir(parents=True)
    start = chosen.folder / f"{name}.pth.tar"
    reference_file(start)  # of three epochs, after which the next one is written to checkpoint_0003
    (tmp_path / "link").symlink_to(start)
    for path in (start, tmp_path / "link"):
        chosen = resnet_options(tmp_path, start=path)
        if is_apart:
            assert resnet_trainer(chosen).epoch == 3
            continue
        with pytest.raises(
            ValueError, match=rf"{path.name} of --start has the name of a checkpoint that this"
        ):
            resnet_trainer(chosen)


def test_a_start_at_the_end_is_refused(tmp_path: Path) -> None:
    reference_file(tmp_path / "theirs.pth.tar")
    with pytest.raises(
        ValueError, match=r"theirs.pth.tar has done 3 epochs, and this run has 3; raise --epochs"
    ):
        resnet_trainer(resnet_options(tmp_path, start=tmp_path / "theirs.pth.tar", epochs=3))
