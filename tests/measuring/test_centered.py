"""Rows of a cone less their mean: the numbers of the centred rows, as if these had been given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from tests.measuring.examples import close
from tests.rows import cone, unit


def less_mean(rows: Tensor) -> Tensor:
    rows = normalize(rows, dim=1)
    return rows - rows.mean(0)


def check(found: Measurement, expected: Measurement) -> None:
    """Check the centred numbers of a measurement against a measurement of centred rows."""
    assert found.centered is not None
    close(found.centered.uniform.value, expected.uniform.value)
    close(found.centered.uniform.equivalent_dim, expected.uniform.equivalent_dim or 0)
    assert found.centered.uniform.stderr == pytest.approx(expected.uniform.stderr)
    assert (found.centered.align is None) == (expected.align is None)
    assert found.centered.retrieval == expected.retrieval
    if found.centered.align is not None and expected.align is not None:
        close(found.centered.align.value, expected.align.value)
        close(found.centered.align.relative, expected.align.relative or 0)


X, Y = 3 * cone(60, 8), cone(60, 8) + 0.2 * unit(60, 8, seed=5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"t": [2, 1]},
        {"alpha": 1},
        {"groups": [number // 2 for number in range(60)]},
    ],
    ids=str,
)
def test_two_views_are_centred_each_by_its_own_mean(options: dict[str, Any]) -> None:
    check(measure(X, Y, **options), measure(less_mean(X), less_mean(Y), **options))


def test_so_are_classes_pairs_and_towers() -> None:
    labels, pairs = [number % 4 for number in range(60)], [[number, 59 - number] for number in range(20)]
    check(measure(X, labels=labels), measure(less_mean(X), labels=labels))
    check(measure(X, pairs=pairs), measure(less_mean(X), pairs=pairs))
    towers = measure(X, Y[:50], pairs=pairs[10:])
    check(towers, measure(less_mean(X), less_mean(Y[:50]), pairs=pairs[10:]))


def test_an_entity_that_comes_twice_counts_once() -> None:
    ids = [f"u{number % 40}" for number in range(60)]
    check(measure(X, ids=ids), measure(less_mean(X), ids=ids))


def test_uniformity_of_many_rows_rests_on_the_anchors() -> None:
    found, expected = measure(X, anchors=30), measure(less_mean(X), method="anchors", anchors=30)
    assert found.provenance["method"] == "exact"
    assert found.centered is not None
    assert found.centered.uniform.approximation_stderr > 0
    close(found.centered.uniform.value, expected.uniform.value)


def test_only_a_cone_is_centred_and_equal_rows_are_not() -> None:
    assert measure(unit(60, 8)).centered is None
    assert measure(cone(20, 8)).centered is None  # too few rows to call it a cone
    assert measure(torch.ones(60, 8)).centered is None
    assert measure(torch.ones(60, 8) + 1e-9 * unit(60, 8)).centered is None
    assert measure(5 * cone(60, 8), normalize=False).centered is None
    assert measure(cone(60, 8), normalize=False).centered is not None


def test_a_narrow_cone_of_float32_is_centred_precisely() -> None:
    rows = cone(200, 16, 15.0).float()
    found = measure(rows).centered
    assert measure(rows).mean_cosine > 0.99
    assert found is not None
    assert found.uniform.value == pytest.approx(measure(less_mean(rows.double())).uniform.value, abs=1e-4)


@pytest.mark.parametrize("pairs", [None, [[number, number] for number in range(60)]], ids=["views", "towers"])
def test_a_constant_view_or_tower_is_not_centred(pairs: Any) -> None:
    for dead in (torch.eye(8)[:1].expand(60, 8), torch.full((60, 8), 0.25)):
        found = measure(unit(60, 8), dead, pairs=pairs)
        assert found.mean_cosine > 0.4
        assert "cone" in {finding.name for finding in found.findings}
        assert found.centered is None
