"""The command: its surface, its exit codes, and that nothing is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from align_uniform import __version__
from align_uniform.cli import main
from align_uniform.recipes import demo

TINY = ["--seeds", "1", "--steps", "2"]


def test_the_demo_prints_a_table_and_writes_figures_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
        (demo.PIXELS, 256), (demo.UNTRAINED, 64), (demo.UNTRAINED, 2), (demo.ALIGN_UNIFORM, 64), (demo.ALIGN_UNIFORM, 2),
        (demo.CONTRASTIVE, 64), (demo.CONTRASTIVE, 2),
    }  # fmt: skip
    assert all(result["uniform"] <= 0 <= result["align"] and 0 <= result["knn"] <= 1 for result in document["results"])


def test_an_earlier_demo_is_not_overwritten_without_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text("precious")
    assert main(["demo", "--out", str(tmp_path), *TINY]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"align-uniform: {tmp_path / 'results.json'} exists; pass --force to replace it, or another folder with --out."
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
    "arguments", [[], ["nonsense"], ["demo", "--nonsense"], ["demo", "--steps", "many"], ["demo", "--config", "missing.yaml"]]
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("align-uniform: ")


def test_a_wrong_value_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--steps", "0"]) == 1
    assert capsys.readouterr().err == "align-uniform: steps must be at least 1, got 0.\n"


def test_options_come_from_a_file_and_can_be_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("seeds: 7\nsteps: 9\n")
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--config", str(config), "--steps", "11", "--print_config"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "seeds: 7" in printed
    assert "steps: 11" in printed


def test_python_dash_m_is_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "align_uniform", "--version"], capture_output=True, text=True, check=True, timeout=120
    )
    assert __version__ in result.stdout


def test_without_the_extra_one_line_names_the_pip_command() -> None:
    code = "import sys; sys.modules['jsonargparse'] = None\nfrom align_uniform.__main__ import main\nsys.exit(main())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 1
    assert result.stderr == "align-uniform: jsonargparse is missing; run: pip install 'align-uniform[cli]'\n"
