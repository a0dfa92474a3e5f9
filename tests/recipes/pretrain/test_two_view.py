"""The training loop: that it steps as the reference does, goes on where it stopped, and is the same on
several processes.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align_uniform.recipes.encoders.networks import SmallAlexNet
from align_uniform.recipes.encoders.weights import read_checkpoint
from align_uniform.recipes.pretrain import loop, two_view
from align_uniform.recipes.pretrain import state as state_files
from align_uniform.recipes.pretrain.loop import read_log
from align_uniform.recipes.pretrain.options import TwoViewOptions
from tests import rows
from tests.recipes.pretrain import two_view_worker
from tests.recipes.pretrain.two_view_worker import Plain, options, train, trainer


def reference_step(encoder: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """A step as the reference's example takes it: both views in one batch, align + uniform."""
    x, y = encoder(torch.cat([x, y])).chunk(2)
    align = (x - y).norm(dim=1).pow(2).mean()
    uniform = sum(torch.pdist(z).pow(2).mul(-2).exp().mean().log() for z in (x, y)) / 2
    loss = align + uniform
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def sgd(module: nn.Module, lr: float) -> torch.optim.SGD:
    return torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)


def test_five_steps_are_the_references(tmp_path: Path) -> None:
    ours = trainer(options(tmp_path, contrastive_weight=0))
    theirs = Plain().double()
    theirs.load_state_dict(ours.model.get_submodule("encoder").state_dict())
    optimizer = sgd(theirs, 0.2)
    for seed in range(5):
        x, y = rows.normal(2, 20, 1, 16, 16, seed=seed)
        found = ours._step(ours.model.train(), x, y)
        assert found["loss"] == pytest.approx(reference_step(theirs, optimizer, x, y), abs=1e-8)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(
            ours.model.get_submodule("encoder").state_dict()[name], value, rtol=0, atol=1e-8
        )


