"""The published JSON Schemas: they are those of the dataclasses, and whatever is written follows them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from align_uniform import compare, drift, measure
from align_uniform.measuring import schema
from tests import json_schema
from tests.measuring.examples import example
from tests.rows import cone, normal, unit

RESULTS = Path(__file__).parents[2] / "examples" / "results"


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_files_are_those_of_the_dataclasses(kind: str) -> None:
    assert schema.path(kind).read_text(encoding="utf-8") == schema.text(kind), (
        "a field has changed; write the files again: python -m align_uniform.measuring.schema"
    )


@pytest.mark.parametrize(
    "made",
    [
        lambda: example(),
        lambda: example(method="anchors", anchors=20),
        lambda: measure(unit(3, 8)),
        lambda: measure(unit(60, 8), labels=[row // 20 for row in range(60)]),
        lambda: measure(unit(60, 8), unit(50, 8, seed=1), pairs=[[0, 1], [2, 3]]),
        lambda: measure(cone(60, 8), cone(60, 8).flip(0)),
        lambda: measure(unit(40, 2).repeat(2, 1)),
        lambda: measure(7 * normal(60, 8), normalize=False, groups=[row // 2 for row in range(60)]),
    ],
)
def test_a_measurement_follows_its_schema(made: Callable[[], Any]) -> None:
    found = made()
    json_schema.check(json.loads(found.to_json()))
    json_schema.check(found.to_dict())


def test_numbers_that_are_not_finite_follow_the_schema() -> None:
    result = example()
    json_schema.check(replace(result, w2=math.nan, uniform=replace(result.uniform, z=math.inf)).to_dict())


@pytest.mark.parametrize("name", ["sentences", "images"])
def test_recorded_encoders_follow_the_schema(name: str) -> None:
    document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    for encoder in document["encoders"]:
        json_schema.check(encoder["measurement"])


def test_recorded_verdicts_follow_the_schema() -> None:
    document = json.loads((RESULTS / "verdicts.json").read_text(encoding="utf-8"))
    assert document["measurements"]
    for measurement in document["measurements"].values():
        json_schema.check(measurement)


def test_a_comparison_and_a_drift_follow_their_schemas() -> None:
    x, y = unit(60, 8), unit(60, 8, seed=1)
    found = compare(x, y, x + 1, positives=[y, x, x], paired=True)
    json_schema.check(json.loads(found.to_json()), "comparison")
    json_schema.check(json.loads(json.dumps(found.to_dict([0.5, 0.25, 0.75]))), "comparison")
    json_schema.check(json.loads(drift(x, y + 1).to_json()), "drift")
    json_schema.check(json.loads(drift(x, unit(60, 4)).to_json()), "drift")


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("n",), "60", ".n must be integer, got '60'"),
        (("n",), None, ".n must be integer, got None"),
        (("schema_version",), 3, ".schema_version must be 2, got 3"),
        (("uniform", "gap"), "wide", ".uniform.gap must be number or null, got 'wide'"),
        (("align", "of"), 2, ".align.of must be string, got 2"),
        (("norms", "normalized"), 1, ".norms.normalized must be boolean, got 1"),
        (("worst_pairs",), {}, ".worst_pairs must be array, got {}"),
        (("brightness",), 1.0, ".brightness is not in the schema"),
    ],
)
def test_another_document_is_refused(path: tuple[str, ...], value: Any, fault: str) -> None:
    document = example().to_dict()
    part = document
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    assert list(json_schema.faults(document, json_schema.published("measurement"))) == [fault]


def test_a_missing_field_is_refused_unless_older_json_may_lack_it() -> None:
    document = example().to_dict()
    del document["hubs"], document["findings"], document["align"]["far"]
    json_schema.check(document)
    del document["rankme"]
    assert list(json_schema.faults(document, json_schema.published("measurement"))) == [".rankme is missing"]


def test_every_field_is_described() -> None:
    for kind in schema.KINDS:
        whole = schema.schema(kind)
        for part in (whole, *whole["$defs"].values()):
            assert all("description" in each for each in part["properties"].values())
