"""`align-uniform compare`: side by side, in pairs, and drawn."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from align_uniform import measure
from align_uniform.cli import main
from tests import rows
from tests.cli.printed import printed_json


@pytest.fixture
def measured_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if anything is measured."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing must be measured")

    monkeypatch.setattr("align_uniform.measuring.comparison.compare", never)


@pytest.mark.usefixtures("measured_nothing")
def test_a_figure_without_alignments_is_refused_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "x.npy", "y.npy", "--figure", "plane"]) == 1
    assert capsys.readouterr().err == (
        "align-uniform: the plane of --figure needs an alignment, and x.npy has none; give --positives, or "
        "leave --figure out.\n"
    )


def test_what_cannot_be_drawn_costs_no_number(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("align_uniform.figures.plane.plane_figure", fails)
    command = ["compare", "x.npy", "y.npy", "--positives", "y.npy", "x.npy", "--figure", "plane"]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert "y − x" in printed.out
    assert "align-uniform: the figure (plane) could not be written: no fonts\n" in printed.err


def test_embeddings_of_different_dimensions_are_drawn_with_their_gaps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from align_uniform.figures import plane as module

    drawn: list[tuple[Sequence[module.PlanePoint], float | None]] = []
    plane = module.plane_figure

    def spy(points: Sequence[module.PlanePoint], optimum: float | None) -> Figure:
        drawn.append((points, optimum))
        return plane(points, optimum)

    monkeypatch.setattr(module, "plane_figure", spy)
    np.save("wide.npy", rows.unit(50, 12).numpy())
    command = ["compare", "x.npy", "wide.npy", "--positives", "y.npy", "wide.npy", "--figure", "plane"]
    assert main(command) == 0
    ((points, optimum),) = drawn
    assert optimum is None
    gaps = [measure("x.npy", "y.npy").uniform.gap, measure("wide.npy", "wide.npy").uniform.gap]
    assert [point.uniform for point in points] == gaps


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
                "--paired",
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
    assert "y − x (paired: as was said)" in printed.out
    assert sorted(path.name for path in folder.glob("plane.*")) == ["plane.png", "plane.svg"]


def test_measurements_are_compared_in_pairs_where_their_rows_are_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("names.txt").write_text("".join(f"item {i}\n" for i in range(50)))
    for name, source, kept in (("x", "x", True), ("y", "y", True), ("z", "y", False)):
        rows = ["--rows-out", f"{name}_rows.npz"] if kept else []
        assert main(["measure", f"{source}.npy", "--texts", "names.txt", "--json", *rows]) == 0
        Path(f"{name}.json").write_text(capsys.readouterr().out)
    document = printed_json(capsys, "compare", "x.json", "y.json", "z.json", "y.npy")
    assert [part["paired"] for part in document["differences"]] == [True, False, False]
    assert [part["pairing"] for part in document["differences"]] == [
        "the same items",
        "the numbers of each item of y are not at hand; keep them with --rows-out",
        "the order of the items is not known",
    ]
    errors = [part["uniform_stderr"] for part in document["differences"]]
    assert errors[0] > 0
    assert errors[0] != pytest.approx(errors[1], rel=1e-3)
    assert errors[1] == pytest.approx(errors[2])


def test_rows_of_another_measurement_are_not_taken_for_those_that_json_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders with files of the same names, and a file of rows that was replaced."""
    for name in ("x", "y"):
        Path(name).mkdir()
        assert main(["measure", f"{name}.npy", "--json", "--rows-out", f"{name}/rows.npz"]) == 0
        document = json.loads(capsys.readouterr().out)
        document["provenance"]["rows"] = "rows.npz"
        Path(name, "found.json").write_text(json.dumps(document))
    shutil.copy("x/rows.npz", "rows.npz")
    assert main(["compare", "x/found.json", "y/found.json", "--paired", "--json"]) == 0
    found, errors = capsys.readouterr()
    assert not errors
    (difference,) = json.loads(found)["differences"]
    assert difference["uniform_stderr"] > 0
    shutil.copy("x/rows.npz", "y/rows.npz")
    assert main(["compare", "x/found.json", "y/found.json", "--json"]) == 0
    found, errors = capsys.readouterr()
    assert "y/rows.npz has the rows of another measurement than y/found.json, and is not used." in errors
    assert not json.loads(found)["differences"][0]["paired"]


