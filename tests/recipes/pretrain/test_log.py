"""The log: whole at every moment, the same for TensorBoard, and its means."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from align_uniform.recipes.pretrain.log import Meter, in_words, open_log, read_log
from tests.recipes.pretrain.two_view_worker import options, train, trainer


def test_the_log_is_whole_at_every_moment(tmp_path: Path) -> None:
    chosen = options(tmp_path, steps=4)
    train(chosen)
    before = read_log(chosen.folder)
    resumed = trainer(replace(chosen, steps=None))
    with open_log(chosen.folder, resumed.history, tensorboard=False, step=4):  # killed before its first line
        assert read_log(chosen.folder) == before


def test_a_log_that_lost_lines_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = options(tmp_path, steps=4)
    train(chosen)
    (chosen.folder / "log.jsonl").unlink()
    train(replace(chosen, steps=5))
    assert "log.jsonl lacks the last 4 lines before the checkpoint" in capsys.readouterr().err


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


def test_epochs_count_from_1_in_lines_of_training_and_of_evaluations(tmp_path: Path) -> None:
    chosen = options(tmp_path, evaluate_every=1)
    train(chosen)
    lines = read_log(chosen.folder)
    assert [(line["epoch"], line.get("batch")) for line in lines] == [
        (epoch, batch) for epoch in (1, 2) for batch in (1, 2, 3, 4, 5, None)
    ]
    assert ["evaluation" in line for line in lines] == 2 * [*5 * [False], True]


@pytest.mark.parametrize("steps", [None, 1, 3, 4])
def test_the_loss_of_an_epoch_is_the_mean_of_its_batches_also_of_an_interrupted_one(
    steps: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = options(tmp_path, epochs=1)
    if steps is not None:
        train(replace(chosen, steps=steps))
    train(chosen)
    *others, last = [line for line in read_log(chosen.folder) if "loss" in line]
    mean = sum(line["loss"] for line in (*others, last)) / 5
    assert last["epoch_loss"] == pytest.approx(mean, rel=1e-12)
    assert not any("epoch_loss" in line for line in others)
    assert f"epoch 1 of 1, loss {mean:.4f}, align" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [1, 3, 5, 6])
def test_a_line_has_the_means_of_all_batches_since_the_line_before_also_of_an_interrupted_run(
    steps: int, tmp_path: Path
) -> None:
    whole, interrupted = (options(tmp_path / name, log_every=2) for name in ("whole", "interrupted"))
    train(replace(interrupted, steps=steps))
    assert train(interrupted)["losses"] == train(whole)["losses"]


def test_a_meter_has_means_and_the_speed_and_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(began=0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 4.0)
    meter.add({"loss": 1.0}, 4000, 0.25)
    meter.add({"loss": 2.0}, 4000, 0.75)
    assert str(meter) == "loss 1.5000, 2,000 views/s, 25% waiting"
    assert meter.means() == {"loss": 1.5, "views_per_second": 2000, "waiting": 0.25}


def test_an_evaluation_without_an_accuracy_can_be_said_too() -> None:
    assert in_words({"align": 0.5, "uniform_plain": -2.0, "rankme": 7.0}) == (
        "alignment of two views 0.500, uniformity of plain images -2.000, RankMe 7.0"
    )
    assert in_words({}) == ""
