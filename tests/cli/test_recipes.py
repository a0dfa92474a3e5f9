"""The commands of recipes: what they print and write, and where their options come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align_uniform.cli import main
from align_uniform.recipes import demo

TINY = ["--seeds", "1", "--steps", "2"]


def test_the_demo_prints_a_table_and_writes_figures_and_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path), *TINY]) == 0
    printed = capsys.readouterr()
    for name in (demo.ALIGN_UNIFORM, demo.CONTRASTIVE, demo.UNTRAINED, demo.PIXELS):
        assert name in printed.out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "figure3.png", "figure3.svg", "plane.png", "plane.svg", "results.json",
    ]  # fmt: skip
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["schema_version"] == 1
    assert {(result["name"], result["dim"]) for result in document["results"]} == {
        (demo.PIXELS, 256), (demo.UNTRAINED, 64), (demo.UNTRAINED, 2), (demo.ALIGN_UNIFORM, 64),
        (demo.ALIGN_UNIFORM, 2), (demo.CONTRASTIVE, 64), (demo.CONTRASTIVE, 2),
    }  # fmt: skip
    assert all(
        result["uniform"] <= 0 <= result["align"] and 0 <= result["knn"] <= 1
        for result in document["results"]
    )


def test_an_earlier_demo_is_not_overwritten_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text("precious")
    assert main(["demo", "--out", str(tmp_path), *TINY]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"align-uniform: {tmp_path / 'results.json'} exists; pass --force to replace it, or another folder "
        "with --out."
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "precious"


def test_what_was_done_before_an_interruption_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", interrupted)
    assert main(["demo", "--out", str(tmp_path), *TINY]) == 130
    printed = capsys.readouterr()
    assert demo.PIXELS in printed.out
    assert demo.ALIGN_UNIFORM not in printed.out
    assert "Interrupted: 3 of 7" in printed.err
    assert (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "epochs", "dim"),
    [
        (["--config", "{}"], 7, 64),
        (["--config={}", "--epochs", "9"], 9, 64),
        (["--preset", "stl10", "--config", "{}"], 7, 128),
        (["--config", "{}", "--preset=stl10"], 7, 128),
        (["--preset", "fashion-mnist"], 20, 64),
        (["--config=~/digits.yaml"], 7, 64),
    ],
)
def test_a_preset_sets_defaults_from_a_file_of_options_too(
    arguments: list[str],
    epochs: int,
    dim: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "digits.yaml"
    config.write_text("preset: digits\nepochs: 7\n")
    given = [argument.format(config) for argument in arguments]
    assert main(["pretrain", "two-view", *given, "--print-config"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert f"epochs: {epochs}" in printed
    assert f"dim: {dim}" in printed


def test_options_come_from_a_file_and_can_be_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("seeds: 7\nsteps: 9\n")
    assert main(["demo", "--config", str(config), "--steps", "11", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "seeds: 7" in printed
    assert "steps: 11" in printed
