"""The recipe from images to a report and a table, on STL-10's own file format, alone and on two processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from align_uniform.cli import main
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import encoder_state
from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.image_set import measure_statistics
from align_uniform.recipes.images.statistics import STATISTICS, Statistics
from align_uniform.recipes.judge import evaluate
from align_uniform.recipes.judge.linear import LinearEpoch, train_linear
from align_uniform.recipes.judge.options import EvaluateOptions, KnnOptions
from align_uniform.recipes.judge.task import Task
from align_uniform.recipes.pretrain import two_view
from align_uniform.recipes.pretrain.log import read_log
from tests import rows

SMALL = ["--arch", "small-conv", "--dim", "16", "--size", "32"]


@pytest.fixture(scope="module")
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


def run(arguments: list[str], processes: int = 1) -> str:
    """The command in processes of its own; what it printed."""
    launch = (
        []
        if processes == 1
        else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    )
    done = subprocess.run(
        [sys.executable, *launch, "-m", "align_uniform", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def pretrain(stl10: Path, out: Path, *more: str) -> list[str]:
    return [
        "pretrain", "two-view", "--preset", "stl10", *SMALL, "--root", str(stl10), "--out", str(out),
        "--epochs", "2", "--batch-size", "40", "--lr", "0.05", "--workers", "0", "--log-every", "1",
        "--device", "cpu", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(stl10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, which was stopped after a batch and resumed."""
    out = tmp_path_factory.mktemp("run")
    assert main([*pretrain(stl10, out), "--steps", "3"]) == 0
    assert not list(out.glob("*/encoder.pth"))
    assert main(pretrain(stl10, out)) == 0
    return out / "stl10-two-view-align1alpha2_unif1t2"


def test_the_whole_recipe_runs_on_stl10s_format(trained: Path) -> None:
    assert {"encoder.pth", "encoder.safetensors", "report.html", "trajectory.svg"} <= {
        path.name for path in trained.iterdir()
    }
    assert (
        len([line for line in read_log(trained) if "loss" in line]) == 6
    )  # 84 images in batches of 40, 40 and 4


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("file", ["", "encoder.safetensors", "checkpoint.pt"])
def test_every_test_image_counts_once(
    file: str, processes: int, trained: Path, stl10: Path, tmp_path: Path
) -> None:
    if file and processes == 2:
        file, kind = "encoder.pth", ["linear", "--layer", "features", "--epochs", "2"]
    else:
        kind = ["knn"]
    arguments = [
        "evaluate",
        *kind,
        "--encoder",
        str(trained / file),
        "--root",
        str(stl10),
        "--workers",
        "0",
    ]
    printed = run([*arguments, "--out", str(tmp_path / "scores.json"), "--device", "cpu"], processes)
    heading, _, table = printed.partition("\n\n")
    assert heading.splitlines()[0].split() == [
        "encoder", str(trained / file), "(small-conv,", "trained", "on", "stl10)",
    ]  # fmt: skip
    assert "data      stl10, 60 training images and 31 test images of 32x32 pixels" in heading
    assert table.startswith("top-1 of 31 images: ")
    document = json.loads((tmp_path / "scores.json").read_text())
    assert document["schema_version"] == 1
    if kind == ["knn"]:
        alone = tmp_path / "alone.json"
        assert main([*arguments, "--out", str(alone), "--device", "cpu"]) == 0
        assert json.loads(alone.read_text()) == document


def test_two_processes_train_on_it_too_and_go_on_where_they_stopped(stl10: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(pretrain(stl10, whole), 2)
    run([*pretrain(stl10, parts), "--steps", "4"], 2)
    assert not list(parts.glob("*/encoder.pth"))
    done = read_log(parts / "stl10-two-view-align1alpha2_unif1t2")
    run(pretrain(stl10, parts), 2)
    assert (
        read_log(parts / "stl10-two-view-align1alpha2_unif1t2")[: len(done)] == done
    )  # to the speed of each batch: nothing was done anew
    assert len(done) == 4
    found, wanted = (
        encoder_state(out / "stl10-two-view-align1alpha2_unif1t2" / "encoder.pth") for out in (parts, whole)
    )
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert (parts / "stl10-two-view-align1alpha2_unif1t2" / "report.html").exists()


def linear(trained: Path, stl10: Path, *more: str) -> list[str]:
    return [
        "evaluate", "linear", "--encoder", str(trained), "--root", str(stl10),
        "--workers", "0", "--device", "cpu", "--epochs", "3", *more,
    ]  # fmt: skip


def test_linear_evaluation_goes_on_where_it_stopped(
    trained: Path,
    stl10: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: Any, on_epoch: Callable[[LinearEpoch], None], **more: Any) -> None:
        def after(epoch: LinearEpoch) -> None:
            on_epoch(epoch)
            raise KeyboardInterrupt

        train_linear(*arguments, on_epoch=after, **more)

    def epochs_told() -> list[str]:
        return [
            line.partition(":")[0]
            for line in capsys.readouterr().err.splitlines()
            if line.startswith("epoch")
        ]

    common = linear(trained, stl10, "--layer", "features")
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    assert main([*common, "--out", str(whole)]) == 0
    assert epochs_told() == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3"]
    state = ["--state", str(tmp_path / "state.pt")]
    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "train_linear", interrupted)
        assert main([*common, *state]) == 130
    assert epochs_told() == ["epoch 1 of 3"]
    assert main([*common, *state, "--out", str(parts)]) == 0
    assert epochs_told() == ["epoch 2 of 3", "epoch 3 of 3"]
    assert json.loads(parts.read_text()) == json.loads(whole.read_text())


