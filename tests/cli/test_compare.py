"""`align-uniform compare`: side by side, in pairs, and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from align_uniform.cli import main
from tests.cli.printed import printed_json


def test_what_cannot_be_drawn_is_printed_still(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "x.npy", "y.npy", "--figure", "plane"]) == 1
    printed = capsys.readouterr()
    assert "y − x" in printed.out
    assert printed.err == "align-uniform: the plane needs an alignment, x has none; give --positives.\n"


def test_a_figure_is_replaced_only_by_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "x.npy", "y.npy", "--positives", "y.npy", "x.npy", "--figure", "plane_t0.5"]
    assert main(arguments) == 0
    assert sorted(path.name for path in folder.glob("plane*")) == ["plane_t0.5.png", "plane_t0.5.svg"]
    assert main(arguments) == 1
    assert "plane_t0.5.png exists already; use --force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0


def test_compare_puts_embeddings_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "compare",
                "x.npy",
                "y.npy",
                "--positives",
                "y.npy",
                "x.npy",
                "--accuracy",
                "0.5",
                "0.75",
                "--figure",
                "plane",
            ]
        )
        == 0
    )
    printed = capsys.readouterr()
    assert "0.75" in printed.out
    assert "y − x (paired)" in printed.out
    assert sorted(path.name for path in folder.glob("plane.*")) == ["plane.png", "plane.svg"]


def test_measurements_are_compared_in_pairs_where_their_rows_are_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kept in (("x", ["--rows-out", "x_rows.npz"]), ("y", [])):
        assert main(["measure", f"{name}.npy", "--json", *kept]) == 0
        Path(f"{name}.json").write_text(capsys.readouterr().out)
    document = printed_json(capsys, "compare", "x.json", "y.npy", "y.json", "--names", "a", "b", "c")
    assert [part["name"] for part in document["embeddings"]] == ["a", "b", "c"]
    assert [part["paired"] for part in document["differences"]] == [True, False]
    assert document["differences"][0]["uniform_stderr"] > 0
