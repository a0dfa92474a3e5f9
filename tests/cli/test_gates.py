"""Conditions on results: what they say, and that all was printed and written before they fail a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from align_uniform import Measurement, measure
from align_uniform.cli import main
from align_uniform.cli.gates import Condition, check_paths, failures_of_numbers, numbers_of
from align_uniform.cli.parser import UsageError
from tests import rows

# ------------------------------------------------------------------------------------------ single conditions


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a.b > 2", True), ("a.b>2.5", False), ("a.b >= 2.5", True), ("a.b < 3e0", True), ("a.b <= 2", False),
        ("a.b == 2.5", True), ("a.b != 2.5", False), (" a.b!=2 ", True), ("a.c.1 < -1", True),
        ("a.d > 8", True), ("a.d.value > 8", True), ("a.b < inf", True),
    ],
)  # fmt: skip
def test_a_condition_compares_a_number_with_a_limit(text: str, holds: bool) -> None:
    document = {"a": {"b": 2.5, "c": [0, -2], "d": {"value": 9, "stderr": 1}}}
    (failure,) = failures_of_numbers(document, [text])
    path = Condition.read(text).path
    assert failure == (f"{path} is {numbers_of(document)[path]:g} (--fail-if {text!r})" if holds else "")


@pytest.mark.parametrize("text", ["", "uniform.gap", "> 3", "a > b", "a = 3", "a > nan", "a > 1 > 2", "a 3"])
def test_what_is_no_condition_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r'such as "uniform.gap > 0.5", got'):
        Condition.read(text)


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("uniform.gaps", "uniform.gap"),
        ("rank", "rankme"),
        ("gap", "uniform.gap"),
        ("relative", "align.relative"),
    ],
)
def test_a_path_that_no_result_has_is_refused_with_near_ones(path: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"no result has a number {path}; near ones are .*\b{near}\b"):
        check_paths([f"{path} > 1"], Measurement)


def test_every_number_of_a_result_may_have_a_condition() -> None:
    x = rows.cone(60, 8)
    for result in (
        measure(x, x.flip(0), t=[2, 1], labels=[k % 3 for k in range(60)]),
        measure(x, x[:50], pairs=[[0, 1], [2, 3]]),
    ):
        found = numbers_of(json.loads(result.to_json()))
        assert {
            "uniforms.0.by_population.1",
            "norms.largest",
            "provenance.seed",
            "worst_pairs.1.x",
        } <= found.keys()
        assert result.scalars().keys() <= found.keys()
        check_paths([f"{path} > 0" for path in found], Measurement)


# --------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def cone(folder: Path) -> None:
    np.save(folder / "cone.npy", rows.cone(60, 6, 1.5).float().numpy())


@pytest.mark.usefixtures("cone")
@pytest.mark.parametrize("how", [[], ["--json"], ["--report", "cone.html"]], ids=["table", "json", "report"])
def test_a_condition_fails_a_command_after_everything_was_printed_and_written(
    how: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "cone.npy", "--t", "2", *how]) == 0
    plain = capsys.readouterr()
    Path("cone.html").unlink(missing_ok=True)
    conditions = [
        "--fail-if",
        "uniform.gap > 0.1",
        "n > 100",
        "--fail-if",
        "dim == 6",
        "--fail-on",
        "problem",
    ]
    assert main(["measure", "cone.npy", "--t", "2", *how, *conditions]) == 3
    gated = capsys.readouterr()
    if "--json" in how:
        assert json.loads(gated.out)["uniform"] == json.loads(plain.out)["uniform"]
    else:
        assert gated.out == plain.out
    assert Path("cone.html").exists() == ("--report" in how)
    lines = gated.err.splitlines()[len(plain.err.splitlines()) :]
    assert lines[0].startswith("align-uniform: cone: mean cosine of two distinct rows is 0.")
    assert lines[0].endswith(", above 0.5 (problem, --fail-on problem)")
    assert lines[-2].startswith("align-uniform: uniform.gap is ")
    assert lines[-2].endswith(" (--fail-if 'uniform.gap > 0.1')")
    assert lines[-1] == "align-uniform: dim is 6 (--fail-if 'dim == 6')"


def test_conditions_that_do_not_hold_change_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passed = ["--fail-on", "warning", "--fail-if", "uniform.gap > 0.5", "--fail-if", "uniform > 0"]
    assert main(["measure", "x.npy", *passed]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("cone")
def test_the_least_severity_counts(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    np.save(folder / "weak.npy", rows.cone(300, 16, 0.7).float().numpy())
    assert main(["measure", "weak.npy", "--fail-on", "problem"]) == 0
    capsys.readouterr()
    assert main(["measure", "weak.npy", "--fail-on", "warning"]) == 3
    assert "(warning, --fail-on warning)" in capsys.readouterr().err
    np.save(folder / "long.npy", rows.unit(60, 6).numpy() * np.linspace(1, 3, 60)[:, None])
    assert main(["measure", "long.npy", "--fail-on", "warning"]) == 0  # a note is no fault


def test_a_wrong_condition_is_a_usage_error_before_anything_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for condition, message in (
        ("uniform.gap", "--fail-if takes a number of the JSON"),
        ("uniform.gab > 1", "no result has a number uniform.gab; near ones are uniform.gap"),
        ("name > 1", "no result has a number name"),
        ("uniform.4x > 1", "no result has a number uniform.4x"),
    ):
        assert main(["measure", "x.npy", "--fail-if", condition]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert message in printed.err
        assert printed.err.count("\n") == 1


def test_a_number_that_was_not_measured_is_a_usage_error_after_everything_was_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "x.npy", "--fail-if", "align.relative > 0.5"]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("x: 50 rows")
    assert printed.err.startswith(
        "align-uniform: --fail-if 'align.relative > 0.5': the result has no number align.relative"
    )


def test_conditions_come_from_a_file_of_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("gates.yaml").write_text('fail_if: ["n == 50", "dim > 9"]\n')
    assert main(["measure", "x.npy", "--config", "gates.yaml"]) == 3
    assert capsys.readouterr().err == "align-uniform: n is 50 (--fail-if 'n == 50')\n"


def test_differences_have_conditions_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compared = ["compare", "x.npy", "y.npy"]
    assert main([*compared, "--fail-if", "differences.0.uniform > 5"]) == 0
    capsys.readouterr()
    assert (
        main([*compared, "--fail-if", "differences.0.uniform < 5", "--fail-if", "embeddings.1.n != 50"]) == 3
    )
    printed = capsys.readouterr()
    assert "y − x" in printed.out
    last = printed.err.splitlines()[-1]
    assert last.startswith("align-uniform: differences.0.uniform is ")
    assert last.endswith(" (--fail-if 'differences.0.uniform < 5')")
    assert main([*compared, "--fail-if", "differences.0.uniforn < 5"]) == 2
    assert "near ones are differences.0.uniform" in capsys.readouterr().err
