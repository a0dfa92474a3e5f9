"""The commands of recipes: where their options come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from align_uniform.cli import main


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
