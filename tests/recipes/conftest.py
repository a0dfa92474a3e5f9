"""A small data set in STL-10's format, a run that was trained on it, and a small folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from align_uniform.cli import main
from tests.recipes.small_runs import pretrain_command


@pytest.fixture(scope="session")
def stl10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in STL-10's format: the classes differ in colour."""
    root = tmp_path_factory.mktemp("stl10")
    folder = root / "stl10_binary"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for part, count in (("train", 60), ("unlabeled", 24), ("test", 31)):
        labels = np.arange(count) % 10
        images = (
            generator.integers(0, 60, (count, 3, 96, 96))
            + (labels * 19)[:, None, None, None] * np.array([1, 0.5, 0.2])[:, None, None]
        )
        images.astype(np.uint8).tofile(folder / f"{part}_X.bin")
        if part != "unlabeled":
            (labels + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    return root


@pytest.fixture(scope="session")
def trained(stl10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, which was stopped after a batch and resumed."""
    out = tmp_path_factory.mktemp("run")
    assert main([*pretrain_command(stl10, out), "--steps", "3"]) == 0
    assert not list(out.glob("*/encoder.pth"))
    assert main(pretrain_command(stl10, out)) == 0
    return out / "stl10-two-view-align1alpha2_unif1t2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small ImageFolder."""
    generator = np.random.default_rng(0)
    for path in (
        tmp_path / "images" / split / f"class{label}" for split in ("train", "val") for label in range(2)
    ):
        path.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(generator.integers(0, 99, (32, 32, 3), dtype=np.uint8)).save(path / f"{i}.png")
    return tmp_path / "images"
