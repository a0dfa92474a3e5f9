"""Tests of the simulation of error bars, and a small part of it, with bounds that wrong formulas exceed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.coverage import __main__ as command
from benchmarks.coverage import laws, nearest, simulate, truth
from benchmarks.coverage.cells import LAWS, cells
from benchmarks.coverage.simulate import Coverage, Outcome
from benchmarks.coverage.table import is_low, table

from align_uniform import sphere

CELLS = {cell.name: cell for cell in cells()}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------ true values


def test_a_sampled_truth_is_the_closed_form_within_its_error() -> None:
    sampled = truth.of_items(laws.uniform(16), 16, 2.0)
    closed = truth.of_uniform_rows(16, 2.0)
    assert closed["uniform"].value == sphere.uniform_optimum(16, 2.0)
    for number, (value, error) in sampled.items():
        assert 0 < error < 0.02
        assert abs(value - closed[number].value) < 4 * error, number


def test_the_truth_of_views_follows_from_their_noise() -> None:
    """For rows x and y around one item, E x.y is the squared mean cosine of a row and its item."""
    law, noise = laws.uniform(16), 0.5
    (items,) = law(200_000, generator())
    (rows,) = laws.views(lambda *_: (items,), noise, 1)(200_000, generator(1))
    closeness = (items * rows).sum(1).double().mean().square()
    value, error = truth.of_items(laws.views(law, noise), 16, 2.0)["align"]
    assert value == pytest.approx(float(2 - 2 * closeness), abs=5 * error)


def test_the_truth_of_chosen_pairs_is_that_of_the_pairs_that_are_kept() -> None:
    affinity = truth.Affinity(0.2, 0.3)
    law = laws.side_by_side(laws.uniform(8), laws.uniform(8))
    x, y = law(400_000, generator())
    is_positive = affinity((x * y).sum(1), generator(1))
    squares = (x - y).square().sum(1)[is_positive].double()
    found = truth.of_chosen_pairs(law, 8, 2.0, affinity, candidates=100, sizes=(1000, 1000))
    error = float(squares.std()) / math.sqrt(len(squares))
    assert found["align"].value == pytest.approx(float(squares.mean()), abs=4 * error)
    assert found["align.relative"].value == pytest.approx(float(squares.mean()) / 2, abs=1e-3 + 4 * error)


@pytest.mark.parametrize("name", LAWS)
def test_rows_of_every_law_are_on_the_sphere_and_differ_between_draws(name: str) -> None:
    source = generator()
    one, other = (LAWS[name](50, source)[0] for _ in range(2))
    assert torch.allclose(one.norm(dim=1), torch.ones(50))
    assert not torch.equal(one, other)


# ------------------------------------------------------------------------------------------------ the command


def outcome(name: str, runs: int, cover: float = 0.95, warned: float = 0.0) -> Outcome:
    cell = CELLS[name]
    number = Coverage("uniform", -3.5, 0.0, 0.0, cover, 0.005, 1.0, runs, warned)
    return Outcome(cell.design, cell.law, cell.size, runs, 1.0, (number,))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    asked: list[tuple[str, int]] = []

    def simulated(cell: Any, runs: int) -> Outcome:
        asked.append((cell.name, runs))
        return outcome(cell.name, runs)

    monkeypatch.setattr(command, "simulate", simulated)
    return asked


def test_cells_that_the_file_has_are_not_simulated_again(
    fake: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coverage.json"
    arguments = ["--only", "two views", "--out", str(path)]
    assert command.main([*arguments, "--runs", "50"]) == 0
    first = len(fake)
    assert first > 3
    assert all("two views" in name for name, _ in fake)
    command.main([*arguments, "--runs", "40"])
    assert len(fake) == first
    command.main([*arguments, "--runs", "60"])
    assert len(fake) == 2 * first
    command.main([*arguments, "--runs", "60", "--again"])
    assert len(fake) == 3 * first
    document = json.loads(path.read_text())
    assert [cell["runs"] for cell in document["cells"]] == [60] * first
    assert command.read(path)[fake[0][0]] == outcome(fake[0][0], 60)
    assert capsys.readouterr().out.startswith("| design | law | size | number | cover % | se/sd |  |\n")


def test_a_part_of_no_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "three towers"]) == 2
    assert "must be part of the name of a cell" in capsys.readouterr().err


def test_the_names_of_cells_differ() -> None:
    assert len(CELLS) == len(cells())


def test_the_table_marks_low_and_high_covers_and_warnings() -> None:
    name = next(iter(CELLS))
    lines = table(
        [outcome(name, 2000, 0.85, 0.5), outcome(name, 2000, 0.999), outcome(name, 2000)]
    ).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["low, warns in 50%", "high", ""]
    assert "| uniformity | 85.0 | 1.00 |" in lines[2]


def test_numbers_with_one_result_share_a_line() -> None:
    found = outcome(next(iter(CELLS)), 2000)
    gap = replace(found.numbers[0], number="uniform.gap")
    apart = replace(gap, number="mean_cosine", cover=0.96)
    lines = table([replace(found, numbers=(found.numbers[0], gap, apart))]).splitlines()[2:]
    assert [line.split("|")[4].strip() for line in lines] == ["uniformity, gap", "mean cosine"]


def test_the_page_shows_the_recorded_table() -> None:
    kept = command.read(command.OUT)
    assert set(kept) == set(CELLS)
    page = (Path(__file__).parent.parent / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert table([kept[name] for name in CELLS]) in page


OF_ONE_CORPUS = ("queries and a corpus; 100 clusters; 200 x 200, m = 16", "towers.query_distance")
"""A number whose error is for the corpus at hand: another one has rows in other clusters."""


def test_every_low_cover_of_the_recorded_table_is_warned_about() -> None:
    for found in command.read(command.OUT).values():
        for number in found.numbers:
            is_explained = number.warned > 0.75 or (found.name, number.number) == OF_ONE_CORPUS
            assert not is_low(number) or is_explained, (found.name, number)
            assert number.cover > 0.6, (found.name, number)


# ------------------------------------------------------------------------------------------------ a few cells

BOUNDS = {
    "independent rows; cone; n = 64, m = 16": (0.88, 0.99, 0.85, 1.15),
    "two views; cone; n = 64, m = 16": (0.88, 1.0, 0.85, 1.2),
    "equal groups of crops; uniform; 50 groups of 5, m = 16": (0.91, 1.0, 0.9, 1.35),
    "unequal groups of independent rows; cone; 50 groups of 2 or 8, m = 16": (0.88, 0.99, 0.82, 1.15),
    "all pairs of few rows; cone; n = 40, m = 16": (0.88, 0.99, 0.85, 1.15),
    "two towers, even clicks; cone; 1000 of 200 x 100, m = 16": (0.88, 0.99, 0.85, 1.2),
    "two towers, one to one; cone; n = 64, m = 16": (0.87, 1.0, 0.82, 1.2),
    "difference by compare; uniform; n = 256, m = 16": (0.92, 1.0, 0.9, 1.6),
    "partners of two views; cone; 100 groups of 2, noise 0.7, m = 16": (0.86, 0.99, 0.8, 1.1),
    "classes of nearest rows; 6 clusters, 0.6 apart; 100 groups of 5, m = 16": (0.89, 1.0, 0.94, 1.35),
}
"""The least and largest cover, and the least and largest se/sd, of 150 runs. Each is beyond chance for the
errors of that design, and out of reach for a formula that takes rows, pairs or groups as independent.
"""


@pytest.mark.parametrize("name", BOUNDS)
def test_intervals_hold_the_truth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "SAMPLES", 400)
    least, most, narrow, wide = BOUNDS[name]
    found = simulate.simulate(CELLS[name], 150)
    assert found.numbers
    for number in found.numbers:
        assert least <= number.cover <= most, number
        assert narrow <= number.se_over_sd <= wide, number


def test_a_wrong_error_is_beyond_the_bounds() -> None:
    """Pairs that share rows are taken as independent, as a standard error of a mean takes them."""
    law, estimates = LAWS["cone"], []
    source = generator()
    for _ in range(150):
        (rows,) = law(40, source)
        squares = torch.pdist(rows).square()
        estimates.append(simulate.Estimate(float(squares.mean()), float(squares.std()) / len(squares) ** 0.5))
    found = simulate.coverage("align", truth.Truth(1.4725, 0.001), estimates, 0)
    least, _, narrow, _ = BOUNDS["all pairs of few rows; cone; n = 40, m = 16"]
    assert found.cover < least - 0.2
    assert found.se_over_sd < narrow / 2


@pytest.mark.parametrize(
    ("number", "word"),
    [
        ("uniform.gap", "uniformity"),
        ("align.relative", "alignment"),
        ("towers.modality_gap", "modality gap"),
        ("tolerance", "tolerance"),
    ],
)
def test_warnings_are_found_by_the_word_for_a_number(number: str, word: str) -> None:
    assert simulate.word_for(number) == word
