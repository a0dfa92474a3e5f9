"""The command: its surface, its exit codes, and that nothing is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align_uniform import __version__, measure
from align_uniform.cli import main
from align_uniform.recipes import demo
from align_uniform.recipes.demo_options import DemoOptions
from align_uniform.recipes.judge.options import KnnOptions, LinearOptions
from align_uniform.recipes.pretrain import moco, two_view
from tests import rows

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
    assert capsys.readouterr().err == "align-uniform: steps must be at least 1, got 0.\n"


def test_options_come_from_a_file_and_can_be_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("seeds: 7\nsteps: 9\n")
    assert main(["demo", "--config", str(config), "--steps", "11", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "seeds: 7" in printed
    assert "steps: 11" in printed


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


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["demo"], DemoOptions),
        (["pretrain", "two-view"], two_view.TwoViewOptions),
        (["pretrain", "moco"], moco.MocoOptions),
        (["evaluate", "linear"], LinearOptions),
        (["evaluate", "knn"], KnnOptions),
    ],
)
def test_the_help_says_what_each_option_is(
    words: list[str], options: type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    assert main([*words, "--help"]) == 0
    entries = capsys.readouterr().out.partition("options:")[2].split("\n  --")
    told = {entry.split()[0].rstrip(","): " ".join(entry.split()) for entry in entries}
    for field in fields(options):
        option = field.name.replace("_", "-")
        described = told[option].replace(f", --no-{option}", "")
        assert len(described.split()) > 3, described


def test_python_dash_m_is_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "align_uniform", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert __version__ in result.stdout


def test_without_the_extra_one_line_names_the_pip_command() -> None:
    code = "import sys; sys.modules['rich'] = None\nfrom align_uniform.__main__ import main\nsys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "measure", "x.npy"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 1
    assert result.stderr == "align-uniform: rich is missing; run: pip install 'align-uniform[cli]'\n"


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
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from align_uniform.__main__ import main\nsys.exit(main())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert (
        result.stderr == f"align-uniform: {library} is missing; run: pip install 'align-uniform[{extra}]'\n"
    )


# ---------------------------------------------------------------------------------------------------- measure


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of embeddings, and where the command is run."""
    x, y = (rows.unit(50, 6, seed=seed).float().numpy() for seed in (0, 1))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    (tmp_path / "pairs.csv").write_text("x,y,score\n0,1,5\n2,3,4\n4,9,1\n")
    (tmp_path / "named.csv").write_text("x,y\nu0,u1\nu7,u3\n")
    (tmp_path / "ids.txt").write_text("".join(f"u{i % 25}\n" for i in range(50)))
    (tmp_path / "labels.txt").write_text("".join(f"class {i % 3}\n" for i in range(50)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_measure_prints_a_table_with_alignment_and_uniformity_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "x.npy", "--positives", "y.npy", "--t", "2", "1"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "x: 50 rows of 6 features, exact"
    assert [line.split()[0] for line in lines[2:5]] == ["alignment", "relative", "uniformity"]
    assert printed.err == ""


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
        (["x.npy", "--pairs", "pairs.csv"], "pairs", 3),
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
            "column x of named.csv must be row numbers, from 0; give --ids",
        ),
        (
            ["measure", "x.npy", "--pairs", "pairs.csv", "--ids", "ids.txt"],
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


def test_options_come_from_a_file_and_go_to_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("options.yaml").write_text("features: x.npy\nt: [3.0]\n")
    assert printed_json(capsys, "measure", "--config", "options.yaml")["uniform"]["t"] == 3
    assert main(["measure", "x.npy", "--t", "3", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "features: x.npy" in printed
    assert "method: exact" in printed


def test_an_interruption_leaves_the_anchors_result(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("align_uniform.measuring.uniformity.exact_potentials", interrupted)
    assert main(["measure", "x.npy", "--anchors", "20"]) == 130
    assert "20 anchors, the exact sum was interrupted" in capsys.readouterr().out
    monkeypatch.setattr("align_uniform.measuring.uniformity.anchor_potentials", interrupted)
    assert main(["measure", "x.npy", "--anchors", "20"]) == 130
    assert capsys.readouterr() == ("", "align-uniform: interrupted.\n")


def test_a_reader_that_has_enough_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m align_uniform measure x.npy --json | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("{\n", "", 0)


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


# ---------------------------------------------------------------------------------------------------- compare


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
