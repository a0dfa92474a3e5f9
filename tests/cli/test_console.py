"""Consoles whose encoding lacks characters, and messages about names of any length."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from align_uniform.cli import main
from tests.cli.printed import printed_json

SAVED = [
    "--train-features", "x.npy", "--train-labels", "labels.txt", "--test-features", "y-尺→.npy",
    "--test-labels", "labels.txt",
]  # fmt: skip
"""Features in place of an encoder."""


@pytest.fixture
def odd(folder: Path) -> Path:
    """The folder, with files whose names no encoding of a console but UTF-8 has."""
    for name in ("x", "y"):
        (folder / f"{name}-尺→.npy").write_bytes((folder / f"{name}.npy").read_bytes())
    assert main(["evaluate", "knn", *SAVED, "--out", "尺.json"]) == 0
    (folder / "→.json").write_bytes((folder / "尺.json").read_bytes())
    for split in ("train", "val"):
        (folder / "尺" / split / "n01440764").mkdir(parents=True)
    (folder / "classes.txt").write_text("n01440764")
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp932", "latin-1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["measure", "x-尺→.npy", "--positives", "y.npy"],
        ["measure", "x-尺→.npy", "--positives", "y.npy", "--json"],
        ["compare", "x-尺→.npy", "y-尺→.npy", "--paired"],
        ["compare", "x-尺→.npy", "y-尺→.npy", "--json"],
        ["drift", "x-尺→.npy", "y-尺→.npy", "--permutations", "19"],
        ["drift", "x-尺→.npy", "y-尺→.npy", "--permutations", "19", "--json"],
        ["measure", "x-尺→.npy", "--print-config"],
        ["evaluate", "compare", "尺.json", "→.json"],
        ["evaluate", "compare", "尺.json", "→.json", "--json"],
        ["evaluate", "knn", *SAVED],
        ["imagenet-subset", "尺", "→", "--classes", "classes.txt"],
        ["--help"],
        ["pretrain", "moco", "--help"],
    ],
    ids=" ".join,
)
def test_results_are_printed_whatever_the_encoding(
    arguments: list[str], encoding: str, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(arguments) == 0
    sys.stdout.flush()
    printed = raw.getvalue().decode(encoding)
    assert len(printed) > 20
    if "--json" in arguments:
        assert "尺" in str(json.loads(printed))


def test_a_redirected_console_of_another_encoding_gets_the_result(odd: Path) -> None:
    command = [sys.executable, "-m", "align_uniform", "measure", "x-尺→.npy", "--positives", "y.npy"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"x-?->: 50 rows of 6 features, exact" in done.stdout


def test_options_that_are_printed_can_be_read_again_with_any_name(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "x-尺→.npy", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert printed.isascii()
    Path("options.yaml").write_text(printed)
    assert printed_json(capsys, "measure", "--config", "options.yaml")["name"] == "x-尺→"


@pytest.mark.parametrize(
    "arguments",
    [
        ["measure", "x.npy", "--pairs", "wide.csv"],
        ["measure", "x.npy", "--labels", "wide.csv"],
        ["measure", "x.npy", "--name", "x", "--device", "d" * 10**5],
        ["measure", "z" * 10**5],
        ["measure", "x.npy", f"--{'o' * 10**5}"],
        ["measure", "x.npy", "--method", "m" * 10**5],
        ["c" * 10**5],
    ],
    ids=["pairs", "labels", "device", "path", "option", "choice", "command"],
)
def test_a_message_is_short_whatever_it_names(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wide.csv").write_text(",".join(f"c{i}" for i in range(10**5)) + "\n" + ",".join(["1"] * 10**5))
    assert main(arguments) in (1, 2)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert len(printed) < 5000
