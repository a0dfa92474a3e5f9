"""The result of a measurement: printed, and kept as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from align_uniform import Measurement, measure
from tests.measuring.examples import example
from tests.rows import unit

SCHEMA_1 = sorted((Path(__file__).parent / "data").glob("schema_1_*.json"))
"""Files as version 0.1.0 wrote them: two views with labels at two t, and two towers from anchors."""


def test_the_function_is_not_shadowed_by_a_module() -> None:
    import align_uniform.measuring.measurement

    assert callable(align_uniform.measure)


def test_json_holds_the_promised_fields_and_comes_back_equal() -> None:
    result = example()
    document = json.loads(result.to_json())
    assert document["schema_version"] == 2
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


def test_json_without_a_hash_of_groups_is_read() -> None:
    result = measure(unit(60, 8), groups=[row // 2 for row in range(60)])
    document = json.loads(result.to_json())
    assert document["items"].pop("groups") == result.items.groups
    found = Measurement.from_json(json.dumps(document))
    assert found.items.groups is None
    assert found == replace(result, items=replace(result.items, groups=None))


def test_the_json_names_what_stands_out() -> None:
    cone = replace(example(), mean_cosine=0.75)
    found = json.loads(cone.to_json())["findings"]
    assert found[0].keys() == {
        "name", "severity", "number", "threshold", "side", "quantity", "what", "advice",
    }  # fmt: skip
    assert {"name": "cone", "severity": "problem", "number": 0.75, "threshold": 0.5}.items() <= (
        next(finding for finding in found if finding["name"] == "cone").items()
    )
    assert Measurement.from_json(cone.to_json()).findings == cone.findings
    assert json.loads(measure(unit(60, 8)).to_json())["findings"] == []


@pytest.mark.parametrize("path", SCHEMA_1, ids=lambda path: path.stem)
def test_every_earlier_schema_is_read(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    result = Measurement.from_json(path.read_text(encoding="utf-8"))
    again = json.loads(result.to_json())
    assert again["schema_version"] == 2
    for part in ("align", "uniform", "tolerance", "towers", "duplicates", "norms"):
        if document[part] is not None:
            assert document[part].items() <= again[part].items()
    assert str(result).startswith(f"{document['name']}: ")
    assert Measurement.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "a.json must be the JSON of a measurement"),
        ("[1]", "a.json must be the JSON of a measurement"),
        ("{}", "a.json must be the JSON of a measurement"),
        ('{"schema_version": 99}', "a.json has schema version 99, but this program reads 1 and 2"),
        ('{"schema_version": 1, "n": 3}', "a.json lacks a field"),
    ],
)
def test_other_json_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measurement.from_json(text, "a.json")


def test_the_table_ends_with_the_verdict() -> None:
    x = unit(60, 8)
    assert str(measure(x)).splitlines()[-1] == "Nothing stands out."
    cone = replace(measure(x), mean_cosine=0.75, warnings=("it is made up.",))
    assert str(cone).splitlines()[-3:] == ["warning: it is made up.", "", "Something is wrong: cone."]


def test_the_table_begins_with_alignment_and_uniformity() -> None:
    lines = str(example(name="ours")).splitlines()
    assert lines[0] == "ours: 60 rows of 8 features, exact"
    labels = [line.split("  ")[0] for line in lines[2:]]
    assert labels[:3] == ["alignment", "relative alignment", "uniformity"]
    notes = [line for line in lines if line.startswith("uniformity")]
    assert ["t = 2" in notes[0], "t = 1" in notes[1]] == [True, True]
