"""A measurement as JSON: what is not finite, what another version wrote, and a field that is missing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from align_uniform import Measurement
from tests.measuring.examples import example


def test_what_is_not_finite_is_null() -> None:
    result = example()
    broken = replace(result, w2=math.nan, uniform=replace(result.uniform, z=-math.inf))
    document = json.loads(broken.to_json())
    assert (document["w2"], document["uniform"]["z"]) == (None, None)


def read(document: dict[str, Any]) -> Measurement:
    return Measurement.from_json(json.dumps(document), "a.json")


def test_json_of_another_version_of_the_package_is_read() -> None:
    result = example()
    newer = json.loads(result.to_json())
    for part in (newer, newer["align"], newer["uniform"], newer["uniforms"][1], newer["crowded"][0]):
        part["of_a_later_version"] = {"value": 1}
    assert read(newer) == result
    older = json.loads(result.to_json())
    for part, names in (
        (older, ["warnings", "worst_pairs", "crowded", "provenance", "towers", "tolerance", "uniforms"]),
        (older["align"], ["relative_stderr", "relative"]),
        (older["uniform"], ["equivalent_dim_stderr", "by_population"]),
    ):
        for name in names:
            del part[name]
    found = read(older)
    assert found.align is not None
    assert (found.align.relative, found.align.relative_stderr, found.align.value) == (
        None,
        None,
        result.align.value if result.align else None,
    )
    assert (found.warnings, found.provenance, found.towers, found.uniform.by_population) == ((), {}, None, ())
    assert found.uniforms == (found.uniform,)
    assert "relative" not in str(found)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["rankme"], None, "a.json lacks a field of a measurement, 'rankme'; measure again"),
        (["uniform", "gap"], None, "lacks a field of a measurement, 'uniform.gap'"),
        (["crowded", 0, "row"], None, "lacks a field of a measurement, 'crowded.0.row'"),
        (["norms"], 3, "a.json is not what a measurement looks like: norms must be an object, got 3"),
        (["warnings"], "none", "warnings must be a list, got 'none'"),
    ],
)
def test_a_field_that_cannot_be_done_without_is_named(path: list[Any], value: Any, message: str) -> None:
    document = json.loads(example().to_json())
    part = document
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    if value is not None:
        part[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        read(document)


def test_what_was_not_finite_is_not_a_number_when_it_comes_back() -> None:
    result = example()
    broken = replace(result, w2=math.inf, uniform=replace(result.uniform, z=-math.inf, equivalent_dim=None))
    found = Measurement.from_json(broken.to_json())
    assert math.isnan(found.w2)
    assert math.isnan(found.uniform.z)
    assert found.uniform.equivalent_dim is None
    assert "W2 to uniform         nan" in str(found)
