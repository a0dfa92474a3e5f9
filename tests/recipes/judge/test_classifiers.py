"""Linear classifiers in the layout of the reference's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.encoders.networks import Encoder, build
from align_uniform.recipes.judge.classifiers import classifier_of, save_linear
from align_uniform.recipes.judge.linear import IMAGENET, LinearData, LinearEpoch, train_linear
from tests import rows

CLASSES = ("0", "1", "2")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return build("resnet18", 8, size=32, head="mlp").eval()


@pytest.fixture(scope="module")
def epochs(encoder: Encoder) -> list[LinearEpoch]:
    """Two, and whatever is tried, the better of them has the higher accuracy or comes first."""
    images, labels = rows.normal(12, 3, 32, 32, dtype=torch.float32), torch.arange(12) % 3
    told: list[LinearEpoch] = []
    protocol = IMAGENET.__class__(optimizer="sgd", lr=1.0, epochs=2, milestones=(1,), init_std=0.01)
    data = LinearData([(images, labels)], [(images, labels)], 3)
    train_linear(encoder, data, "backbone", protocol, on_epoch=told.append)
    return told


def test_the_files_are_torchvisions_network_with_the_classifier_in_it(
    encoder: Encoder, epochs: list[LinearEpoch], tmp_path: Path
) -> None:
    for epoch in epochs:
        save_linear(tmp_path / "linear", encoder, epoch.state, arch="resnet18", with_best=epoch.is_best)
    held = torch.load(tmp_path / "linear" / "checkpoint.pth.tar", weights_only=True)
    assert held.keys() == {"epoch", "arch", "state_dict", "best_acc1", "acc1", "acc5", "optimizer"}
    assert (held["epoch"], held["arch"]) == (2, "resnet18")
    assert (held["acc1"], held["acc5"]) == (100 * epochs[-1].scores.top1, 100)
    assert held["best_acc1"] == 100 * max(epoch.scores.top1 for epoch in epochs)
    network = nn.DataParallel(resnet18(num_classes=3))
    network.load_state_dict(held["state_dict"])
    images = rows.normal(2, 3, 32, 32, dtype=torch.float32)
    classifier = epochs[-1].state["classifier"]
    expected = encoder(images, "backbone") @ classifier["weight"].T + classifier["bias"]
    torch.testing.assert_close(network.module.eval()(images), expected)
    best = torch.load(tmp_path / "linear" / "model_best.pth.tar", weights_only=True)
    assert best["epoch"] == 1 + max(epoch.epoch for epoch in epochs if epoch.is_best)
    assert best["acc1"] == best["best_acc1"]


def test_both_files_come_of_the_state_of_a_later_epoch(
    encoder: Encoder, epochs: list[LinearEpoch], tmp_path: Path
) -> None:
    best = next(epoch for epoch in reversed(epochs) if epoch.is_best)
    save_linear(tmp_path, encoder, epochs[-1].state, arch="resnet18")
    for name, epoch in (("checkpoint.pth.tar", epochs[-1]), ("model_best.pth.tar", best)):
        held = torch.load(tmp_path / name, weights_only=True)
        assert (held["epoch"], held["acc1"]) == (epoch.epoch + 1, 100 * epoch.scores.top1)
        expected = epoch.state["classifier"]["weight"]
        assert torch.equal(held["state_dict"]["module.fc.weight"], expected)


def test_a_classifier_is_found_in_either_kind_of_file(
    encoder: Encoder, epochs: list[LinearEpoch], tmp_path: Path
) -> None:
    save_linear(tmp_path, encoder, epochs[0].state, arch="resnet18")
    torch.save(epochs[0].state, tmp_path / "state.pt")
    expected: dict[str, Tensor] = epochs[0].state["classifier"]
    for name in ("checkpoint.pth.tar", "model_best.pth.tar", "state.pt"):
        found = classifier_of(tmp_path / name, encoder, "backbone", CLASSES).state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in ("weight", "bias"))


def test_a_classifier_of_another_encoder_is_refused(
    encoder: Encoder, epochs: list[LinearEpoch], tmp_path: Path
) -> None:
    save_linear(tmp_path, encoder, epochs[0].state, arch="resnet18")
    torch.save(epochs[0].state, tmp_path / "state.pt")
    other = build("resnet18", 8, size=32, head="mlp")
    with pytest.raises(ValueError, match=r"of another encoder: .* differs, and so on"):
        classifier_of(tmp_path / "checkpoint.pth.tar", other, "backbone", CLASSES)
    with pytest.raises(ValueError, match=r"state\.pt has the classifier of another encoder; give"):
        classifier_of(tmp_path / "state.pt", other, "backbone", CLASSES)
    with pytest.raises(ValueError, match=r"of the layer backbone, got output; pass --layer backbone"):
        classifier_of(tmp_path / "state.pt", encoder, "output", CLASSES)
    with pytest.raises(ValueError, match=r"of the classes 0, 1, 2, and the images have 2, 1, 0, in"):
        classifier_of(tmp_path / "state.pt", encoder, "backbone", CLASSES[::-1])


@pytest.mark.parametrize(
    "held",
    [
        3,
        {},
        {0: torch.ones(1)},
        {"state_dict": [1]},
        {"weight": torch.ones(2, 3)},
        {"classifier": {"weight": torch.ones(3)}},
    ],
    ids=str,
)
def test_a_file_without_a_classifier_is_refused(held: Any, encoder: Encoder, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "any.pt")
    with pytest.raises(ValueError, match=r"any\.pt (must hold a linear classifier|does not fit the network)"):
        classifier_of(tmp_path / "any.pt", encoder, "backbone", CLASSES)
