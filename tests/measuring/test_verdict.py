"""The verdict finds what is wrong, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from align_uniform.measuring.results import Results
from align_uniform.measuring.verdict import HEURISTICS, SEVERITIES, Finding, findings, headline
from tests.rows import normal, unit


def found(measurement: Measurement) -> dict[str, str]:
    return {finding.name: finding.severity for finding in findings(measurement)}


def turned(rows: Tensor, angle: float = 0.3) -> Tensor:
    """A second view, not far away."""
    return normalize(rows + angle * unit(*rows.shape, seed=9), dim=1)


# ----------------------------------------------------------------------------------------------- false alarms


@pytest.mark.parametrize(
    ("n", "dim"), [(256, 128), (64, 768), (8, 768), (5, 2), (2, 16), (300, 2), (300, 3), (300, 4), (2000, 32)]
)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_out_of_uniform_rows(n: int, dim: int, seed: int) -> None:
    rows = unit(n, dim, seed=seed)
    assert findings(measure(rows)) == ()
    assert findings(measure(rows, turned(rows))) == ()


def test_nothing_stands_out_of_rows_more_even_than_chance() -> None:
    measurement = measure(torch.eye(64))
    assert measurement.uniform.equivalent_dim is None or measurement.uniform.equivalent_dim > 64
    assert findings(measure(torch.cat([torch.eye(64), -torch.eye(64)]))) == ()


def test_nothing_stands_out_of_ten_well_kept_classes() -> None:
    labels = torch.arange(400) % 10
    rows = normalize(unit(10, 64)[labels] + 0.5 * unit(400, 64, seed=1), dim=1)
    assert findings(measure(rows, labels=labels.tolist())) == ()


def test_half_precision_is_unit_enough() -> None:
    assert findings(measure(unit(200, 64).half())) == ()


# ---------------------------------------------------------------------------------------------- what is wrong


def test_a_constant_is_collapsed() -> None:
    measurement = measure(normalize(torch.ones(50, 16) + 0.01 * normal(50, 16), dim=1))
    assert found(measurement)["collapsed"] == "problem"
    assert found(measurement)["cone"] == "problem"


def test_two_opposite_places_are_collapsed_though_they_are_no_cone() -> None:
    signs = torch.arange(100) % 2 * 2.0 - 1
    measurement = measure(normalize(signs[:, None] * unit(1, 32) + 0.02 * normal(100, 32), dim=1))
    assert found(measurement)["collapsed"] == "problem"
    assert "cone" not in found(measurement)


@pytest.mark.parametrize(("length", "severity"), [(0.3, None), (0.7, "warning"), (1.5, "problem")])
def test_a_cone_is_found_by_its_mean_cosine(length: float, severity: str | None) -> None:
    rows = normalize(unit(300, 64) + length * unit(1, 64, seed=1), dim=1)
    assert found(measure(rows)).get("cone") == severity


def test_few_dimensions_in_use_are_a_low_rank() -> None:
    measurement = measure(normalize(normal(500, 10) @ normal(10, 128, seed=1), dim=1))
    assert found(measurement) == {"low rank": "warning"}
    assert f"{measurement.rankme:.1f} dimensions" in findings(measurement)[0].what


def test_duplicates_are_found_above_one_percent() -> None:
    rows = unit(500, 64)
    rows[:5] = rows[5]
    assert found(measure(rows)) == {"duplicates": "warning"}
    rows = unit(1000, 64)
    rows[:5] = rows[5]
    assert found(measure(rows)) == {}


def test_near_duplicates_count_as_well() -> None:
    rows = unit(500, 64)
    rows[:10] = normalize(rows[10:20] + 1e-3 * unit(10, 64, seed=2), dim=1)
    assert found(measure(rows)) == {"duplicates": "warning"}


def test_duplicates_are_a_share_of_the_rows_of_all_views_or_of_both_towers() -> None:
    rows, other = unit(400, 64), unit(100, 64, seed=1)
    rows[:5] = rows[5]
    share = next(heuristic for heuristic in HEURISTICS if heuristic.name == "duplicates").number
    assert share(measure(rows)) == 6 / 400
    assert share(measure(rows, turned(rows))) == 6 / 800
    assert share(measure(rows, other, pairs=[[0, 1], [2, 3]])) == 6 / 500


def test_shuffled_pairs_are_no_closer_than_chance() -> None:
    rows = unit(300, 64)
    measurement = measure(rows, turned(rows)[torch.randperm(300, generator=torch.Generator().manual_seed(0))])
    assert found(measurement) == {"pairs no closer than chance": "problem"}
    assert "order of rows" in findings(measurement)[0].advice


def test_pairs_half_as_far_as_chance_are_a_warning() -> None:
    rows = unit(300, 64)
    assert found(measure(rows, turned(rows, angle=2))) == {"pairs no closer than chance": "warning"}


def test_rows_of_other_norms_are_a_note_if_they_are_normalised_and_else_a_problem() -> None:
    rows = 5 * unit(100, 64)
    assert found(measure(rows)) == {"not normalised": "note"}
    assert found(measure(rows, normalize=False)) == {"not on the sphere": "problem"}


# ------------------------------------------------------------------------------------------------ the verdict


def test_the_worst_comes_first_and_the_headline_names_it() -> None:
    rows = 3 * normalize(unit(300, 64) + 1.5 * unit(1, 64, seed=1), dim=1)
    rows[:5] = rows[5]
    listed = findings(measure(rows))
    ranks = [SEVERITIES.index(finding.severity) for finding in listed]
    assert ranks == sorted(ranks, reverse=True)
    assert headline(listed) == "Something is wrong: collapsed and cone."


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([], "Nothing stands out."),
        (["note"], "Nothing stands out."),
        (["warning"], "Worth a look: 0."),
        (["warning", "warning", "note"], "Worth a look: 0 and 1."),
        (["problem", "problem", "problem", "warning"], "Something is wrong: 0, 1 and 2."),
    ],
)
def test_the_headline_is_one_sentence(severities: list[str], expected: str) -> None:
    listed = [Finding(f"{number}", severity, 0, 0, "", "", "") for number, severity in enumerate(severities)]  # type: ignore[arg-type]
    assert headline(listed) == expected


def test_every_heuristic_can_find_something_and_says_it_in_words() -> None:
    measurement = measure(normalize(unit(100, 64) + 1.5 * unit(1, 64, seed=1), dim=1), labels=[0, 1] * 50)
    for heuristic in HEURISTICS:
        far = 1e9 if heuristic.side == "above" else -1e9
        finding = replace(heuristic, number=_constant(far)).finding(measurement)
        assert finding is not None
        assert finding.threshold == heuristic.thresholds[-1][0]
        for words in (finding.what, finding.advice, heuristic.why):
            assert words.endswith(".")
            assert "{" not in words
        thresholds = [threshold for threshold, _ in heuristic.thresholds]
        assert thresholds == sorted(thresholds, reverse=heuristic.side == "below")


def _constant(number: float) -> Callable[[Results], float]:
    return lambda _: number


def test_names_that_look_like_formats_do_no_harm() -> None:
    rows = unit(60, 32)
    pairs = replace(measure(rows, unit(60, 32, seed=1)), name="{m.details}")
    assert pairs.align is not None
    listed = findings(replace(pairs, align=replace(pairs.align, of="{number.__class__}")))
    assert "{number.__class__}" in listed[0].what