def test_one_step_of_the_small_alexnet_is_the_references() -> None:
    torch.manual_seed(0)
    ours = two_view.TwoViewModel(SmallAlexNet(16, size=15), two_view.options())
    theirs = SmallAlexNet(16, size=15)
    theirs.load_state_dict(ours.encoder.state_dict())
    x, y = rows.normal(2, 6, 3, 15, 15, dtype=torch.float32)
    loss = ours(x, y)["loss"]
    loss.backward()
    expected = reference_step(theirs, sgd(theirs, 0.0), x, y)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    found, wanted = (
        torch.cat(
            [parameter.grad.flatten() for parameter in encoder.parameters() if parameter.grad is not None]
        )
        for encoder in (ours.encoder, theirs)
    )
    assert float((found - wanted).norm()) <= 1e-4 * float(wanted.norm())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nothing disturbed: 2 epochs of 5 batches."""
    return train(options(tmp_path_factory.mktemp("whole")))


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["code"] == 0
    assert found["losses"] == expected["losses"]
    for name, value in expected["weights"].items():
        assert torch.equal(found["weights"][name], value), name


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    steps: int, tmp_path: Path, whole: dict[str, Any]
) -> None:
    assert len(train(options(tmp_path, steps=steps))["losses"]) == steps
    same(train(options(tmp_path)), whole)
    assert [line["loss"] for line in read_log(options(tmp_path).folder) if "loss" in line] == [
        line["loss"] for line in whole["losses"]
    ]


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train(options(tmp_path, steps=6))
    last = options(tmp_path).folder / state_files.LAST
    last.write_bytes(last.read_bytes()[:1000])
    same(train(options(tmp_path)), whole)
    assert "The one before it, checkpoint.before.pt, is taken." in capsys.readouterr().err


def test_a_missing_last_checkpoint_is_no_loss(tmp_path: Path, whole: dict[str, Any]) -> None:
    train(options(tmp_path, steps=6))
    (options(tmp_path).folder / state_files.LAST).unlink()
    same(train(options(tmp_path)), whole)


def test_checkpoints_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    train(options(tmp_path, steps=1))
    last = options(tmp_path).folder / state_files.LAST
    last.write_bytes(b"not a checkpoint")
    with pytest.raises(
        ValueError, match=r"checkpoint\.pt must be a checkpoint .*; it cannot be read .* to begin anew"
    ):
        trainer(options(tmp_path))


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    train(options(tmp_path, steps=1))
    with pytest.raises(
        ValueError, match=r"holds a run with other options: lr was 0\.2 and is 0\.3\. Restore them"
    ):
        trainer(options(tmp_path, lr=0.3))
    with pytest.raises(ValueError, match="holds a run already; use --resume auto"):
        trainer(options(tmp_path, resume="never"))
    trainer(options(tmp_path, workers=1, log_every=7))  # these change nothing that is learned


def test_a_loss_that_is_no_number_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the loss is nan in batch \d+ of epoch 0: .* 1e\+300, .* fp32, too low\.$"
    ):
        train(options(tmp_path, lr=1e300))
    train(options(tmp_path / "kept", steps=2))
    running = trainer(options(tmp_path / "kept"))
    before = {name: value.clone() for name, value in running.model.state_dict().items()}
    with pytest.raises(ValueError, match=r"too low; .* has the checkpoint of before\.$"):
        running._step(
            running.model, torch.full((3, 1, 16, 16), torch.nan).double(), torch.ones(3, 1, 16, 16).double()
        )
    assert all(torch.equal(value, before[name]) for name, value in running.model.state_dict().items())


def test_a_collapse_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(options(tmp_path, uniform_weight=0, contrastive_weight=0, epochs=4, lr=2.0))
    assert "The features have collapsed: uniformity is -0.0" in capsys.readouterr().err
    train(options(tmp_path / "long", uniform_weight=0, contrastive_weight=0, epochs=1, batch_size=10))
    assert capsys.readouterr().err.count("The features have collapsed") == 1


def test_batchnorm_may_be_over_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[nn.Module] = []
    monkeypatch.setattr(two_view, "complete", lambda trainer, _: built.append(trainer.model))
    for sync in (False, True):
        two_view.run(two_view.options("digits", out=tmp_path, sync_batchnorm=sync, device="cpu"))
    has = [
        {type(module) for module in model.modules()} & {nn.SyncBatchNorm, nn.BatchNorm2d} for model in built
    ]
    assert has == [{nn.BatchNorm2d}, {nn.SyncBatchNorm}]


def test_a_run_of_so_many_batches_is_not_longer_the_second_time(tmp_path: Path) -> None:
    for _ in range(3):
        found = train(options(tmp_path, steps=4))
        assert len(found["losses"]) == 4


def test_the_log_is_whole_at_every_moment(tmp_path: Path) -> None:
    chosen = options(tmp_path, steps=4)
    train(chosen)
    before = read_log(chosen.folder)
    resumed = trainer(replace(chosen, steps=None))
    with resumed._log():  # killed before its first line
        assert read_log(chosen.folder) == before


def test_a_log_that_lost_lines_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = options(tmp_path, steps=4)
    train(chosen)
    (chosen.folder / "log.jsonl").unlink()
    train(replace(chosen, steps=5))
    assert "log.jsonl lacks the last 4 lines that the checkpoint knows of" in capsys.readouterr().err


def test_two_processes_train_as_one(tmp_path: Path, whole: dict[str, Any]) -> None:
    commands = [
        [sys.executable, two_view_worker.__file__, str(rank), "2", str(tmp_path / "store"), str(tmp_path)]
        for rank in (0, 1)
    ]
    processes = [subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}) for command in commands]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, value in whole["weights"].items():
            torch.testing.assert_close(found["weights"][name], value, rtol=0, atol=1e-8)
        for line, expected in zip(found["losses"], whole["losses"], strict=True):
            assert line == pytest.approx(expected, abs=1e-8)


def digits(out: Path) -> list[str]:
    """A command: an encoder with BatchNorm, in float32, and its views from processes of their own."""
    return [
        sys.executable, "-m", "align_uniform", "pretrain", "two-view", "--preset", "digits", "--epochs", "6",
        "--limit", "384", "--batch-size", "64", "--workers", "2", "--out", str(out), "--log-every", "1",
        "--evaluate-every", "4", "--device", "cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 6 epochs of 6 batches."""
    out = tmp_path_factory.mktemp("undisturbed")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        digits(out), env=environment, check=True, capture_output=True, text=True, timeout=240
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("epoch")]
    assert [line.split(", ")[0] for line in told] == [f"epoch {i} of 6" for i in range(1, 7)]
    assert told[-1].endswith(" waiting, 0:00:00 left")
    return two_view.options("digits", out=out).folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_after_the_batch_and_the_same_command_goes_on(
    number: signal.Signals, undisturbed: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        digits(tmp_path), env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    folder = two_view.options("digits", out=tmp_path).folder
    deadline = time.monotonic() + 120
    while len(read_log(folder)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(
        process.pid, number
    )  # to the processes that make the views too, as torchrun, `timeout` and a terminal do
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(f"{folder}: ")
    done = read_log(folder)
    state = read_checkpoint(folder / state_files.LAST)
    assert 36 > state["epoch"] * 6 + state["batch"] == len([line for line in done if "loss" in line]) >= 3

    subprocess.run(digits(tmp_path), env=environment, check=True, capture_output=True, timeout=120)
    assert read_log(folder)[: len(done)] == done  # to the speed of each batch: nothing was done anew
    timed = {"views_per_second", "waiting"}
    found, expected = (
        [{name: value for name, value in line.items() if name not in timed} for line in read_log(run)]
        for run in (folder, undisturbed)
    )
    assert found == expected
    weights, wanted = (torch.load(run / "encoder.pth", weights_only=True) for run in (folder, undisturbed))
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"steps": -2}, "steps must be at least 1, got -2"),
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"lr": 0.0}, "lr must be a finite number above 0"),
        ({"schedule": "linear"}, "schedule must be one of 'step', 'cosine'"),
        ({"precision": "fp8"}, "precision must be one of 'fp32', 'bf16', 'fp16'"),
    ],
)
def test_wrong_options_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoViewOptions(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"align_weight": 0, "uniform_weight": 0}, "the weights must not be negative, and not all 0"),
        ({"align_weight": -1}, "the weights must not be negative"),
        ({"uniform_t": 0}, "uniform_t must be a finite number above 0"),
    ],
)
def test_wrong_objectives_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_view.options(**changed)


