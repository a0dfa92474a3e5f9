"""`align-uniform drift`: the table, the JSON, the gate, interruptions, and what is wrong with the input."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks import drift as simulation

from align_uniform import drift
from align_uniform.cli import main
from align_uniform.cli.command import GATE_FAILED
from tests import rows
from tests.cli.printed import printed_json


@pytest.fixture(autouse=True)
def moved(folder: Path) -> None:
    """Add rows of y that moved, and rows of other dimensions, to the folder."""
    x = rows.unit(50, 6).float().numpy()
    np.save(folder / "moved.npy", x + 0.3)
    np.save(folder / "wide.npy", rows.unit(50, 9).float().numpy())
    np.save(folder / "short.npy", rows.unit(20, 6, seed=3).float().numpy())
    (folder / "names.txt").write_text("".join(f"item {i}\n" for i in range(50)))
    (folder / "others.txt").write_text("".join(f"item {i}\n" for i in range(1, 51)))


def test_drift_prints_what_moved(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drift", "x.npy", "moved.npy", "--paired", "--texts", "names.txt"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "x → moved: 50 rows of 6 features, paired, exact"
    labels = ["squared MMD", "relative", "permutation test", "effect", "shift of the mean", "uniformity"]
    assert [line.split("  ")[0] for line in lines[2:8]] == labels
    assert "it moved: p = 0.0050 is at most 0.05." in lines
    assert "most typical of moved (mean potential with moved, with x):" in lines
    assert len([line for line in lines if line.startswith("  row ") and "  item " in line]) == 10
    assert printed.err == ""


def test_the_json_is_that_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    document = printed_json(
        capsys, "drift", "x.npy", "moved.npy", "--ids", "names.txt", "--t", "1", "--as-is"
    )
    ids = (range(50), range(50))
    found = drift("x.npy", "moved.npy", ids=ids, t=1, normalize=False, names=("x", "moved"))
    expected = json.loads(found.to_json())
    for part in (document, expected):
        del part["discrepancy"]["typical"]
        for measured in part["measurements"]:
            del measured["provenance"]
    assert document == expected


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["moved.npy", "--paired"], GATE_FAILED, "x → moved: it moved: p = 0.0050 is at most 0.05."),
        (["moved.npy", "--paired", "--tolerance", "0.9"], 0, ""),
        (["y.npy"], 0, ""),
        (["wide.npy"], GATE_FAILED, "x → wide: it moved: p"),
        (["y.npy", "--significance", "0.99"], GATE_FAILED, "is at most 0.99."),
    ],
)
def test_the_gate_fails_where_it_moved(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", "x.npy", *arguments, "--fail-if-moved"]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == (code != 0)
    assert printed.out.startswith("x → ")
    assert main(["drift", "x.npy", *arguments]) == 0


def test_a_file_of_ids_for_both_sides_makes_pairs_and_others_do_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert printed_json(capsys, "drift", "x.npy", "moved.npy", "--ids", "names.txt")["paired"]
    other = printed_json(capsys, "drift", "x.npy", "moved.npy", "--ids", "names.txt", "others.txt")
    assert not other["paired"]
    assert "49 ids occur on both sides" in other["warnings"][-1]


def test_alignment_of_both_sides_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed_json(
        capsys, "drift", "x.npy", "moved.npy", "--paired", "--positives", "y.npy", "y.npy", "--alpha", "1"
    )
    assert found["difference"]["align"] < 0
    assert [each["align"]["alpha"] for each in found["measurements"]] == [1, 1]


def test_rows_are_written_and_kept_unless_forced(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["drift", "x.npy", "short.npy", "--rows-out", "rows.npz"]
    assert main(arguments) == 0
    with np.load("rows.npz") as kept:
        assert {name: len(kept[name]) for name in kept.files} == {"old": 50, "new": 20}
    capsys.readouterr()
    assert main(arguments) == 1
    assert capsys.readouterr().err == "align-uniform: rows.npz exists already; use --force to replace it.\n"
    assert main([*arguments, "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["x.npy"], 2, "give NEW"),
        (["x.npy", "nowhere.npy"], 1, "nowhere.npy does not exist"),
        (["x.npy", "y.npy", "y.npy"], 2, "'y.npy' is one argument too many"),
        (["x.npy", "y.npy", "--positives", "y.npy"], 2, "--positives must be two, one of OLD and one of NEW"),
        (["x.npy", "y.npy", "--names", "a"], 2, "--names must be two"),
        (
            ["x.npy", "y.npy", "--ids", "a", "b", "c"],
            2,
            "--ids must be one file for both sides or one for each",
        ),
        (["x.npy", "y.npy", "--ids", "ids.txt"], 1, "--ids must name each row once to make pairs, got 25"),
        (["x.npy", "short.npy", "--paired"], 1, "x and short have 50 and 20 rows; leave out items"),
        (["x.npy", "y.npy", "--test-rows", "3"], 1, "--test-rows must be at least 20, got 3"),
        (["x.npy", "y.npy", "--permutations", "9"], 1, "--permutations must be at least 19"),
        (["x.npy", "wide.npy", "--tolerance", "0.1"], 1, "--tolerance is for the squared MMD, but x has 6"),
        (["x.npy", "y.npy", "--device", "abacus"], 1, "device"),
        (["x.npy", "y.npy", "--rows-out", "no/where.npz"], 1, "there is no folder no"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err


def test_an_interruption_leaves_the_anchors_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for seed, name in enumerate(("old.npy", "new.npy")):
        np.save(name, rows.unit(2100, 3, seed=seed).float().numpy())
    command = ["drift", "old.npy", "new.npy", "--permutations", "19", "--test-rows", "50"]
    monkeypatch.setattr("align_uniform.measuring.uniformity.exact_potentials", interrupted)
    assert main(command) == 130
    assert "anchors, the exact sum was interrupted" in capsys.readouterr().out
    monkeypatch.setattr("align_uniform.measuring.uniformity.anchor_potentials", interrupted)
    assert main(command) == 130
    assert capsys.readouterr() == ("", "align-uniform: interrupted.\n")


def test_the_page_shows_what_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "drift.md").read_text(encoding="utf-8")
    code, command, expected = re.findall(r"```(?:python|sh|text)\n(.*?)```", page, re.DOTALL)[:3]
    exec(compile(code, "drift.md", "exec"), {})
    assert main(shlex.split(command)[1:]) == GATE_FAILED
    assert capsys.readouterr().out == expected


def test_the_page_shows_the_recorded_simulation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert simulation.table(simulation.read()) in page


@pytest.mark.parametrize("paired", [True, False])
def test_a_simulation_finds_a_rotation(paired: bool) -> None:
    found = simulation.simulate("cone", "rotation, 0.3", paired, 20)
    assert found.moved > 0.8
    assert found.squared_mmd > 0


def test_torchrun_prints_one_result(folder: Path) -> None:
    command = [sys.executable, "-m", "align_uniform", "drift", "x.npy", "moved.npy", "--json"]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    alone, shared = (
        json.loads(subprocess.run(words, capture_output=True, check=True, timeout=240).stdout)
        for words in (command, [*command[:2], *launcher, *command[2:]])
    )
    assert shared["test"] == alone["test"]
    for name, value in alone["discrepancy"].items():
        if name != "typical":
            assert shared["discrepancy"][name] == pytest.approx(value, rel=1e-5)
