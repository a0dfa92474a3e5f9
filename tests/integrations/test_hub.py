"""Encoders of the recipes in a folder of the Hub's format, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from align_uniform.integrations.hub import HubEncoder
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import EncoderCard, read_encoder, save_encoder
from align_uniform.recipes.images.statistics import STATISTICS
from tests.integrations.pages import run_page

IMAGES = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as a run leaves it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build("small-conv", 8, size=28, channels=1)
        encoder(IMAGES)  # so that the statistics of BatchNorm are no defaults
    EncoderCard.of(encoder, STATISTICS["fashion-mnist"], "fashion-mnist").write(tmp_path / "run")
    save_encoder(encoder, tmp_path / "run")
    return tmp_path / "run"


def features(encoder: torch.nn.Module, layer: str = "output") -> Tensor:
    with torch.no_grad():
        found: Tensor = encoder(IMAGES, layer)
    return found


def test_the_page_saves_an_encoder_and_loads_it_again(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    names = run_page("hub", {"run": run, "folder": folder, "images": IMAGES})
    assert names["features"].shape == (4, 8)
    for layer in ("output", "features"):
        expected = features(read_encoder(run), layer)
        assert torch.equal(features(names["again"], layer), expected)
        assert torch.equal(features(names["same"], layer), expected)
    assert names["again"].card == EncoderCard.read_beside(run)
    assert not names["again"].training


def test_the_folder_describes_itself(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    HubEncoder.from_run(run).save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "config.json", "encoder.json", "README.md"
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config == {
        "arch": "small-conv", "dim": 8, "head": "linear", "size": 28, "channels": 1,
        "mean": [STATISTICS["fashion-mnist"].mean[0]], "std": [STATISTICS["fashion-mnist"].std[0]],
        "data": "fashion-mnist", "stem": "imagenet",
    }  # fmt: skip
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: align-uniform" in card
    assert "arxiv.org/abs/2005.10242" in card


def test_a_file_without_all_weights_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    HubEncoder.from_run(run).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"arch": "small-alexnet"}), encoding="utf-8")
    with pytest.raises(RuntimeError, match="Missing key"):
        HubEncoder.from_pretrained(folder)


def test_weights_without_a_description_are_refused(run: Path) -> None:
    (run / "encoder.json").unlink()
    with pytest.raises(ValueError, match=r"run must have an encoder.json next to it"):
        HubEncoder.from_run(run)