def test_defaults_and_folder_are_the_references() -> None:
    chosen = two_view.options()
    assert (chosen.epochs, chosen.batch_size, chosen.dim, chosen.milestones) == (
        200,
        768,
        128,
        (155, 170, 185),
    )
    assert chosen.lr == pytest.approx(0.12 * 768 / 256)
    assert (chosen.momentum, chosen.weight_decay) == (0.9, 1e-4)
    assert chosen.folder.name == "stl10-two-view-align1alpha2_unif1t2"
    assert (
        two_view.options(contrastive_weight=1, align_weight=0.5).folder.name
        == "stl10-two-view-align0.5alpha2_unif1t2_contr1tau0.5"
    )


def test_tensorboard_holds_what_the_log_holds(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = options(tmp_path, tensorboard=True, epochs=1)
    train(chosen)
    board = EventAccumulator(str(chosen.folder))
    board.Reload()
    found = [event.value for event in board.Scalars("train/loss")]
    assert found == pytest.approx(
        [line["loss"] for line in read_log(chosen.folder) if "loss" in line], rel=1e-6
    )


def test_a_resumed_run_takes_back_what_tensorboard_showed_of_batches_after_the_checkpoint(
    tmp_path: Path,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = options(tmp_path, tensorboard=True, epochs=2)
    train(replace(chosen, steps=3))
    kept = {
        path.name: path.read_bytes() for path in chosen.folder.iterdir() if path.name.startswith("checkpoint")
    }
    train(replace(chosen, steps=5))
    for name, content in kept.items():  # as if the run had been killed before it wrote the later one
        (chosen.folder / name).write_bytes(content)
    train(chosen)
    board = EventAccumulator(str(chosen.folder))
    board.Reload()
    steps = [event.step for event in board.Scalars("train/loss")]
    assert steps == sorted(set(steps))
    assert len(steps) == len([line for line in read_log(chosen.folder) if "loss" in line])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_whole_recipe_runs_on_digits(precision: str, tmp_path: Path) -> None:
    chosen = two_view.options(
        "digits", out=tmp_path, epochs=2, precision=precision, channels_last=True, device="cpu"
    )
    assert two_view.run(chosen) == 0
    names = {path.name for path in chosen.folder.iterdir()}
    assert {
        "checkpoint.pt",
        "encoder.pth",
        "encoder.safetensors",
        "log.jsonl",
        "report.html",
        "trajectory.png",
    } <= names
    (evaluation,) = [line for line in read_log(chosen.folder) if "evaluation" in line]
    assert 0.5 < evaluation["knn"] <= 1
    assert all(math.isfinite(value) for value in evaluation.values())
    assert json.loads((chosen.folder / "log.jsonl").read_text().splitlines()[0])["equivalent_dim"] > 1
    weights = torch.load(chosen.folder / "encoder.pth", weights_only=True)
    assert F.normalize(weights["head.3.weight"]).isfinite().all()


def test_the_progress_bar_tells_how_fast_views_come_and_how_long_they_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter = loop._Meter(began=0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 4.0)
    meter.add({"loss": 1.0}, 4000)
    meter.add({"loss": 2.0}, 4000)
    meter.waited = 1.0
    assert str(meter) == "2,000 views/s, 25% waiting"
    assert meter.means() == {"loss": 1.5, "views_per_second": 2000, "waiting": 0.25}
