"""The records of data sets: what recipes ask them, and a new one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from align_uniform.recipes.encoders.weights import EncoderCard
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.image_set import Arrays, ImageSet, measure_statistics
from align_uniform.recipes.images.views import evaluation_transform, training_transform
from align_uniform.recipes.judge import evaluate
from align_uniform.recipes.judge.options import KnnOptions
from align_uniform.recipes.pretrain import moco, two_view


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "stl10",
            r"STL-10 \(train\) is not in .*stl10_binary: train_X.bin, train_y.bin missing there; --download .*https://",
        ),
        (
            "fashion-mnist",
            r"Fashion-MNIST is not in .*raw .*train-images-idx3-ubyte and .*; --download .*apt install .*https://",
        ),
        (
            "cifar10",
            r"CIFAR-10 \(train\) is not in .*: neither cifar-10-batches-py nor train .*; --download .*plane",
        ),
    ],
)
def test_an_absent_data_set_is_told_in_a_line_with_the_folder_and_how_to_get_it(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(FileNotFoundError, match=message) as told:
        load(name, tmp_path, "train")
    assert str(tmp_path) in str(told.value)
    assert "\n" not in str(told.value)


def test_names_and_splits_that_are_not_there_are_told_with_those_that_are() -> None:
    with pytest.raises(
        ValueError,
        match="no data set 'mnist'; choose from stl10, fashion-mnist, cifar10, imagefolder, digits",
    ):
        load("mnist", "", "train")
    with pytest.raises(
        ValueError, match="stl10 has no split 'val'; choose from train, test, train\\+unlabeled"
    ):
        load("stl10", "", "val")


@pytest.fixture
def stripes(monkeypatch: pytest.MonkeyPatch) -> datasets.DataSet:
    """A made-up data set: stripes that run one way or the other, known to recipes by one record."""

    def load_stripes(root: Path, split: str, _: bool) -> ImageSet:
        if not root.is_dir():
            raise FileNotFoundError(f"There are no stripes in {root}")
        count = {"unlabelled": 40, "train": 24, "test": 12}[split]
        noise = np.random.default_rng(count).integers(0, 120, (count, 20, 20), np.uint8)
        noise[::2, ::4] += 120
        noise[1::2, :, ::4] += 120
        labels = torch.arange(count) % 2 if split != "unlabelled" else torch.full((count,), -1)
        return ImageSet("stripes", Arrays(noise), labels, ("across", "down"))

    record = datasets.DataSet(
        name="stripes",
        loader=load_stripes,
        splits=("unlabelled", "train", "test"),
        size=20,
        channels=1,
        views="fashion-mnist",
        evaluation="fashion-mnist",
        moco_views=("digits",),
        pretraining="unlabelled",
        remedy="draw some into {root}.",
    )
    monkeypatch.setitem(datasets.DATASETS, "stripes", record)
    return record


def test_a_data_set_is_its_record_for_loading_pretraining_and_evaluation(
    stripes: datasets.DataSet, tmp_path: Path
) -> None:
    assert len(load("stripes", tmp_path, stripes.pretraining)) == 40
    with pytest.raises(FileNotFoundError, match=r"no stripes in .*nowhere; draw some into .*nowhere\."):
        load("stripes", tmp_path / "nowhere", "train")
    small: dict[str, Any] = {
        "data": "stripes", "arch": "small-conv", "dim": 8, "size": 20, "epochs": 1, "batch_size": 20,
        "workers": 0, "device": "cpu", "root": tmp_path,
    }  # fmt: skip
    assert two_view.run(two_view.options(out=tmp_path / "two-view", **small)) == 0
    chosen = moco.options(out=tmp_path / "moco", queue=40, **small)
    assert moco.run(chosen) == 0
    views, plain = moco.transforms(chosen)
    assert views.steps == training_transform("digits", size=20).steps
    assert plain.steps == evaluation_transform("fashion-mnist", size=20).steps
    with pytest.raises(ValueError, match="aug_plus"):
        moco.options(aug_plus=True, queue=40, **small)
    (encoder,) = (tmp_path / "two-view").glob("*/encoder.pth")
    measured = measure_statistics(load("stripes", tmp_path, "unlabelled"))
    card = EncoderCard.read_beside(encoder)
    assert card is not None
    assert card.statistics == measured
    judged = KnnOptions(
        encoder=encoder, data="stripes", arch="small-conv", dim=8, root=tmp_path, workers=0, device="cpu",
        out=tmp_path / "scores.json",
    )  # fmt: skip
    assert evaluate.knn(judged) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["n"] == 12


def test_the_roles_and_presets_of_every_record_exist() -> None:
    for name, record in datasets.DATASETS.items():
        assert record.name == name
        assert {record.pretraining, record.labelled, record.judging} <= set(record.splits)
        for preset in (record.views, *record.moco_views):
            assert training_transform(preset, statistics=record.statistics)
        transform = evaluation_transform(record.evaluation, statistics=record.statistics)
        assert len(transform.statistics.mean) == record.channels


def test_the_records_add_no_package_to_what_the_package_itself_imports() -> None:
    program = (
        "import sys, align_uniform; before = set(sys.modules)\n"
        "from align_uniform.recipes.images import datasets, statistics\n"
        "statistics.given_statistics([0.5], [1])\n"
        "heavy = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*heavy & {'torch', 'numpy', 'PIL', 'torchvision'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
