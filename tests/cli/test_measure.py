"""`align-uniform measure`: tables, pairs, reports, interruptions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from align_uniform import measure
from align_uniform.cli import main
from tests.cli.printed import printed_json
from tests.rows import unit


def test_measure_prints_a_table_with_alignment_and_uniformity_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "x.npy", "--positives", "y.npy", "--t", "2", "1"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "x: 50 rows of 6 features, exact"
    assert [line.split()[0] for line in lines[2:5]] == ["alignment", "relative", "uniformity"]
    assert printed.err == ""


def test_places_among_known_encoders_come_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "x.npy", "--positives", "y.npy"]) == 0
    assert (
        "\n\nAmong known encoders of all kinds (kind not known: see --kind):\nrelative"
        in capsys.readouterr().out
    )
    assert main(["measure", "x.npy", "--kind", "images"]) == 0
    paragraph = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert paragraph[0] == "Among known encoders of images:"
    expected = [str(place) for place in measure("x.npy").places("images") if place.key != "uniform.gap"]
    assert " ".join(paragraph[1:]).split() == " ".join(expected).split()
    assert printed_json(capsys, "measure", "x.npy", "--kind", "images")["provenance"]["kind"] == "images"


def test_the_json_of_measure_is_that_of_the_api(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = printed_json(
        capsys, "measure", "x.npy", "--positives", "y.npy", "--alpha", "1", "--labels", "labels.txt"
    )
    expected = json.loads(measure("x.npy", "y.npy", alpha=1, labels="labels.txt").to_json())
    for part in (document, expected):
        del part["provenance"]
    assert document == expected


@pytest.mark.parametrize(
    ("arguments", "of", "pairs"),
    [
        (["x.npy", "--pairs", "pairs.csv", "--threshold", "4"], "pairs with score > 4", 1),
        (["x.npy", "--pairs", "pairs.csv", "--threshold", "4", "--inclusive"], "pairs with score >= 4", 2),
        (["x.npy", "--pairs", "pairs.csv", "--all-pairs"], "pairs", 3),
        (["x.npy", "--pairs", "named.csv", "--ids", "ids.txt"], "pairs", 2),
        (
            ["xy.npz::x", "--positives", "xy.npz::y", "--ids", "ids.txt", "--positive-ids", "ids.txt"],
            "pairs of two towers",
            50,
        ),
        (["x.npy", "--labels", "labels.txt"], "same class", 392),
    ],
)
def test_pairs_come_from_tables_ids_and_labels(
    arguments: list[str], of: str, pairs: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    align = printed_json(capsys, "measure", *arguments)["align"]
    assert (align["of"], align["pairs"]) == (of, pairs)


def test_a_file_of_all_options_is_taken_with_those_that_have_no_effect(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "x.npy", "--print-config"]) == 0
    (folder / "options.yaml").write_text(capsys.readouterr().out)
    assert printed_json(capsys, "measure", "--config", "options.yaml")["name"] == "x"


def test_anchors_are_said_in_the_result(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = printed_json(capsys, "measure", "x.npy", "--method", "anchors", "--anchors", "20")
    assert document["provenance"]["method"] == "20 anchors"
    assert document["uniform"]["approximation_stderr"] > 0


def test_a_report_and_the_rows_are_written_beside_the_result(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "measure",
        "x.npy",
        "--positives",
        "y.npy",
        "--report",
        "x.html",
        "--rows-out",
        "x.npz",
        "--texts",
        "ids.txt",
    ]
    assert printed_json(capsys, *arguments)["provenance"]["rows"] == "x.npz"
    assert "u24" in Path("x.html").read_text(encoding="utf-8")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err == "align-uniform: x.html exists already; use --force to replace it.\n"
    assert printed.out == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert main([*arguments, "--force"]) == 0


def test_options_come_from_a_file_and_go_to_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("options.yaml").write_text("features: x.npy\nt: [3.0]\n")
    assert printed_json(capsys, "measure", "--config", "options.yaml")["uniform"]["t"] == 3
    assert main(["measure", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "anchors: 2000" in printed
    assert "features" not in printed  # which has no value
    assert main(["measure", "x.npy", "--t", "3", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "features: x.npy" in printed
    assert "method: exact" in printed


def test_an_interruption_leaves_the_anchors_result(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    np.save("many.npy", unit(2100, 3).float().numpy())
    monkeypatch.setattr("align_uniform.measuring.uniformity.exact_potentials", interrupted)
    assert main(["measure", "many.npy"]) == 130
    assert " anchors, the exact sum was interrupted" in capsys.readouterr().out
    monkeypatch.setattr("align_uniform.measuring.uniformity.anchor_potentials", interrupted)
    assert main(["measure", "many.npy"]) == 130
    assert capsys.readouterr() == ("", "align-uniform: interrupted.\n")


def test_torchrun_prints_one_result(folder: Path) -> None:
    alone = subprocess.run(
        [sys.executable, "-m", "align_uniform", "measure", "x.npy", "--json"], capture_output=True, check=True
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "align_uniform",
    ]
    shared = subprocess.run(
        [*command, "measure", "x.npy", "--json"], capture_output=True, check=True, timeout=240
    )
    documents = [json.loads(done.stdout) for done in (alone, shared)]
    assert [document["provenance"]["processes"] for document in documents] == [1, 2]
    assert documents[1]["uniform"]["value"] == pytest.approx(
        documents[0]["uniform"]["value"], rel=1e-6
    )  # float32


def test_pairs_name_the_ids_of_a_file_of_one_vector_for_each_id(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = unit(12, 4)
    for names in ([f"item {i}" for i in range(12)], [*range(20, 8, -1)]):
        torch.save(dict(zip(names, x, strict=True)), "byid.pt")
        Path("named.csv").write_text(f"x,y\n{names[0]},{names[5]}\n{names[7]},{names[2]}\n")
        Path("numbered.csv").write_text("x,y\n0,5\n7,2\n")
        np.save("rows.npy", x.numpy())
        values = []
        for arguments in (["byid.pt", "--pairs", "named.csv"], ["rows.npy", "--pairs", "numbered.csv"]):
            assert main(["measure", *arguments, "--json"]) == 0
            values.append(json.loads(capsys.readouterr().out)["align"]["value"])
        assert values[0] == values[1]
    assert main(["measure", "byid.pt", "--pairs", "numbered.csv"]) == 1
    assert "has 2 ids that no row has, the first is 0" in capsys.readouterr().err


def test_first_features_are_printed_kept_and_gated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["measure", "x.npy", "--positives", "y.npy", "--dims", "2", "4"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = measure("x.npy", "y.npy", dims=[2, 4])
    assert "\n".join(expected.prefix_lines()) in "\n".join(lines)
    document = printed_json(capsys, *words)
    assert document["prefixes"] == expected.to_dict()["prefixes"]
    limit = expected.prefixes[2].uniform.gap - 0.001
    assert main([*words, "--fail-if", f"prefixes.2.uniform.gap > {limit}"]) == 3
    assert f"prefixes.2.uniform.gap is {expected.prefixes[2].uniform.gap:g}" in capsys.readouterr().err
    assert main([*words, "--fail-if", "prefixes.2.changes.align.relative > 9"]) == 0
    capsys.readouterr()
    assert main([*words, "--fail-if", "prefixes.2.gap > 1"]) == 2
    assert "no result has a number prefixes.2.gap; near ones are" in capsys.readouterr().err


def test_wrong_numbers_of_features_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "x.npy", "--dims", "4", "7"]) == 1
    said = "align-uniform: --dims must be from 1 to 6, the number of features, got 7; leave it out."
    assert capsys.readouterr().err.strip() == said