def test_files_of_rows_are_compared_in_pairs_if_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "x.npy", "y.npy"]) == 0
    printed = capsys.readouterr()
    assert "y − x (unpaired: the order of the items is not known)" in printed.out
    assert printed.err.endswith("align-uniform compare x.npy y.npy --paired\n")
    assert main(["compare", "x.npy", "y.npy", "--paired"]) == 0
    printed = capsys.readouterr()
    assert "y − x (paired: as was said)" in printed.out
    assert printed.err == ""


def suggested(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1].partition("item by item are smaller")[2]


def test_the_command_that_pairs_is_about_the_same_numbers_and_works(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a b.npy").write_bytes(Path("y.npy").read_bytes())
    options = [
        "--positives",
        "y.npy",
        "x.npy",
        "--names",
        "first",
        "second",
        "--t",
        "3",
        "--alpha",
        "1.5",
        "--device",
        "cpu",
    ]
    assert main(["compare", "x.npy", "a b.npy", *options, "--report", "page.html"]) == 0
    command = suggested(capsys).removeprefix(": ")
    assert shlex.split(command) == ["align-uniform", "compare", "x.npy", "a b.npy", *options[:6],
        "--t", "3.0", "--alpha", "1.5", "--device", "cpu", "--paired"]  # fmt: skip
    assert main(shlex.split(command)[1:]) == 0
    assert "second − first (paired: as was said)" in capsys.readouterr().out


def test_pairing_that_is_not_possible_is_not_suggested(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kept in (("x", []), ("y", ["--rows-out", "y_rows.npz"])):
        assert main(["measure", f"{name}.npy", "--json", *kept]) == 0
        Path(f"{name}.json").write_text(capsys.readouterr().out)
    assert main(["compare", "x.json", "y.json"]) == 0
    assert suggested(capsys) == (
        ", but y and x cannot be compared item by item: the numbers of each item of x are not at hand; keep "
        "them with --rows-out."
    )
    assert main(["measure", "x.npy", "--json", "--rows-out", "x_rows.npz"]) == 0
    Path("x.json").write_text(capsys.readouterr().out)
    assert main(["compare", "x.json", "y.json"]) == 0
    assert main(shlex.split(suggested(capsys).removeprefix(": "))[1:]) == 0


def test_other_numbers_of_items_cannot_be_paired(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("few.npy", rows.unit(20, 6).numpy())
    assert main(["compare", "x.npy", "few.npy", "--paired"]) == 1
    assert "few and x cannot be compared item by item: they have 20 and 50 items" in capsys.readouterr().err


def test_compare_writes_a_page_with_the_texts_of_rows(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "texts.txt").write_text("".join(f"text {row}\n" for row in range(50)))
    command = ["compare", "x.npy", "y.npy", "--positives", "y.npy", "x.npy", "--paired"]
    asked = [*command, "--report", "page.html", "--texts", "texts.txt"]
    assert main(asked) == 0
    assert "report: page.html" in capsys.readouterr().err
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "The same pairs side by side" in page
    assert "text 7" in page
    assert main(asked) == 1
    assert "page.html exists already; use --force" in capsys.readouterr().err
    assert main([*asked, "--force"]) == 0


@pytest.mark.usefixtures("measured_nothing")
def test_what_the_page_shows_is_checked_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "texts.txt").write_text("one\n")
    assert main(["compare", "x.npy", "y.npy", "--report", "page.html", "--texts", "texts.txt"]) == 1
    assert "one value for each of the 50 rows, got 1" in capsys.readouterr().err
    assert main(["compare", "x.npy", "y.npy", "--texts", "texts.txt"]) == 2
    assert "--report" in capsys.readouterr().err
    assert main(["compare", "x.npy", "y.npy", "--report", "none/page.html"]) == 1
    assert "no folder" in capsys.readouterr().err
