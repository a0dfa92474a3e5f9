"""The training loop resumes where it stopped, and is the same on several processes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform.recipes.encoders.checkpoints import read_checkpoint
from align_uniform.recipes.encoders.weights import EncoderFile
from align_uniform.recipes.pretrain import state as state_files
from align_uniform.recipes.pretrain import two_view
from align_uniform.recipes.pretrain.log import read_log
from tests.recipes.pretrain import two_view_worker
from tests.recipes.pretrain.two_view_worker import options, same, train, trainer
from tests.recipes.small_runs import pretrain_command, run_command


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    steps: int, tmp_path: Path, whole: dict[str, Any]
) -> None:
    assert len(train(options(tmp_path, steps=steps))["losses"]) == steps
    same(train(options(tmp_path)), whole)
    assert [line["loss"] for line in read_log(options(tmp_path).folder) if "loss" in line] == [
        line["loss"] for line in whole["losses"]
    ]


def test_a_loss_that_is_no_number_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the loss is nan after \d+ batches of epoch 1: .* 1e\+300, .* fp32, too low\.$"
    ):
        train(options(tmp_path, lr=1e300))
    train(options(tmp_path / "kept", steps=2))
    running = trainer(options(tmp_path / "kept"))
    before = {name: value.clone() for name, value in running.model.state_dict().items()}
    with pytest.raises(ValueError, match=r"too low; .* has the checkpoint from before\.$"):
        running.step(
            running.model, torch.full((3, 1, 16, 16), torch.nan).double(), torch.ones(3, 1, 16, 16).double()
        )
    assert all(torch.equal(value, before[name]) for name, value in running.model.state_dict().items())


def test_a_collapse_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(options(tmp_path, uniform_weight=0, contrastive_weight=0, epochs=4, lr=2.0))
    assert "The features have collapsed: uniformity is -0.0" in capsys.readouterr().err
    train(options(tmp_path / "long", uniform_weight=0, contrastive_weight=0, epochs=1, batch_size=10))
    assert capsys.readouterr().err.count("The features have collapsed") == 1


def test_a_run_of_so_many_batches_is_not_longer_the_second_time(tmp_path: Path) -> None:
    for _ in range(3):
        found = train(options(tmp_path, steps=4))
        assert len(found["losses"]) == 4


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
    folder = two_view.options("digits", out=out).folder
    lines = [line for line in read_log(folder) if line["epoch"] == 6 and "loss" in line]
    assert f", loss {sum(line['loss'] for line in lines) / 6:.4f}, " in told[-1]  # the mean over the epoch
    begin, *_, end = done.stderr.partition("epoch 1 of 6")
    assert begin.startswith("pretrain two-view, preset digits: starting, 6 epochs\n")
    assert "after epoch 4 of 6: alignment" in end
    command = f"python -m align_uniform evaluate linear --encoder {folder} --layer features"
    assert end.splitlines()[-1] == f"  next       {command}"
    return folder


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
    *_, stopped, command = errors.splitlines()
    assert stopped.startswith(f"{folder}: stopped after ")
    assert stopped.endswith(" batches, and saved. To resume, run:")
    assert command == "  " + shlex.join(["python", *digits(tmp_path)[1:]])
    done = read_log(folder)
    state = read_checkpoint(folder / state_files.LAST)
    assert 36 > state["epoch"] * 6 + state["batch"] == len([line for line in done if "loss" in line]) >= 3

    resumed = subprocess.run(
        digits(tmp_path), env=environment, check=True, capture_output=True, text=True, timeout=240
    )
    assert "preset digits: resuming at epoch " in resumed.stderr
    assert read_log(folder)[: len(done)] == done  # to the speed of each batch: nothing was done anew
    timed = {"views_per_second", "waiting"}
    found, expected = (
        [{name: value for name, value in line.items() if name not in timed} for line in read_log(run)]
        for run in (folder, undisturbed)
    )
    assert found == expected
    weights, wanted = (torch.load(run / "encoder.pth", weights_only=True) for run in (folder, undisturbed))
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


def processes_of(parent: int) -> list[int]:
    """Return the processes that a process has made of itself, in which it makes views."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            _, _, rest = (place / "stat").read_text().rpartition(") ")
            words = (place / "cmdline").read_bytes(), Path(f"/proc/{parent}/cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if int(rest.split()[1]) == parent and words[0] == words[1]:
            found.append(int(place.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_process_that_is_killed_costs_no_batch_and_one_line(undisturbed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(digits(tmp_path), env=environment, stderr=subprocess.PIPE, text=True)
    folder = two_view.options("digits", out=tmp_path).folder
    deadline = time.monotonic() + 120
    while len(read_log(folder)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(processes_of(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    *_, told = errors.splitlines()
    assert told.startswith(
        "align-uniform: a process that makes views ended unexpectedly, most often because memory "
        "ran out; the run is saved after "
    )
    done = read_log(folder)
    state = read_checkpoint(folder / state_files.LAST)
    assert 36 > state["epoch"] * 6 + state["batch"] == len([line for line in done if "loss" in line]) >= 3

    program, *again = shlex.split(told.partition(", run ")[2])
    typed = digits(tmp_path)[1:]
    place = typed.index("--workers")
    assert (program, again) == ("python", [*typed[:place], *typed[place + 2 :], "--workers", "0"])
    subprocess.run([sys.executable, *again], env=environment, check=True, capture_output=True, timeout=240)
    assert read_log(folder)[: len(done)] == done
    weights, wanted = (torch.load(run / "encoder.pth", weights_only=True) for run in (folder, undisturbed))
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


def test_two_processes_train_on_stl10s_format_and_go_on_where_they_stopped(
    stl10: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_command(pretrain_command(stl10, whole), 2)
    run_command([*pretrain_command(stl10, parts), "--steps", "4"], 2)
    assert not list(parts.glob("*/encoder.pth"))
    done = read_log(parts / "stl10-two-view-align1alpha2_unif1t2")
    run_command(pretrain_command(stl10, parts), 2)
    assert (
        read_log(parts / "stl10-two-view-align1alpha2_unif1t2")[: len(done)] == done
    )  # to the speed of each batch: nothing was done anew
    assert len(done) == 4
    found, wanted = (
        EncoderFile.read(out / "stl10-two-view-align1alpha2_unif1t2").state for out in (parts, whole)
    )
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert (parts / "stl10-two-view-align1alpha2_unif1t2" / "report.html").exists()
