"""The command: exit codes, one line for an error, and that nothing is overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from align_uniform import __version__
from align_uniform.cli import main


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["demo", "--nonsense"],
        ["demo", "--steps", "many"],
        ["demo", "--config", "missing.yaml"],
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("align-uniform: ")


def test_a_wrong_value_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--steps", "0"]) == 1
    assert capsys.readouterr().err == "align-uniform: --steps must be at least 1, got 0.\n"


def test_an_error_names_an_option_as_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "moco", "--batch-size", "0"]) == 1
    assert capsys.readouterr().err == "align-uniform: --batch-size must be at least 1, got 0.\n"


def test_an_error_of_a_run_names_an_option_as_it_is_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--preset", "digits", "--batch-size", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["pretrain", "two-view", *given]) == 1
    error = capsys.readouterr().err
    assert "align-uniform: --batch-size must be at least 2 for each of 1 rank, 2 in all, got 1." in error


def test_python_dash_m_is_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "align_uniform", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert __version__ in result.stdout


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("matplotlib", "report", ["measure", "x.npy", "--report", "page.html"]),
        ("jinja2", "report", ["measure", "x.npy", "--report", "page.html"]),
        ("matplotlib", "report", ["compare", "x.npy", "y.npy", "--figure", "plane"]),
        ("sklearn", "recipes", ["demo"]),
        ("matplotlib", "recipes", ["demo"]),
        ("torchvision", "recipes", ["evaluate", "knn", "--encoder", "encoder.pth"]),
        ("torchvision", "recipes", ["measure", "--encoder", "torchvision:resnet18", "--images", "images"]),
    ],
)
def test_a_missing_library_is_told_of_before_any_work(
    module: str, extra: str, arguments: list[str], folder: Path
) -> None:
    library = {"sklearn": "scikit-learn"}.get(module, module)
    code = f"import sys; sys.modules[{module!r}] = None\nfrom align_uniform.cli import main\nsys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert (
        result.stderr == f"align-uniform: {library} is missing; run: pip install 'align-uniform[{extra}]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["measure", "nowhere.npy"], 1, "nowhere.npy does not exist"),
        (["measure", "xy.npz"], 1, "xy.npz holds x [50, 6] float32, y [50, 6] float32; say which one"),
        (["measure", "xy.npz::z"], 1, "z"),
        (["measure", "x.npy", "--t", "-2"], 1, "t must be a finite number above 0"),
        (["measure", "x.npy", "--device", "abacus"], 1, "device"),
        (["measure", "x.npy", "--pairs", "labels.txt"], 1, "labels.txt"),
        (
            ["measure", "x.npy", "--pairs", "named.csv"],
            1,
            "column x of named.csv must be row numbers, from 0, got 'u0'; if it has ids, give the id of each",
        ),
        (
            ["measure", "x.npy", "--pairs", "pairs.csv", "--ids", "ids.txt", "--all-pairs"],
            1,
            "column x of pairs.csv has 3 ids that no row has",
        ),
        (
            ["measure", "x.npy", "--positives", "y.npy", "--ids", "ids.txt"],
            1,
            "--ids and --positive-ids go together",
        ),
        (["measure", "x.npy", "--report", "no/where.html"], 1, "there is no folder no"),
        (["measure", "x.npy", "--t", "two"], 2, "two"),
        (["measure", "x.npy", "--method", "guess"], 2, "guess"),
        (["measure"], 2, "FEATURES"),
        (
            ["compare", "x.npy", "y.npy", "--accuracy", "1"],
            1,
            "--accuracy must be one for each of the 2 embeddings, got 1",
        ),
        (["compare", "pairs.json"], 1, "pairs.json"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err


def test_a_reader_that_has_enough_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m align_uniform measure x.npy --json | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("{\n", "", 0)
