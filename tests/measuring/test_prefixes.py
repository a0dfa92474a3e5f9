"""First features: their numbers are those of rows that were cut and normalised before they were measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from align_uniform.measuring import prefixes
from align_uniform.measuring.derived import main_numbers
from align_uniform.measuring.prefix_result import COMPARED, SHOWN, Prefix
from align_uniform.measuring.quantities import quantity
from tests import json_schema, rows

X = 3 * rows.cone(60, 8)
Y = normalize(X, dim=-1) + 0.5 * rows.normal(60, 8, seed=3) / math.sqrt(8)
LABELS = [number % 3 for number in range(60)]
PAIRS = [[number, 59 - number] for number in range(40)]
VIEWS = torch.stack([X, Y, Y.roll(1, 1)])


def numbers(found: Prefix | Measurement) -> dict[str, tuple[float, float | None]]:
    """Return the numbers that tables of first features have, with their errors."""
    every = {key: (quantity(key).value(found), quantity(key).error(found)) for key in SHOWN}
    return {key: pair for key, pair in every.items() if pair[0] is not None}


def flat(found: dict[str, tuple[float, float | None]]) -> dict[str, float]:
    return {f"{key} {place}": each for key, pair in found.items() for place, each in enumerate(pair) if each}


def cut(part: Any, dim: int) -> Any:
    return part[..., :dim] if isinstance(part, Tensor) else part


CASES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "features": ((X,), {}),
    "two views": ((X, Y), {}),
    "three views": ((VIEWS,), {}),
    "classes": ((X,), {"labels": LABELS}),
    "pairs and classes": ((X,), {"pairs": PAIRS, "labels": LABELS}),
    "towers": ((X, Y[:50]), {"pairs": [[number, number + 5] for number in range(40)]}),
    "ids": ((X, Y), {"ids": ([n // 2 for n in range(60)], [n // 3 for n in range(60)])}),
    "groups": ((X, Y), {"groups": [number // 4 for number in range(60)]}),
    "anchors": ((X, Y), {"method": "anchors", "anchors": 20}),
    "another t and alpha": ((X, Y), {"t": [1.0, 3.0], "alpha": 1.0}),
    "as they are": ((X / 3, Y), {"normalize": False}),
}


@pytest.mark.parametrize("kind", CASES)
def test_numbers_and_errors_are_those_of_rows_that_were_cut_before(kind: str) -> None:
    given_rows, options = CASES[kind]
    found = measure(*given_rows, dims=[2, 5], **options)
    assert [*found.prefixes] == [2, 5, 8]
    for dim, prefix in found.prefixes.items():
        expected = measure(*(cut(part, dim) for part in given_rows), **options)
        assert prefix.dim == dim
        assert flat(numbers(prefix)) == pytest.approx(flat(numbers(expected)), rel=1e-9, abs=1e-12)
        assert prefix.rankme_uniform == pytest.approx(expected.rankme_uniform)
    assert numbers(found.prefixes[8]) == numbers(found)
    without = measure(*given_rows, **options)
    assert not without.prefixes
    assert without.scalars().items() <= found.scalars().items()


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "anchors"])
def test_changes_are_paired_differences_from_all_features(kind: str) -> None:
    given_rows, options = CASES[kind]
    found = measure(*given_rows, dims=[2, 5], **options)
    assert not found.prefixes[8].changes
    for dim in (2, 5):
        apart = measure(*(cut(part, dim) for part in given_rows), **options)
        expected = apart.difference(found, paired=True)
        changes = found.prefixes[dim].changes
        assert [*changes] == [key for key in COMPARED if quantity(key).value(found) is not None]
        for record, value, error in expected.numbers():
            if record.key in changes:
                assert changes[record.key].value == pytest.approx(value, rel=1e-9, abs=1e-12)
                assert changes[record.key].stderr == pytest.approx(error, rel=1e-6, abs=1e-12)


def test_the_gap_of_anchors_changes_by_two_independent_errors() -> None:
    found = measure(X, Y, dims=[4], method="anchors", anchors=20)
    part, whole = found.prefixes[4], found.uniform
    errors = part.uniform.gap_stderr, whole.gap_stderr
    assert None not in errors
    assert part.changes["uniform.gap"].stderr == pytest.approx(math.hypot(*map(float, errors)))  # type: ignore[arg-type]
    exact = measure(X, Y, dims=[4]).prefixes[4].changes
    assert part.changes["align.relative"].stderr == pytest.approx(exact["align.relative"].stderr)


@pytest.mark.parametrize("mean", [True, rows.normal(8, seed=5) / 4], ids=["own", "given"])
def test_rows_less_a_mean_are_cut_after_it(mean: Any) -> None:
    found = measure(X, Y, center=mean, dims=[3])
    expected = measure(*(less(part, mean)[:, :3] for part in (X, Y)))
    assert flat(numbers(found.prefixes[3])) == pytest.approx(flat(numbers(expected)), rel=1e-6, abs=1e-8)


def less(z: Tensor, mean: Any) -> Tensor:
    unit = normalize(z, dim=-1)
    return unit - (unit.mean(0) if mean is True else mean)


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(5, 40), st.integers(1, 9)),
    data=st.data(),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16]),
)
@settings(deadline=None, max_examples=15)
def test_any_rows_and_dims(seed: int, shape: tuple[int, int], data: Any, dtype: torch.dtype) -> None:
    z = rows.normal(*shape, seed=seed).to(dtype)
    dims = sorted(data.draw(st.sets(st.integers(1, shape[1]), min_size=1)))
    found = measure(z, z + 1, dims=dims)
    assert [*found.prefixes] == sorted({*dims, shape[1]})
    for dim in dims:
        expected = measure(z[:, :dim], z[:, :dim] + 1)
        assert flat(numbers(found.prefixes[dim])) == pytest.approx(
            flat(numbers(expected)), rel=1e-5, abs=1e-6, nan_ok=True
        )


def test_principal_components_of_digits_from_a_file_need_few_features(tmp_path: Path) -> None:
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = pixels[:600], labels[:600]
    _, _, axes = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    np.save(tmp_path / "x.npy", ((pixels - pixels.mean(0)) @ axes.T).astype("float32"))
    found = measure(tmp_path / "x.npy", labels=labels, dims=(2, 8, 32))
    accuracies = [each.classes.knn for each in found.prefixes.values() if each.classes]
    assert accuracies[0] < 0.8 < 0.9 < min(accuracies[1:])
    change = found.prefixes[32].changes["classes.knn"]
    assert change.stderr is not None
    assert abs(change.value) < 2 * change.stderr < 0.02
    assert found.prefixes[2].changes["classes.knn"].value == pytest.approx(accuracies[0] - accuracies[-1])


# ----------------------------------------------------------------------------------------------- what is kept


def test_json_keeps_them_by_their_number_and_older_json_has_none() -> None:
    found = measure(X, Y, labels=LABELS, dims=[2, 4])
    document = json.loads(found.to_json())
    json_schema.check(document)
    assert document == found.to_dict()
    assert [*document["prefixes"]] == ["2", "4", "8"]
    assert document["prefixes"]["4"]["changes"]["uniform.gap"].keys() == {"value", "stderr"}
    assert Measurement.from_json(found.to_json()).prefixes == found.prefixes
    del document["prefixes"]
    assert Measurement.from_json(json.dumps(document)).prefixes == {}
    document["schema_version"], document["prefixes"] = 1, {"2": found.to_dict()["prefixes"]["2"]}
    assert [*Measurement.from_json(json.dumps(document)).prefixes] == [2]


def test_json_with_a_wrong_number_of_features_is_refused() -> None:
    document = measure(X, dims=[2]).to_dict()
    document["prefixes"] = {"two": document["prefixes"]["2"]}
    with pytest.raises(ValueError, match=r"the names in prefixes must be of numbers, got \['two'\]; measure"):
        Measurement.from_json(json.dumps(document))
    document["prefixes"] = [1]
    with pytest.raises(ValueError, match=r"prefixes must be an object, got \[1\]; measure again"):
        Measurement.from_json(json.dumps(document))


def test_scalars_have_their_numbers_and_errors() -> None:
    found = measure(X, Y, dims=[2])
    scalars = found.scalars("val/")
    assert scalars["val/prefixes.2.uniform.gap"] == found.prefixes[2].uniform.gap
    assert scalars["val/prefixes.8.align.relative_stderr"] == scalars["val/align.relative_stderr"]
    assert scalars["val/prefixes.2.rankme"] == found.prefixes[2].rankme


def test_tables_fit_80_columns_and_notebooks_show_them() -> None:
    found = measure(X, Y, labels=LABELS, dims=[2, 4])
    printed = found.prefix_lines()
    assert max(map(len, printed)) <= 80
    assert "\n".join(printed) in str(found)
    assert printed[1] == "first features of each row, normalised again"
    assert "less those of all 8 features" in printed
    cells = [line.split()[0] for line in printed if line]
    start = cells.index("less")
    assert cells[1:start] == 2 * ["features", "2", "4", "8"]
    assert cells[start + 1 :] == ["features", "2", "4"]
    assert found._repr_html_().count("first features") == 2
    assert measure(X).prefix_lines() == []
    assert "normalised" not in measure(X, dims=[2], normalize=False).prefix_lines()[1]


# -------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ([0, 4], "dims must be from 1 to 8, the number of features, got 0; leave it out"),
        ([4, 9], "dims must be from 1 to 8, the number of features, got 9; leave it out"),
        ([4, 4], "dims must rise, each given once, got 4 4; give 4"),
        ([4, 2, 4], "dims must rise, each given once, got 4 2 4; give 2 4"),
        ([2.5], r"dims must be whole numbers of features, such as 64 128, got \[2.5\]"),
        (4, "dims must be whole numbers of features, such as 64 128, got 4"),
    ],
)
def test_wrong_dims_are_refused_before_anything_is_summed(
    dims: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align_uniform.measuring.measure.sweep", lambda *_: pytest.fail("it summed"))
    with pytest.raises(ValueError, match=message):
        measure(X, dims=dims)


def test_rows_whose_first_features_are_zero_are_named_before_anything_is_summed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    z = X.clone()
    z[[3, 7], :2] = 0
    monkeypatch.setattr("align_uniform.measuring.measure.sweep", lambda *_: pytest.fail("it summed"))
    with pytest.raises(
        ValueError, match=r"features \(dims 2, the first features\) has 2 of 60 rows with norm 0"
    ):
        measure(z, dims=[2, 4])


# ----------------------------------------------------------------------------------------------------- Ctrl-C


def interrupted_at(dim: int) -> Callable[..., Any]:
    def measured(subject: Any, *rest: Any) -> Any:
        if subject.rows.shape[1] == dim:
            raise KeyboardInterrupt
        return main_numbers(subject, *rest)

    return measured


def test_ctrl_c_keeps_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "main_numbers", interrupted_at(4))
    found = measure(X, dims=[2, 4, 6], interruptible=True)
    assert [*found.prefixes] == [2, 8]
    assert found.provenance["method"] == "exact, the sums of first features were interrupted"
    with pytest.raises(KeyboardInterrupt):
        measure(X, dims=[2, 4, 6])
