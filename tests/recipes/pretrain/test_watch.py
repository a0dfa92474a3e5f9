"""The images of a run, and its evaluation on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from align_uniform import uniform_loss
from align_uniform.recipes.encoders.networks import SmallConvNet
from align_uniform.recipes.images import digits
from align_uniform.recipes.images.datasets import data_set
from align_uniform.recipes.pretrain import two_view
from align_uniform.recipes.pretrain.log import read_log
from align_uniform.recipes.pretrain.two_view import transforms
from align_uniform.recipes.pretrain.watch import Evaluation, training_images
from tests.recipes.pretrain.two_view_worker import options
from tests.recipes.small_runs import brief


def test_a_limit_is_of_the_images_to_train_on_and_not_of_the_test_images(tmp_path: Path) -> None:
    chosen = options(tmp_path, limit=100)
    images, labelled = training_images(chosen)
    assert images is labelled
    assert len(images) == 100
    statistics = data_set("digits").statistics
    assert statistics is not None
    views, plain = transforms(chosen, statistics)
    evaluation = Evaluation(chosen, SmallConvNet(8), views, plain, labelled)
    assert len(evaluation.seen) == 360


def test_an_evaluation_measures_alignment_of_views_and_uniformity_of_plain_images(tmp_path: Path) -> None:
    chosen = options(tmp_path, uniform_t=3)
    _, labelled = training_images(chosen)
    statistics = data_set("digits").statistics
    assert statistics is not None
    views, plain = transforms(chosen, statistics)
    torch.manual_seed(0)
    encoder = SmallConvNet(8)
    before = torch.get_rng_state()
    found = Evaluation(chosen, encoder, views, plain, labelled).run()
    assert torch.equal(torch.get_rng_state(), before)
    assert list(found) == ["align", "uniform_plain", "rankme", "knn"]
    mean, std = (torch.tensor(value)[:, None, None] for value in statistics)
    shown = (digits.load_tensors().test.images.mul(255).round() / 255 - mean) / std
    with torch.no_grad():
        outputs = encoder.eval()(shown)
    assert found["uniform_plain"] == pytest.approx(float(uniform_loss(outputs, 3)), abs=1e-4)
    assert 0 < found["align"] < 0.5
    assert 0.5 < found["knn"] <= 1


def test_a_folder_without_test_images_is_measured_on_those_it_has(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(folder / "val")
    chosen = brief(folder)
    assert two_view.run(chosen) == 0
    assert (
        "Alignment and uniformity will be measured on training images, without an accuracy."
        in capsys.readouterr().err
    )
    (evaluation,) = [line for line in read_log(chosen.folder) if "evaluation" in line]
    assert evaluation.keys() == {"evaluation", "epoch", "align", "uniform_plain", "rankme"}
    assert (chosen.folder / "report.html").exists()
