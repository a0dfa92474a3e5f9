"""The words that a run says: what starts, where it resumes, and the command to type next."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from align_uniform.cli import main
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import EncoderCard
from align_uniform.recipes.images.statistics import STATISTICS
from align_uniform.recipes.pretrain import moco, summary
from align_uniform.recipes.pretrain.options import TwoViewOptions
from tests.recipes.pretrain.two_view_worker import options, trainer


def test_a_run_says_what_starts(tmp_path: Path) -> None:
    chosen = options(tmp_path, align_weight=3)
    assert summary.opening(trainer(chosen)).splitlines() == [
        "pretrain two-view, preset digits: starting, 2 epochs",
        "  objective  3 align(alpha=2) + 1 uniform(t=2) + 0.5 contrastive(tau=0.5)",
        "  images     1,437 of digits, in views of 16 x 16 pixels",
        "  encoder    small-conv with 64 output features, 8,488 parameters",
        "  device     cpu, 1 process, fp32",
        "  rate       0.2, falling to 0 along a cosine",
        "  epoch      5 batches of 300 images",
        f"  folder     {chosen.folder}",
    ]


def test_the_objective_of_a_queue_names_what_queries_are_kept_away_from() -> None:
    assert moco.options().formula == (
        "3 align(alpha=2) + 1 uniform(t=3), against the queries and a queue of 65,536 keys"
    )
    assert moco.options("imagenet-moco-v2", intra_batch=False).formula == (
        "1 contrastive(tau=0.2), against a queue of 65,536 keys"
    )
    assert TwoViewOptions(align_weight=0).formula == "1 uniform(t=2)"


@pytest.mark.parametrize(
    ("steps", "place", "done"),
    [
        (3, "resuming at epoch 1 of 2 after batch 3 of 5", "0 of 2 epochs and 3 of 5 batches"),
        (5, "resuming at epoch 1 of 2 after batch 5 of 5", "0 of 2 epochs and 5 of 5 batches"),
        (8, "resuming at epoch 2 of 2 after batch 3 of 5", "1 of 2 epochs and 3 of 5 batches"),
    ],
)
def test_a_run_that_stopped_says_where_and_resumes_there(
    steps: int, place: str, done: str, tmp_path: Path
) -> None:
    chosen = options(tmp_path, steps=steps)
    running = trainer(chosen)
    running.run()
    assert summary.interruption(running) == (
        f"{chosen.folder}: stopped after {done}, and saved. To resume, run it again with the same options, "
        "without steps.\n"
    )
    assert summary.opening(trainer(chosen)).startswith(f"pretrain two-view, preset digits: {place}\n")
    running.options = replace(chosen, resume="never")
    assert summary.interruption(running).endswith("without steps, with resume auto.\n")


def test_a_run_that_has_ended_says_so(tmp_path: Path) -> None:
    chosen = options(tmp_path, epochs=1)
    running = trainer(chosen)
    running.run()
    running.history.append({"evaluation": True, "epoch": 1, "align": 0.5, "uniform_plain": -2.0, "knn": 0.5})
    assert summary.closing(running).splitlines() == [
        f"{chosen.folder}: 1 of 1 epoch",
        "  result     alignment of two views 0.500, uniformity of plain images -2.000, 5-NN accuracy 50.0%",
        "  written    log.jsonl",
        f"  next       align-uniform evaluate linear --encoder {chosen.folder}",
    ]
    running.options = replace(chosen, data="imagefolder", root=tmp_path)
    EncoderCard.of(build("resnet18", 8), STATISTICS["imagenet"], "imagefolder").write(running.folder)
    command = f"--encoder {running.folder} --layer backbone --protocol imagenet --root {tmp_path}"
    assert summary.closing(running).endswith(f"  next       align-uniform evaluate linear {command}\n")
    assert "done already, after 1 epoch" in summary.opening(trainer(chosen))


@pytest.mark.parametrize(
    ("program", "processes", "world", "start"),
    [
        ("/usr/bin/align-uniform", "", 1, "align-uniform"),
        ("/lib/align_uniform/__main__.py", "", 1, "python -m align_uniform"),
        ("/lib/align_uniform/__main__.py", "4", 4, "torchrun --nproc-per-node 4 -m align_uniform"),
        ("/lib/align_uniform/__main__.py", "4", 8, "torchrun [the same options] -m align_uniform"),
        ("/home/me/train.py", "", 1, ""),
    ],
)
def test_the_command_that_resumes_is_known(
    program: str, processes: str, world: int, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "pretrain", "moco", "--root", "my images"])
    monkeypatch.setattr("align_uniform._ranks.world_size", lambda: world)
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    else:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert summary.resuming_command(()) == (start and f"{start} pretrain moco --root 'my images'")


@pytest.mark.parametrize(
    "stopping",
    [["--steps", "2"], ["--steps=2"], ["--resume", "never"], ["--resume=never", "--steps", "2"]],
    ids=" ".join,
)
def test_options_that_would_stop_the_run_again_are_left_out(
    stopping: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["pretrain", "two-view", *stopping, "--seed", "3"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/align-uniform", *words])
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    found = summary.resuming_command(("--steps", "--resume"), ["--workers", "0"])
    assert found == "align-uniform pretrain two-view --seed 3 --workers 0"


@pytest.mark.parametrize("typed", [[], ["--steps", "2", "--resume", "never"]], ids=str)
def test_the_command_that_resumes_outweighs_a_file_of_options(
    typed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text(
        "preset: digits\nlimit: 384\nbatch_size: 64\nepochs: 1\nworkers: 0\ndevice: cpu\nsteps: 2\n"
        f"resume: never\nout: {tmp_path}\n"
    )
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    words = ["pretrain", "two-view", "--config", str(config), *typed]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/align-uniform", *words])
    assert main(words) == 0
    *_, stopped, command, why = capsys.readouterr().err.splitlines()
    assert "stopped after 0 of 1 epoch and 2 of 6 batches, and saved. To resume, run:" in stopped
    assert why == "--steps 7 --resume auto outweighs the file of options, which may stop the run again."
    program, *again = shlex.split(command)
    assert (program, again) == ("align-uniform", [*words[:4], "--steps", "7", "--resume", "auto"])
    assert main(again) == 0
    assert list(tmp_path.glob("*/encoder.pth"))


def test_a_file_that_is_there_is_not_suggested_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    running = trainer(options(tmp_path, epochs=1))
    running.history.append({"evaluation": True, "epoch": 1, "align": 0.5})
    for name in ("features.npz", "features-2.npz", "features-3.npz"):
        assert f"--out {name}\n" in summary.closing(running)
        Path(name).touch()
