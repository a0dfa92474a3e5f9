"""The result of a measurement: printed, and kept as JSON."""

from __future__ import annotations

import json

import pytest

from align_uniform import Measurement
from tests.measuring.examples import example


def test_the_function_is_not_shadowed_by_a_module() -> None:
    import align_uniform.measuring.measurement

    assert callable(align_uniform.measure)


def test_json_holds_the_promised_fields_and_comes_back_equal() -> None:
    result = example()
    document = json.loads(result.to_json())
    assert document["schema_version"] == 1
    assert {"n", "dim", "align", "uniform", "rankme", "w2", "provenance"} <= document.keys()
    assert {"value", "stderr"} <= document["align"].keys()
    assert {"value", "stderr", "optimum", "gap", "equivalent_dim"} <= document["uniform"].keys()
    assert [part["t"] for part in document["uniforms"]] == [2, 1]
    assert document["provenance"].keys() >= {
        "align_uniform",
        "torch",
        "method",
        "sources",
        "seconds",
        "device",
    }
    assert Measurement.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "a.json must be the JSON of a measurement"),
        ("[1]", "a.json must be the JSON of a measurement"),
        ("{}", "a.json must be the JSON of a measurement"),
        ('{"schema_version": 99}', "a.json has schema version 99, but this program reads 1"),
        ('{"schema_version": 1, "n": 3}', "a.json lacks a field"),
    ],
)
def test_other_json_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measurement.from_json(text, "a.json")


def test_the_table_begins_with_alignment_and_uniformity() -> None:
    lines = str(example(name="ours")).splitlines()
    assert lines[0] == "ours: 60 rows of 8 features, exact"
    labels = [line.split("  ")[0] for line in lines[2:]]
    assert labels[:3] == ["alignment", "relative alignment", "uniformity"]
    notes = [line for line in lines if line.startswith("uniformity")]
    assert ["t = 2" in notes[0], "t = 1" in notes[1]] == [True, True]
