"""An encoder with its images: what encoder.json says, what the options override, and what cannot fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import EncoderCard, save_encoder
from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.image_set import measure_statistics
from align_uniform.recipes.images.statistics import STATISTICS, Statistics
from align_uniform.recipes.images.views import generator
from align_uniform.recipes.judge.options import EvaluateOptions, LinearOptions
from align_uniform.recipes.judge.task import Task, show_heading
from align_uniform.recipes.pretrain import two_view
from tests.recipes.small_runs import brief

GREY = Statistics((0.25,), (0.5,))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run on the digits, enlarged."""
    encoder = build("small-conv", 4, size=20, channels=1)
    EncoderCard.of(encoder, GREY, "digits").write(tmp_path)
    save_encoder(encoder, tmp_path)
    return tmp_path


def test_a_run_needs_no_option(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Task.of(EvaluateOptions(encoder=run, device="cpu"))
    test = task.images(train=False)
    assert (task.data.name, task.size, task.statistics) == ("digits", 20, GREY)
    image, label, index = task.views(test, train=False)[0, 7]
    assert (image.shape, label, index) == ((1, 20, 20), int(test.labels[7]), 7)
    assert task.encoder(test)(image[None]).shape == (1, 4)
    assert capsys.readouterr().err == ""


def test_options_that_change_the_images_are_told_and_used(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task.of(EvaluateOptions(encoder=run, size=16, mean=(0.5,), std=(0.5,), device="cpu"))
    assert (task.size, task.statistics) == (16, Statistics((0.5,), (0.5,)))
    task.encoder(task.images(train=False))
    assert capsys.readouterr().err.splitlines() == [
        "size is 16, as the options say, but the encoder was trained with 20 (encoder.json).",
        "mean is (0.5,), as the options say, but the encoder was trained with (0.25,) (encoder.json).",
    ]


def test_options_that_contradict_the_encoder_are_refused(run: Path) -> None:
    task = Task.of(EvaluateOptions(encoder=run, arch="small-alexnet"))
    with pytest.raises(ValueError, match=r"arch must be small-conv, as .* says, got small-alexnet"):
        task.encoder(task.images(train=False))


def test_an_encoder_that_is_not_there_is_told_before_images_are_looked_for(run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no encoder .*nothing; nothing in"):
        Task.of(EvaluateOptions(encoder=run / "nothing", data="stl10", root=run)).images(train=True)


def test_a_layer_that_is_not_there_is_told_with_the_encoder(run: Path) -> None:
    task = Task.of(EvaluateOptions(encoder=run, layer="fc7"))
    with pytest.raises(ValueError, match="got 'fc7'; it has features, output, "):
        task.encoder(task.images(train=False))


def test_images_of_other_channels_are_refused(run: Path) -> None:
    (run / "images/train/cat").mkdir(parents=True)
    (run / "images/val/cat").mkdir(parents=True)
    for split in ("train", "val"):
        Image.new("RGB", (24, 24)).save(run / "images" / split / "cat/1.png")
    task = Task.of(EvaluateOptions(encoder=run, data="imagefolder", root=run / "images"))
    with pytest.raises(ValueError, match=r"takes images of 1 channel, .*imagefolder has 3; choose"):
        task.encoder(task.images(train=False))


def test_crops_are_of_the_seed(tmp_path: Path) -> None:
    images = load("digits", tmp_path, "train")
    options = LinearOptions(encoder=tmp_path, data="stl10", size=12, mean=(0.5,), std=(0.5,))
    first, again, other = (
        Task.of(replace(options, seed=seed)).views(images, train=True)[3, 5][0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("data", "size"), [("stl10", 64), ("imagefolder", 224), ("fashion-mnist", 28), ("digits", 16)]
)
def test_the_size_of_images_is_their_data_sets_unless_anything_else_is_known(
    data: str, size: int, tmp_path: Path
) -> None:
    assert Task.of(EvaluateOptions(encoder=tmp_path, data=data)).size == size


@pytest.mark.parametrize("data", ["stl10", "imagefolder", "fashion-mnist", "digits"])
def test_images_are_made_of_the_size_that_is_given(data: str, tmp_path: Path) -> None:
    digits = load("digits", tmp_path, "test")
    given = EvaluateOptions(encoder=tmp_path, data=data, size=20)
    transform = Task.of(given).views(digits, train=False).transform
    with_one_channel = replace(transform, statistics=STATISTICS["digits"])
    assert with_one_channel(digits[0], generator(0, 0, 0)).shape == (1, 20, 20)


def test_a_heading_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show_heading(encoder="a", data="b")
    assert capsys.readouterr().out == "encoder  a\ndata     b\n\n"


@pytest.mark.parametrize("given", [None, ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))], ids=["measured", "given"])
def test_an_encoder_is_judged_on_images_cut_and_normalised_as_in_its_training(
    given: tuple[tuple[float, ...], tuple[float, ...]] | None, folder: Path
) -> None:
    mean, std = given or ((), ())
    chosen = brief(folder, mean=mean, std=std)
    assert two_view.run(chosen) == 0
    judged = EvaluateOptions(encoder=chosen.folder, root=folder, workers=0)
    train = load("imagefolder", folder, "train")
    statistics = Statistics(*given) if given else measure_statistics(train)
    transform = Task.of(judged).views(train, train=False).transform
    assert transform == two_view.transforms(chosen, statistics)[1]
    assert statistics.mean != STATISTICS["imagenet"].mean
    changed = replace(judged, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    transform = Task.of(changed).views(train, train=False).transform
    assert transform.statistics == Statistics((0.5,) * 3, (1.0,) * 3)
