"""Known encoders as they were measured, and the place of a number among them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from align_uniform import Measurement, measure
from align_uniform.measuring import reference_points
from align_uniform.measuring.quantity import with_error
from align_uniform.measuring.reference_points import (
    COMPARABLE,
    RECALL,
    Kind,
    Place,
    ReferenceFile,
    ReferencePoint,
    ReferenceSet,
    nearest,
    paragraph,
    places,
    reference_file,
)
from tests.measuring.examples import example
from tests.rows import unit
from tests.test_examples import load, recorded

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference-points.md"


def made_up(**sets: dict[str, dict[str, float]]) -> ReferenceFile:
    """Return a file of sets of 100 rows, by their kinds."""
    return ReferenceFile(
        "none",
        {},
        tuple(
            ReferenceSet(kind, "", "", "", 100, points(of))  # type: ignore[arg-type]
            for kind, of in sets.items()
        ),
    )


def points(of: dict[str, dict[str, float]]) -> tuple[ReferencePoint, ...]:
    return tuple(ReferencePoint(name, "", 8, numbers, {}) for name, numbers in of.items())


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put three made-up encoders in the place of the recorded ones."""
    file = made_up(
        sentences={"low": {"mean_cosine": 0.1, RECALL: 0.5}, "high": {"mean_cosine": 0.5, RECALL: 0.9}},
        images={"middle": {"mean_cosine": 0.3}},
    )
    monkeypatch.setattr(reference_points, "reference_file", lambda: file)


# ------------------------------------------------------------------------------------------ what was recorded


def test_every_encoder_has_every_number_its_error_and_its_source() -> None:
    file = reference_file()
    assert {each.kind for each in file.sets} == set(get_args(Kind))
    for each in file.sets:
        assert each.rows >= 100
        assert all((each.items, each.data, each.protocol))
        for point in each.points:
            assert point.source
            assert set(point.numbers) == set(point.errors) == set(COMPARABLE)
            assert all(map(math.isfinite, (*point.numbers.values(), *point.errors.values())))


def test_names_stand_once() -> None:
    names = [point.name for each in reference_file().sets for point in each.points]
    assert len(set(names)) == len(names)


def test_the_command_is_one_that_can_be_typed() -> None:
    program, script, *options = reference_file().command.split()
    assert program == "python"
    text = (ROOT / script).read_text(encoding="utf-8")
    assert all(option in text for option in options if option.startswith("--"))


@pytest.mark.parametrize("number", range(7))
def test_the_layers_are_those_that_the_examples_recorded(number: int) -> None:
    theirs = next(
        each.measurement
        for each in recorded("sentences").encoders
        if each.measurement.name == f"layer {number}"
    )
    ours = point(f"MiniLM layer {number}")
    assert ours.numbers["align.relative"] == pytest.approx(theirs.align.relative, rel=0.01)
    assert ours.numbers["uniform.gap"] == pytest.approx(theirs.uniform.gap, rel=0.01)
    assert ours.numbers["mean_cosine"] == pytest.approx(theirs.mean_cosine, rel=0.01)


def point(name: str) -> ReferencePoint:
    return next(each for of in reference_file().sets for each in of.points if each.name == name)


def test_the_trained_encoders_are_better_than_the_untrained_ones() -> None:
    """The scale says something only if it puts encoders in the order that is known of them."""
    for better, worse in (
        ("MiniLM layer 6", "bag of words"),
        ("MiniLM layer 6", "random MiniLM"),
        ("AugNet", "random ResNet-50"),
        ("MobileNetV2", "pixels of emoji"),
        ("contrastive CNN", "pixels of digits"),
        ("align+uniform CNN", "random small CNN"),
    ):
        for key, sign in (("align.relative", -1), (RECALL, 1), ("uniform.gap", -1)):
            assert sign * point(better).numbers[key] > sign * point(worse).numbers[key], (better, worse, key)


def test_the_page_shows_what_is_printed_of_a_recorded_encoder() -> None:
    (layer,) = (
        each.measurement for each in recorded("sentences").encoders if each.measurement.name == "layer 6"
    )
    lines = paragraph(replace(layer, provenance={"kind": "sentences"}))
    assert "\n".join(["```text", *lines, "```"]) in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_the_recorded_numbers() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for table in reference_points.markdown_tables(reference_file()):
        assert table in page, f"{PAGE.name} must have this:\n{table}"
    assert with_error(point("AugNet").numbers["uniform.gap"], point("AugNet").errors["uniform.gap"]) in page


# --------------------------------------------------------------------------------------------------- a place


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("sentences", 0.2, "mean cosine 0.20: between low (0.10) and high (0.50)"),
        (None, 0.2, "mean cosine 0.20: between low (0.10) and middle (0.30)"),
        ("images", 0.2, "mean cosine 0.20: below all; middle (0.30) has the least"),
        ("sentences", 0.9, "mean cosine 0.90: above all; high (0.50) has the most"),
        ("sentences", 0.101, "mean cosine 0.10: about that of low"),
        ("sentences", 0.4999, "mean cosine 0.50: about that of high"),
    ],
)
def test_a_place_is_said_in_words(kind: Kind | None, value: float, words: str) -> None:
    assert str(nearest(kind, "mean_cosine", value)) == words


