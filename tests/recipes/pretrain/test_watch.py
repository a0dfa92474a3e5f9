"""The images of a run, and its evaluation on the way."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from align_uniform import uniform_loss
from align_uniform.cli import main
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


def test_a_limit_on_sorted_images_is_drawn_over_all_classes_and_those_left_empty_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = training_images(brief(folder, limit=6))
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert capsys.readouterr().err == ""
    images, _ = training_images(brief(folder, limit=1))
    empty = 1 - images.labels[0]
    assert capsys.readouterr().err == (
        f"imagefolder: with a limit of 1 image, 1 of 2 classes have none: class{empty}.\n"
    )


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


def test_a_run_without_test_images_ends_with_a_command_that_works(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "val")
    assert two_view.run(brief(folder)) == 0
    told = capsys.readouterr().err.splitlines()[-1].removeprefix("  next       ").removeprefix("  next ")
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(told)[1:], "--workers", "0", "--device", "cpu"]) == 0
    assert (tmp_path / "features.npz").exists()


def test_a_run_whose_log_is_lost_has_its_report(folder: Path) -> None:
    chosen = brief(folder)
    assert two_view.run(chosen) == 0
    for name in ("log.jsonl", "report.html", "encoder.pth"):
        (chosen.folder / name).unlink()
    assert two_view.run(chosen) == 0
    assert (chosen.folder / "report.html").exists()


def test_an_accuracy_of_few_images_has_as_many_neighbours_as_there_are(folder: Path) -> None:
    chosen = replace(brief(folder), limit=4, batch_size=4)
    assert two_view.run(chosen) == 0
    (evaluation,) = [line for line in read_log(chosen.folder) if "evaluation" in line]
    assert 0 <= evaluation["knn"] <= 1


def test_the_report_of_a_run_has_its_accuracy_its_pictures_and_their_files(folder: Path) -> None:
    chosen = brief(folder)
    assert two_view.run(chosen) == 0
    page = (chosen.folder / "report.html").read_text(encoding="utf-8")
    (evaluation,) = [line for line in read_log(chosen.folder) if "evaluation" in line]
    for label, value in (
        ("5-NN accuracy", f"{evaluation['knn']:.1%}"),
        ("uniformity of plain images", f"{evaluation['uniform_plain']:.3f}"),
    ):
        assert f'<th scope="row">{label}</th><td class="value">{value}</td>' in page
    assert "data:image/jpeg;base64," in page
    assert f"{folder}/val/class" in page
    assert "Loss and 5-NN accuracy over the epochs." in page
    assert "<dt>recipe</dt><dd>pretrain two-view</dd>" in page
    assert f"<dt>--epochs</dt><dd>{chosen.epochs}</dd>" in page
    assert f"<dt>--root</dt><dd>{chosen.root}</dd>" in page


def test_the_command_that_a_run_ends_with_works_as_it_is_typed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert two_view.run(brief(folder)) == 0
    told = capsys.readouterr().err.splitlines()[-1]
    program, *arguments = shlex.split(told.removeprefix("  next "))
    assert program == "align-uniform"
    assert main([*arguments, "--epochs", "1", "--workers", "0", "--device", "cpu"]) == 0
    assert "top-1 of " in capsys.readouterr().out
