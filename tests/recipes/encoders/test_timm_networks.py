"""Networks of timm, from a folder and from a file of weights; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm import data
from timm.models import save_for_hf

from align_uniform import load_encoder
from align_uniform.cli import main

NAME = "test_resnet"
"""A network of timm that is made for tests."""


@pytest.fixture(scope="module")
def classifier() -> Any:
    """A classifier with random weights, whose features differ from those of a new one."""
    torch.manual_seed(0)
    return timm.create_model(NAME, pretrained=False, num_classes=7).eval()


@pytest.fixture
def folder(classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures, the folder of a model and a file of its weights; the command is run there."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("photos").mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (60 + number, 80, 3), np.uint8)).save(f"photos/{number}.png")
    torch.save(classifier.state_dict(), "weights.pth")
    save_for_hf(classifier, "tiny", safe_serialization=True)
    return tmp_path


def by_timm(classifier: Any) -> torch.Tensor:
    """The features of the pictures, by timm alone."""
    config = data.resolve_data_config({}, model=classifier)
    transform = data.create_transform(**config, is_training=False)
    images = [transform(Image.open(f"photos/{number}.png").convert("RGB")) for number in range(8)]
    with torch.no_grad():
        features: torch.Tensor = classifier.forward_head(
            classifier.forward_features(torch.stack(images)), pre_logits=True
        )
    return features


@pytest.mark.parametrize("encoder", [["timm:tiny"], [f"timm:{NAME}", "--weights", "weights.pth"]])
def test_features_are_those_that_timm_computes(
    encoder: list[str], folder: Path, classifier: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *weights = encoder
    assert main(["encode", name, "photos", "--out", "features.npz", *weights, "--workers", "0"]) == 0
    with np.load("features.npz") as file:
        found, paths = file["features"], file["paths"].tolist()
    assert paths == [f"{number}.png" for number in range(8)]
    np.testing.assert_allclose(found, by_timm(classifier).numpy(), rtol=1e-4, atol=1e-5)


def test_two_views_of_pictures_are_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--encoder", "timm:tiny", "--images", "photos", "--workers", "0", "--size", "64"]
    assert main(["measure", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["n"], found["align"]["of"]) == ("tiny", 8, "two views")
    assert found["provenance"]["views"] == "moco-v2, 64 pixels"
    assert found["provenance"]["encoder"] == "timm:tiny"


def test_the_encoder_in_python_takes_pictures(folder: Path, classifier: Any) -> None:
    encoder = load_encoder("timm:tiny")
    found = encoder.encode([f"photos/{number}.png" for number in range(8)])
    torch.testing.assert_close(found, by_timm(classifier), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "timm:no_such_net",
            "timm has no network 'no_such_net', and no folder has that name; it has",
        ),
        ("timm:photos", "timm:photos could not be fetched or read (Config file not found"),
        (f"timm:{NAME} --weights other.pth", "test_resnet"),
    ],
)
def test_what_timm_cannot_build_is_one_line(
    typed: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(timm.create_model("test_efficientnet", pretrained=False).state_dict(), "other.pth")
    name, *options = typed.split()
    assert main(["encode", name, "photos", "--out", "f.npy", *options]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert message in printed.err