def test_a_state_of_another_layer_or_of_other_images_is_refused(
    trained: Path, stl10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(tmp_path / "state.pt")]
    # of the same number of features: only the name tells them apart
    for layer, code, message in (
        ("trunk.4", 0, ""),
        ("trunk.5", 1, "its layer differs: it was 'trunk.4' and is 'trunk.5'"),
    ):
        assert main(linear(trained, stl10, *state, "--layer", layer, "--epochs", "1")) == code
        assert message in capsys.readouterr().err
    other = linear(
        trained, stl10, *state, "--layer", "trunk.4", "--epochs", "1",
        "--mean", "0", "0", "0", "--std", "1", "1", "1",
    )  # fmt: skip
    assert main(other) == 1
    assert "its images differs: statistics was" in capsys.readouterr().err
    assert main(linear(trained, stl10, *state, "--resume", "never")) == 1
    assert "holds the state of a run already; use --resume auto" in capsys.readouterr().err
    torch.save([1], tmp_path / "state.pt")
    assert main(linear(trained, stl10, *state)) == 1
    assert "must hold the state of a linear evaluation" in capsys.readouterr().err


def test_saved_features_are_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    centres = rows.unit(3, 8)
    for part, count in (("train", 60), ("test", 20)):
        labels = torch.arange(count) % 3
        np.save(
            tmp_path / f"{part}.npy", (centres[labels] + 0.05 * rows.normal(count, 8, seed=count)).numpy()
        )
        (tmp_path / f"{part}.txt").write_text("".join(f"class {label}\n" for label in labels.tolist()))
    saved = [
        f"--{part}-{kind}={tmp_path}/{part}.{end}"
        for part in ("train", "test")
        for kind, end in (("features", "npy"), ("labels", "txt"))
    ]
    for kind in (["knn"], ["linear", "--protocol", "exact"]):
        assert main(["evaluate", *kind, *saved]) == 0
        heading, _, table = capsys.readouterr().out.partition("\n\n")
        assert "train.npy (60 training rows) and" in heading
        assert table.startswith("top-1 of 20 images: 100.00%")
    for features, message in (
        (torch.zeros(2, 20, 8), "must be [N, m], it has 2 views of each row"),
        (torch.zeros(20, 7), "must have the 8 features of"),
    ):
        np.save(tmp_path / "test.npy", features.numpy())
        assert main(["evaluate", "linear", "--protocol", "exact", *saved]) == 1
        assert message in capsys.readouterr().err


def test_a_state_that_cannot_be_kept_is_refused_before_any_work(
    trained: Path, stl10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(linear(trained, stl10, "--layer", "features", "--state", str(tmp_path / "nowhere/state.pt")))
        == 1
    )
    printed = capsys.readouterr()
    assert "there is no folder" in printed.err
    assert "epoch" not in printed.err


def test_an_image_that_cannot_be_read_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build("small-conv", 8).state_dict(), tmp_path / "encoder.pth")
    (folder / "train/class0/3.png").write_bytes(b"no picture")
    arguments = [
        "evaluate",
        "knn",
        "--encoder",
        str(tmp_path / "encoder.pth"),
        "--arch",
        "small-conv",
        "--dim",
        "8",
    ]
    arguments += [
        "--size",
        "32",
        "--data",
        "imagefolder",
        "--root",
        str(folder),
        "--device",
        "cpu",
        "--workers",
    ]
    for workers in ("0", "1"):
        assert main([*arguments, workers]) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"align-uniform: {folder / 'train/class0/3.png'}"), last
        assert "Traceback" not in last


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


def brief(folder: Path, **changed: Any) -> two_view.TwoViewOptions:
    """A run on it of one epoch."""
    shared: dict[str, Any] = {
        "data": "imagefolder",
        "root": folder,
        "arch": "small-conv",
        "size": 16,
        "workers": 0,
    }
    rest: dict[str, Any] = {"batch_size": 6, "epochs": 1, "device": "cpu", "out": folder.parent}
    return two_view.options("imagefolder", **shared | rest | changed)


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


def test_a_run_goes_on_with_the_statistics_it_began_with_and_a_refused_one_leaves_them(folder: Path) -> None:
    chosen = brief(folder, epochs=2, steps=1)
    assert two_view.run(chosen) == 0
    kept = (chosen.folder / "encoder.json").read_bytes()
    with pytest.raises(
        ValueError,
        match=r"holds a run with other options: mean was .* epochs was 2 and is 1, lr was 0\.12 and is 0\.5",
    ):
        two_view.run(brief(folder, lr=0.5, mean=(0.5,) * 3, std=(1.0,) * 3))
    Image.new("RGB", (32, 32), "white").save(folder / "train" / "class0" / "white.png")
    with pytest.raises(ValueError, match=r"holds a run with other options: .*mean was"):
        two_view.run(brief(folder, epochs=2))
    assert (chosen.folder / "encoder.json").read_bytes() == kept
    (folder / "train" / "class0" / "white.png").unlink()
    assert two_view.run(brief(folder, epochs=2)) == 0
    assert (chosen.folder / "encoder.json").read_bytes() == kept


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


def test_a_file_that_would_be_replaced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("precious")
    with pytest.raises(ValueError, match="exists already; use --force"):
        evaluate.knn(KnnOptions(encoder=tmp_path, out=tmp_path / "kept.json"))