@pytest.mark.usefixtures("few")
def test_neighbours_are_the_nearest_on_both_sides() -> None:
    found = nearest(None, "mean_cosine", 0.3)
    assert found is not None
    assert found.below is not None
    assert found.above is not None
    assert (found.below.name, found.below.kind, found.above.name) == ("middle", "images", "high")


@pytest.mark.usefixtures("few")
def test_recall_is_compared_among_about_as_many_candidates_only() -> None:
    assert nearest(None, RECALL, 0.7) is None
    for candidates, compares in ((49, False), (50, True), (200, True), (201, False)):
        assert (nearest("sentences", RECALL, 0.7, candidates=candidates) is not None) == compares
    assert nearest("images", RECALL, 0.7, candidates=100) is None  # none of them has it


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of None, 'sentences', 'images', got 'sounds'"):
        nearest("sounds", "mean_cosine", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"key must be one of 'align\.relative', .* got 'rankme'"):
        nearest(None, "rankme", 0)
    with pytest.raises(ValueError, match="kind must be one of"):
        measure(unit(20, 4), kind="sounds")  # type: ignore[arg-type]


# -------------------------------------------------------------------------------- the places of a measurement


def keys(measurement: Measurement, **options: Any) -> set[str]:
    return {place.key for place in places(measurement, **options)}


def test_only_numbers_of_the_same_thing_are_placed() -> None:
    views = measure(unit(200, 8), unit(200, 8, seed=1))
    assert keys(views) == set(COMPARABLE)
    assert keys(measure(unit(60, 8))) == {"uniform.gap", "uniform.equivalent_dim", "mean_cosine"}
    classes = measure(unit(60, 8), labels=[row // 20 for row in range(60)])
    assert "align.relative" not in keys(classes)
    assert keys(measure(unit(200, 8), unit(200, 8, seed=1), t=3)) == {"align.relative", "mean_cosine", RECALL}
    assert keys(measure(3 * unit(60, 8), normalize=False)) == set()
    assert keys(measure(unit(60, 8), normalize=False)) != set()
    beyond = replace(views, mean_cosine=math.nan, uniform=replace(views.uniform, equivalent_dim=None))
    assert keys(beyond) == {"align.relative", "uniform.gap", RECALL}


def test_the_kind_is_the_one_that_measure_was_told() -> None:
    told = measure(unit(60, 8), kind="images")
    assert {place.kind for place in told.places()} == {"images"}
    assert {place.kind for place in told.places("sentences")} == {"sentences"}
    assert {place.kind for place in measure(unit(60, 8)).places()} == {None}
    again = Measurement.from_json(told.to_json())
    assert again.places() == told.places()
    foreign = replace(told, provenance={"kind": "sounds"})
    assert {place.kind for place in foreign.places()} == {None}
    for place in told.places():
        assert isinstance(place, Place)
        assert all(each is None or each.kind == "images" for each in (place.below, place.above))


def test_the_paragraph_is_a_few_short_lines_that_say_which_encoders() -> None:
    told = replace(example(), provenance={"kind": "sentences"})
    lines = paragraph(told)
    assert lines[0] == "Among known encoders of sentences:"
    assert [line.split()[0] for line in lines[1:]] == ["relative", "equivalent", "mean"]  # of 60 candidates
    views = measure(unit(800, 8), unit(800, 8, seed=1), kind="sentences")
    assert [line.split()[0] for line in paragraph(views)[1:]] == [
        "relative",
        "recall@1",
        "equivalent",
        "mean",
    ]
    assert paragraph(example())[0] == "Among known encoders of all kinds (kind not known: see --kind):"
    assert all(len(line) <= 80 for text in lines for line in text.splitlines())
    assert paragraph(measure(5 * torch.eye(20), normalize=False)) == []


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_names_what_it_needs() -> None:
    script = load("reference_points")
    text = str(script.__doc__)
    of_the_extra = {"matplotlib", "scikit-learn", "torchvision"}
    assert "recipes" in text
    assert all(package in text for package in set(script.PACKAGES.values()) - of_the_extra)


def test_small_encoders_are_trained_and_measured_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    script = load("reference_points")
    monkeypatch.setattr(script, "STEPS", 1)
    found = script.digits(0)
    recorded_set = next(each for each in reference_file().sets if each.items == found.items)
    assert [point.name for point in found.points] == [point.name for point in recorded_set.points]
    assert (found.data, found.protocol) == (recorded_set.data, recorded_set.protocol)
    for ours, theirs in zip(found.points[:2], recorded_set.points[:2], strict=True):  # which are not trained
        assert ours.numbers == pytest.approx(theirs.numbers, rel=0.02), ours.name
