"""The verdict finds what is wrong, and nothing where nothing is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from align_uniform.measuring import heuristics
from align_uniform.measuring.heuristic import SEVERITIES, Finding
from align_uniform.measuring.heuristics import HEURISTICS
from align_uniform.measuring.quantities import quantity
from align_uniform.measuring.results import Results
from align_uniform.measuring.verdict import findings, headline
from tests.measuring.made_up import (
    DIRECTIONS,
    FAULTY,
    HEALTHY,
    LOW_RANK,
    MadeUp,
    N,
    opposite,
    shuffled,
    turned,
)
from tests.rows import cone, unit


def found(measurement: Measurement) -> dict[str, str]:
    """Return the severity of each finding, notes aside."""
    return {finding.name: finding.severity for finding in findings(measurement) if finding.severity != "note"}


# ------------------------------------------------------------------------------------------------ two towers


@pytest.mark.parametrize("sizes", [(40, 300), (300, 40)])
def test_rankme_of_towers_is_judged_by_the_bound_of_each(sizes: tuple[int, int]) -> None:
    few, many = (unit(size, 64, seed=size) for size in sizes)
    result = measure(few, many, pairs=[(number, number) for number in range(40)])
    assert 32 < result.rankme < 64  # of at most (40 + 64) / 2
    assert "low rank" not in found(result)
    padded = measure(*(torch.cat([z[:, :9], 1e-4 * z], 1) for z in (few, many)), pairs=[(0, 0), (1, 2)])
    (share,) = [finding.number for finding in padded.findings if finding.name == "low rank"]
    assert share == pytest.approx(padded.rankme / ((40 + 73) / 2))


@pytest.mark.parametrize("sizes", [(4, 300), (300, 4)])
def test_a_tower_of_a_few_rows_is_no_cone(sizes: tuple[int, int]) -> None:
    users, items = (unit(size, 16, seed=size) + (size == 4) * unit(1, 16) for size in sizes)
    assert set(found(measure(users, items, pairs=[(0, 0), (1, 1), (2, 2)]))) & {"cone", "low rank"} == set()


# --------------------------------------------------------------------------------------- made-up embeddings


@pytest.mark.large
@pytest.mark.parametrize("embedding", HEALTHY, ids=str)
def test_nothing_stands_out_where_nothing_is_wrong(embedding: MadeUp) -> None:
    assert found(embedding.make()) == {}


@pytest.mark.large
@pytest.mark.parametrize("embedding", FAULTY, ids=str)
def test_every_fault_is_named_and_nothing_else(embedding: MadeUp) -> None:
    assert found(embedding.make()) == embedding.faults


def test_every_heuristic_has_an_embedding_on_either_side() -> None:
    alarming = {name for embedding in FAULTY for name in embedding.faults}
    assert alarming == {heuristic.name for heuristic in HEURISTICS} - {"not on the sphere"}


@pytest.mark.parametrize(
    ("n", "dim"), [(256, 128), (64, 768), (8, 768), (5, 2), (2, 16), (300, 2), (300, 3), (300, 4), (2000, 32)]
)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_out_of_uniform_rows_of_any_shape(n: int, dim: int, seed: int) -> None:
    rows = unit(n, dim, seed=seed)
    assert findings(measure(rows)) == ()
    assert findings(measure(rows, turned(rows))) == ()


def test_few_places_are_a_fault_unless_they_are_the_classes() -> None:
    labels = (torch.arange(N) % 2).tolist()
    rows = opposite(1 / 0.3)
    assert found(measure(rows)) == {"collapsed": "problem"} | DIRECTIONS
    assert found(measure(rows, labels=labels)) == {}
    assert found(measure(rows, labels=shuffled(2))) == (
        {"collapsed": "problem", "labels no closer than chance": "problem"} | DIRECTIONS
    )


# -------------------------------------------------------------------------------------------- real encoders

RECORDED = json.loads((Path(__file__).parents[2] / "examples/results/verdicts.json").read_text("utf-8"))

CONE = {"cone": "problem"}
OF_ENCODERS = {
    **{f"layer {number}": CONE for number in range(6)},
    "layer 6": {"cone": "warning"},
    "layer 5, centred": {},
    "layer 6, centred": {},
    "random bag of words": {"cone": "warning", "hubs": "warning"},
    "random ResNet-50": CONE
    | LOW_RANK
    | {"collapsed": "problem", "pairs no closer than chance": "warning", "wrong pairs": "warning"},
    "random ResNet-50, categories": CONE | LOW_RANK | {"collapsed": "problem"},
    "AugNet ResNet-50": CONE | {"unequal norms": "warning"},
    "AugNet ResNet-50, categories": CONE | LOW_RANK | {"unequal norms": "warning"},
    "MobileNetV2": {"cone": "warning"},
    "MobileNetV2, categories": {"cone": "warning"},
    "pixels of digits": CONE,
}
"""The findings about the encoders of docs/encoders.md, of which those called random were not trained."""


@pytest.mark.parametrize("name", OF_ENCODERS)
def test_of_real_encoders_only_what_is_known_of_them_stands_out(name: str) -> None:
    assert found(Measurement.from_json(json.dumps(RECORDED["measurements"][name]))) == OF_ENCODERS[name]


def test_all_recorded_encoders_are_judged() -> None:
    assert OF_ENCODERS.keys() == RECORDED["measurements"].keys()


def test_classes_that_encoders_do_tell_apart_are_far_from_permuted_labels() -> None:
    categories = Measurement.from_json(json.dumps(RECORDED["measurements"]["MobileNetV2, categories"]))
    assert categories.align is not None
    assert categories.align.relative is not None
    assert categories.align.relative > 0.9
    assert categories.tolerance is not None
    assert categories.tolerance.z is not None
    assert categories.tolerance.z > 20


# ------------------------------------------------------------------------------------------- single numbers


@pytest.mark.parametrize(("length", "severity"), [(0.3, None), (0.7, "warning"), (1.5, "problem")])
def test_a_cone_is_found_by_its_mean_cosine(length: float, severity: str | None) -> None:
    rows = normalize(unit(300, 64) + length * unit(1, 64, seed=1), dim=1)
    assert found(measure(rows)).get("cone") == severity


def test_a_cone_is_shown_with_what_centring_changes() -> None:
    measurement = measure(cone(300, 64), turned(cone(300, 64)))
    (finding,) = findings(measurement)
    for key in ("uniform", "uniform.equivalent_dim", "align.relative"):
        before, after = (quantity(each).text(measurement) for each in (key, f"centered.{key}"))
        assert " ± " in before
        change = f"{after.partition(' ± ')[0]} in place of {before.partition(' ± ')[0]}"
        assert f"{quantity(key).label} {change}" in finding.what
    older = replace(measurement, centered=None)
    assert findings(older)[0].what == finding.what[: finding.what.index(" Less their mean")]


def test_duplicates_are_a_share_of_the_rows_of_all_views_or_of_both_towers() -> None:
    rows, other = unit(400, 64), unit(100, 64, seed=1)
    rows[:5] = rows[5]
    share = next(heuristic for heuristic in HEURISTICS if heuristic.name == "duplicates").number
    assert share(measure(rows)) == 6 / 400
    assert share(measure(rows, turned(rows))) == 6 / 800
    assert share(measure(rows, other, pairs=[[0, 1], [2, 3]])) == 6 / 500


def test_pairs_half_as_far_as_chance_are_a_warning() -> None:
    rows = unit(300, 64)
    assert found(measure(rows, turned(rows, angle=2))) == {"pairs no closer than chance": "warning"}


def test_norms_are_a_note_that_asks_what_they_mean_and_a_problem_where_they_are_measured() -> None:
    rows = unit(100, 64) * torch.linspace(1, 5, 100)[:, None]
    (finding,) = findings(measure(rows))
    assert (finding.name, finding.severity) == ("unequal norms", "note")
    assert finding.number == pytest.approx(5 / 2.98, rel=0.01)
    assert finding.advice.startswith("Do norms carry meaning")
    assert measure(rows).warnings == ()
    assert found(measure(rows, normalize=False)) == {"not on the sphere": "problem"}
    assert findings(measure(unit(200, 64).half())) == ()


# ------------------------------------------------------------------------------------------------ the verdict


def test_the_worst_comes_first_and_the_headline_names_it() -> None:
    rows = 3 * normalize(unit(300, 64) + 1.5 * unit(1, 64, seed=1), dim=1)
    rows[:5] = rows[5]
    listed = findings(measure(rows))
    ranks = [SEVERITIES.index(finding.severity) for finding in listed]
    assert ranks == sorted(ranks, reverse=True)
    assert headline(listed) == "Something is wrong: cone."


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
    listed = [
        Finding(f"{number}", severity, 0, 0, "above", "", "", "")  # type: ignore[arg-type]
        for number, severity in enumerate(severities)
    ]
    assert headline(listed) == expected


def test_every_heuristic_can_find_something_and_says_it_in_words() -> None:
    rows = normalize(unit(100, 64) + 1.5 * unit(1, 64, seed=1), dim=1)
    measurement = replace(measure(rows, labels=[0, 1] * 50), align=measure(rows, turned(rows)).align)
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


def test_the_documentation_has_the_table_of_all_heuristics() -> None:
    page = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text(encoding="utf-8")
    table = heuristics.markdown_table()
    assert table in page, "docs/measuring.md must have this table:\n" + table
