"""Every number stands once, and the table, the report, `compare`, `scalars` and the documentation read it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from align_uniform import Measurement, measure
from align_uniform.cli import main
from align_uniform.measuring import quantities
from align_uniform.measuring.quantities import QUANTITIES, Quantity, fixed, quantity, with_error
from align_uniform.report import report_html
from tests.rows import cone, unit

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "measuring.md"


@cache
def measurements() -> list[Measurement]:
    """One of each kind: together they have every number."""
    x, y = unit(60, 8), unit(60, 8, seed=1)
    return [
        measure(x, y, t=[2, 1]),
        measure(x, y[:50], pairs=[[0, 1], [2, 3]]),
        measure(x, labels=[number // 20 for number in range(60)]),
        measure(x, method="anchors", anchors=20),
        measure(repeated_cone(), repeated_cone().flip(0)),
    ]


def repeated_cone() -> Tensor:
    """Rows in a cone, one of them twice."""
    rows = cone(60, 8)
    rows[1] = rows[0]
    return rows


def test_an_error_decides_the_digits() -> None:
    assert with_error(-2.92712, 0.0213) == "-2.927 ± 0.021"
    assert with_error(0.123456, 0.00042) == "0.12346 ± 0.00042"
    assert with_error(31.285, 0.614) == "31.29 ± 0.61"
    assert with_error(1.5, None) == "1.500"
    assert with_error(1.5, math.nan) == "1.500"
    assert fixed(-0.0001) == "0.000"


# ------------------------------------------------------------------------------------------------ the records


def test_every_key_and_every_label_stands_once() -> None:
    assert len({record.key for record in QUANTITIES}) == len(QUANTITIES)
    assert len({record.label for record in QUANTITIES}) == len(QUANTITIES)
    assert quantity("uniform.gap").label == "gap"


def test_every_record_has_a_value_and_every_error_too_in_some_measurement() -> None:
    for record in QUANTITIES:
        assert any(record.value(each) is not None for each in measurements()), record.key
        assert not record.errors or any(record.error(each) is not None for each in measurements()), record.key


def test_an_error_is_all_errors_together() -> None:
    sampled = measurements()[3]
    assert sampled.uniform.approximation_stderr > 0
    assert quantity("uniform").error(sampled) == sampled.uniform.total_stderr
    few = measure(unit(3, 8))
    assert quantity("uniform").error(few) is None
    assert quantity("uniform").text(few) == fixed(few.uniform.value)


def test_definitions_are_phrases_and_cautions_are_sentences() -> None:
    for record in QUANTITIES:
        assert re.fullmatch(r"[\dA-Za-z].*[^.]", record.meaning), record.key
        assert record.caution == "" or re.fullmatch(r"[A-Z].*\.", record.caution), record.key


def test_the_relative_alignment_has_its_error_wherever_it_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = measurements()[0]
    assert result.align is not None
    assert result.align.relative is not None
    expected = with_error(result.align.relative, result.align.relative_stderr)
    assert "±" in expected
    assert expected in str(result)
    assert expected in report_html(result)
    assert expected in compared(result, tmp_path, capsys)


# ------------------------------------------------------------------------------------------------ its readers


def compared(result: Measurement, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `compare` prints of a measurement and itself."""
    path = folder / "a.json"
    path.write_text(result.to_json(), encoding="utf-8")
    assert main(["compare", str(path), str(path)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("number", range(5))
def test_scalars_are_the_numbers_of_the_json(number: int) -> None:
    result = measurements()[number]
    document = json.loads(result.to_json())
    scalars = result.scalars("val/")
    for key, value in scalars.items():
        part: Any = document
        for name in key.removeprefix("val/").split("."):
            part = part[int(name)] if isinstance(part, list) else part[name]
        assert (part["value"] if isinstance(part, dict) else part) == value, key
        assert type(value) is float


def test_scalars_have_every_number_and_its_error_at_every_t() -> None:
    keys = {key for each in measurements() for key in each.scalars()}
    assert {
        "align", "align.stderr", "align.relative", "align.relative_stderr", "uniform", "uniform.stderr",
        "uniform.approximation_stderr", "uniform.gap", "uniform.equivalent_dim", "uniforms.1",
        "uniforms.1.gap", "uniforms.1.stderr", "tolerance", "tolerance.stderr", "towers.rows.1", "rankme",
        "w2_floor", "norms.largest", "duplicates.near", "n",
    } <= keys  # fmt: skip
    assert "uniforms.0" not in keys
    assert "uniforms.1.rankme" not in keys


@dataclass(frozen=True)
class Wider(Measurement):
    """A measurement with one number more."""

    brightness: float = 0.25
    brightness_stderr: float = 0.5


def test_a_record_is_all_that_a_number_needs_to_be_shown_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up = Quantity(
        "brightness",
        "glow of the rows",
        "Shape",
        "light that the rows give",
        note=lambda m: f"of at most {m.n} candles",
        caution="It is made up.",
        errors=("brightness_stderr",),
        faces=frozenset({"table", "report", "compare", "scalars"}),
    )
    result = Wider(**vars(measurements()[0]))
    before = str(result), report_html(result), compared(result, tmp_path, capsys)
    assert not any("glow" in text for text in before)
    monkeypatch.setattr(quantities, "QUANTITIES", (*QUANTITIES, made_up))
    monkeypatch.setattr("align_uniform.measuring.measurement.Measurement", Wider)
    assert re.search(r"glow of the rows +0\.25 ± 0\.50 +of at most 60 candles", str(result))
    page = report_html(result)
    assert "glow of the rows" in page
    assert "light that the rows give; of at most 60 candles" in page
    table = compared(result, tmp_path, capsys)
    assert "glow" in table
    assert "0.25 ± 0.50" in table
    assert result.scalars()["brightness"] == 0.25
    assert result.scalars()["brightness_stderr"] == 0.5
    assert (
        "| glow of the rows | `brightness` | light that the rows give | It is made up. |"
        in quantities.markdown_table()
    )


def test_a_number_that_a_measurement_lacks_is_left_out() -> None:
    alone = measure(unit(20, 8))
    assert "alignment" not in str(alone)
    assert not any(key.startswith(("align", "towers", "tolerance")) for key in alone.scalars())
    beyond = replace(alone, uniform=replace(alone.uniform, equivalent_dim=None))
    assert "uniform.equivalent_dim" not in beyond.scalars()


def test_the_documentation_has_the_table_of_all_numbers() -> None:
    assert quantities.markdown_table() in DOCUMENTATION.read_text(encoding="utf-8"), (
        "docs/measuring.md must have this table:\n" + quantities.markdown_table()
    )
