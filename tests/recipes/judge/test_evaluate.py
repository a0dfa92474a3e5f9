"""Evaluation by a command: from an encoder or saved features to a table, alone and on two processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import get_worker_info

from align_uniform._options import choices_of
from align_uniform.cli import main
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.images.views import LabelledViews
from align_uniform.recipes.judge import evaluate
from align_uniform.recipes.judge.evaluate import protocol_of
from align_uniform.recipes.judge.linear import STL10, LinearEpoch, train_linear
from align_uniform.recipes.judge.options import KnnOptions, LinearOptions
from align_uniform.recipes.judge.task import Task
from tests import rows
from tests.recipes.small_runs import run_command


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
    printed = run_command([*arguments, "--out", str(tmp_path / "scores.json"), "--device", "cpu"], processes)
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
    error = capsys.readouterr().err
    assert "its images differs: statistics was" in error
    assert "to start again, give --state a new file" in error
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


def test_a_process_that_is_killed_is_one_line_whose_remedy_works(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LabelledViews.__getitem__

    def deadly(views: LabelledViews, key: Any) -> Any:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(views, key)

    monkeypatch.setattr(LabelledViews, "__getitem__", deadly)
    torch.save(build("small-conv", 8).state_dict(), tmp_path / "encoder.pth")
    typed = [
        "evaluate",
        "knn",
        "--arch",
        "small-conv",
        "--size",
        "32",
        "--data",
        "imagefolder",
        "--device",
        "cpu",
        "--k",
        "1",
        "--workers",
        "1",
    ]
    command = [*typed, "--encoder", str(tmp_path / "encoder.pth"), "--root", str(folder)]
    assert main(command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "align-uniform: a process that reads images ended unexpectedly, most often because "
        "memory ran out; add --workers 0."
    )
    assert main([*command, "--workers", "0"]) == 0


def test_a_file_that_would_be_replaced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("precious")
    with pytest.raises(ValueError, match="exists already; use --force"):
        evaluate.knn(KnnOptions(encoder=tmp_path, out=tmp_path / "kept.json"))


def test_checkpoints_are_not_replaced_and_need_a_folder(tmp_path: Path) -> None:
    chosen = LinearOptions(encoder=tmp_path, layer="backbone", checkpoints=tmp_path)
    (tmp_path / "model_best.pth.tar").write_text("precious")
    with pytest.raises(ValueError, match=r"model_best\.pth\.tar exists already; use --force"):
        evaluate.linear(chosen)
    with pytest.raises(ValueError, match=r"model_best\.pth\.tar is no folder; give --checkpoints the name"):
        evaluate.linear(replace(chosen, checkpoints=tmp_path / "model_best.pth.tar"))


def test_the_remedy_for_checkpoints_that_exist_is_no_vain_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model_best.pth.tar").write_text("old")
    typed = [
        "evaluate",
        "linear",
        "--encoder",
        "missing",
        "--layer",
        "backbone",
        "--checkpoints",
        str(tmp_path),
    ]
    assert main(typed) == 1
    assert "exists already; use --force to replace it." in capsys.readouterr().err
    assert main([*typed, "--force"]) == 1
    assert "missing" in capsys.readouterr().err


def test_a_state_of_another_encoder_replaces_no_checkpoints(
    trained: Path, stl10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resnet = build("resnet18", 8, size=32, head="mlp").eval()

    def refuses(*_: object, **__: object) -> None:
        raise ValueError("the state to resume from must be of the same run, but its encoder differs")

    monkeypatch.setattr(evaluate, "train_linear", refuses)
    monkeypatch.setattr(Task, "encoder", lambda *_: resnet)
    torch.save({"history": []}, tmp_path / "state.pt")
    (tmp_path / "model_best.pth.tar").write_text("precious")
    chosen = LinearOptions(
        encoder=trained, layer="backbone", root=stl10, state=tmp_path / "state.pt", checkpoints=tmp_path,
        workers=0, device="cpu",
    )  # fmt: skip
    with pytest.raises(ValueError, match="its encoder differs"):
        evaluate.linear(chosen)
    assert (tmp_path / "model_best.pth.tar").read_text() == "precious"
    torch.save({"history": 3}, tmp_path / "state.pt")  # as in the state of a pretraining run
    with pytest.raises(ValueError, match="must hold the state of a linear evaluation"):
        evaluate.linear(chosen)


def test_more_neighbours_than_images_are_refused_before_any_is_encoded(
    trained: Path, stl10: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "knn", "--encoder", str(trained), "--root", str(stl10), "--k", "61"]
    assert main([*arguments, "--workers", "0", "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert "k must be between 1 and the 60 training rows, got 61." in printed.err
    assert "encoder" not in printed.out


def test_every_protocol_that_may_be_chosen_is_there() -> None:
    assert (*evaluate.PROTOCOLS, "exact") == choices_of(LinearOptions)["protocol"]


def test_a_shorter_protocol_has_its_milestones_in_proportion() -> None:
    options = LinearOptions(encoder=Path("encoder.pth"), epochs=30)
    assert protocol_of(options).milestones == (18, 24)
    assert protocol_of(replace(options, epochs=None)) == STL10
    assert protocol_of(replace(options, epochs=1)).milestones == ()
