"""The result of a measurement: printed, kept as JSON, compared."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform import Measurement, measure
from align_uniform.measuring.results import Details
from tests import rows


def example(seed: int = 0, noise: float = 0.3, **options: object) -> Measurement:
    x = rows.normal(60, 8, seed=seed)
    return measure(x, x + noise * rows.normal(60, 8, seed=99), t=[2, 1], top=3, **options)  # type: ignore[arg-type]


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


def test_what_is_not_finite_is_null() -> None:
    result = example()
    broken = replace(result, w2=math.nan, uniform=replace(result.uniform, z=-math.inf))
    document = json.loads(broken.to_json())
    assert (document["w2"], document["uniform"]["z"]) == (None, None)


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


def test_details_survive_a_file(tmp_path: Path) -> None:
    details = example().details
    assert details is not None
    details.save(tmp_path / "rows.npz")
    loaded = Details.load(tmp_path / "rows.npz")
    for name, value in vars(details).items():
        torch.testing.assert_close(getattr(loaded, name), value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npz"]
    (tmp_path / "other.npz").write_bytes((tmp_path / "rows.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"other\.npz must hold the rows of a measurement"):
        Details.load(tmp_path / "other.npz")


def test_the_same_rows_are_compared_in_pairs() -> None:
    a, b = example(noise=0.3), example(noise=0.4)
    paired = a - b
    apart = a - replace(b, details=None)
    assert paired.paired
    assert not apart.paired
    assert paired.uniform == apart.uniform == a.uniform.value - b.uniform.value
    assert paired.align == apart.align
    assert paired.align_stderr is not None
    assert apart.align_stderr is not None
    assert paired.align_stderr < apart.align_stderr
    itself = a - a
    assert (itself.uniform, itself.uniform_stderr, itself.align, itself.align_stderr) == (0, 0, 0, 0)
    assert "(paired)" in str(paired)


def test_paired_errors_are_those_of_repeated_samples() -> None:
    """The spread of the difference of two encoders over 200 samples of the same items is what one sample says
    it is.
    """
    mixing = rows.normal(8, 8, seed=5)

    def difference(seed: int) -> tuple[float, float]:
        z = rows.normal(120, 8, seed=seed) + 1
        found = measure(z) - measure(z + 0.5 * z @ mixing / 8)
        assert found.uniform_stderr is not None
        return found.uniform, found.uniform_stderr

    values, errors = torch.tensor([difference(seed) for seed in range(200)], dtype=torch.float64).unbind(1)
    assert 0.85 < float(errors.mean() / values.std()) < 1.2


def test_different_settings_are_not_compared() -> None:
    with pytest.raises(ValueError, match="both must be measured at one t, got 2 and 3"):
        _ = example() - measure(rows.normal(60, 8), t=3)
    with pytest.raises(ValueError, match="both must have one alpha, got 2 and 1"):
        _ = example() - example(alpha=1)


def test_other_items_are_compared_unpaired() -> None:
    assert not (measure(rows.normal(60, 8)) - measure(rows.normal(50, 8))).paired
    assert not (
        measure(rows.normal(60, 8)) - measure(rows.normal(60, 8), method="anchors", anchors=20)
    ).paired
