"""Tests of the examples without their downloads: parts, recorded results, and the page about them."""

from __future__ import annotations

import importlib
import itertools
import math
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from align_uniform import measure

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
NAMES = ["sentences", "images"]


def load(name: str) -> ModuleType:
    """Load an example as a module, which finds its neighbour as it does when launched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module(name)


@pytest.fixture(params=NAMES)
def example(request: pytest.FixtureRequest) -> ModuleType:
    return load(str(request.param))


def recorded(name: str) -> Any:
    return load("comparison").read(EXAMPLES / "results" / f"{name}.json")


@pytest.fixture
def results() -> Any:
    comparison = load("comparison")
    x, noise = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0))
    near, far = (measure(x, x + scale * noise, name=name) for name, scale in (("near", 0.1), ("far", 1.0)))
    alone = measure(x, name="alone")
    hits = [tuple(number < right for number in range(50)) for right in (45, 25, 25)]
    independent = [(0.01, -3.0), None, None]
    encoders = [comparison.Encoder(*each) for each in zip((near, far, alone), hits, independent, strict=True)]
    return comparison.Results({"seed": 0}, "retrieval", encoders, [near - far, far - alone])


# ------------------------------------------------------------------------------------------- recorded results


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["table", "agreement", "differences"])
def test_the_page_shows_the_recorded_numbers(name: str, kind: str) -> None:
    expected = getattr(load("comparison"), kind)(recorded(name))
    assert expected in (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_encoders_are_in_the_order_that_other_code_found(name: str) -> None:
    known = [
        (encoder.measurement, encoder.independent)
        for encoder in recorded(name).encoders
        if encoder.independent
    ]
    assert len(known) >= 3
    for (ours, theirs), (our_other, their_other) in itertools.combinations(known, 2):
        assert (ours.align.value < our_other.align.value) == (theirs[0] < their_other[0]), (
            ours.name,
            our_other.name,
        )
        assert (ours.uniform.value < our_other.uniform.value) == (theirs[1] < their_other[1]), (
            ours.name,
            our_other.name,
        )


def test_sentences_agree_with_other_code_within_three_combined_errors() -> None:
    for encoder in recorded("sentences").encoders:
        if encoder.independent:
            align, uniform = encoder.measurement.align, encoder.measurement.uniform
            assert abs(align.value - encoder.independent[0]) < 3 * 2**0.5 * align.stderr
            assert abs(uniform.value - encoder.independent[1]) < 3 * 2**0.5 * uniform.stderr


@pytest.mark.parametrize("name", NAMES)
def test_recorded_differences_are_those_of_the_recorded_encoders(name: str) -> None:
    results = recorded(name)
    measured = {encoder.measurement.name: encoder.measurement for encoder in results.encoders}
    assert results.differences
    for pair in results.differences:
        first, second = (measured[part] for part in pair.names)
        assert pair.align == pytest.approx(first.align.value - second.align.value)
        assert pair.uniform == pytest.approx(first.uniform.value - second.uniform.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_a_figure_that_is_there(name: str) -> None:
    assert f"]({name}.png)" in (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize("name", [*NAMES, "two_towers"])
def test_help_needs_none_of_the_packages(name: str) -> None:
    found = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--help"], capture_output=True, text=True, check=True
    )
    assert "pip install" in found.stdout
    assert "--force" in found.stdout


def test_the_launch_commands_install_what_is_needed(example: ModuleType) -> None:
    commands = [line for line in str(example.__doc__).splitlines() if "pip install" in line]
    for package in example.PACKAGES.values():
        assert package in " ".join(commands) or package == "matplotlib"  # which the extra `report` brings


def test_missing_packages_are_told_in_one_line() -> None:
    with pytest.raises(SystemExit) as caught:
        load("comparison").check_packages({"torch": "torch", "no_such_module": "no-such-package==1.0"})
    assert (
        caught.value.code == "Missing: no-such-package==1.0. Install with: pip install no-such-package==1.0"
    )


def test_results_of_an_earlier_run_are_kept_unless_forced(tmp_path: Path) -> None:
    comparison = load("comparison")
    comparison.check_output(tmp_path / "new", "sentences", force=False)
    (tmp_path / "new" / "sentences.json").touch()
    with pytest.raises(SystemExit, match="--force"):
        comparison.check_output(tmp_path / "new", "sentences", force=False)
    comparison.check_output(tmp_path / "new", "sentences", force=True)


def test_results_come_back_as_they_were_written(
    results: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    comparison = load("comparison")
    results = comparison.Results(
        results.recipe, results.accuracy_name, results.encoders[:2], results.differences[:1]
    )
    comparison.write(results, tmp_path, "toy")
    again, shown = comparison.read(tmp_path / "toy.json"), capsys.readouterr()
    for kind in (comparison.table, comparison.agreement, comparison.differences):
        assert kind(again) == kind(results)
        assert kind(results) in shown.out
    assert shown.err.startswith("Written: ")
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".png", ".svg"}


def test_the_tables_say_which_encoder_and_leave_out_what_is_not_known(results: Any) -> None:
    comparison = load("comparison")
    results.encoders.pop()  # measured without pairs
    assert comparison.table(results).splitlines()[2].startswith("| near | 0.0")
    assert "| 90.0 ± 4.2 |" in comparison.table(results)
    assert "far" not in comparison.agreement(results)


def test_the_table_of_differences_has_those_of_accuracies(results: Any) -> None:
    lines = load("comparison").differences(results).splitlines()
    assert lines[2].startswith("| near − far | -")
    assert lines[2].endswith("| +40.0 ± 7.0 | < 0.0001 |")
    assert lines[3].startswith("| far − alone |  |  |")  # no alignment without pairs
    assert lines[3].endswith("| +0.0 ± 0.0 | 1.00 |")


def test_a_deviation_counts_errors_of_both_sides() -> None:
    assert load("comparison").deviation(1.0, 0.0, 0.5) == "+1.4"
    assert load("comparison").deviation(1.0, 0.0, None) == ""


def test_retrieval_is_the_share_of_rows_that_find_their_own() -> None:
    x = torch.eye(4)
    assert load("sentences").retrieval(x, 3 * x) == (True,) * 4
    assert load("sentences").retrieval(x, x[[1, 0, 2, 3]]) == (False, False, True, True)


def test_neighbours_exclude_the_picture_itself() -> None:
    features = torch.cat(
        [
            torch.tensor([[1.0, 0.1 * row] for row in range(6)]),
            torch.tensor([[-1.0, 0.1 * row] for row in range(6)]),
        ]
    )
    labels = torch.tensor([0] * 6 + [1] * 6)
    assert load("images").knn_hits(features, labels) == (True,) * 12
    alone = torch.cat([torch.tensor([1]), labels[1:]])  # the others of its place are of class 0
    assert load("images").knn_hits(features, alone) == (False, *[True] * 11)


def test_a_checkpoint_with_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": Harmful()}, path)
    with pytest.raises(pickle.UnpicklingError):
        load("images").load(path)


class Harmful:
    """An object that runs code when unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


# ----------------------------------------------------------------------------------------------- two towers


def test_words_of_verses_are_numbered_by_how_often_they_occur() -> None:
    texts = ["the light the day", "The light!", "the light of the day, day"]
    found = load("two_towers").numbered(texts, longest=6)
    assert found.tolist() == [[1, 2, 1, 3, 0, 0], [1, 2, 0, 0, 0, 0], [1, 2, 1, 3, 3, 0]]


def test_cross_uniformity_leaves_partners_out() -> None:
    towers = load("two_towers")
    x, y = (torch.nn.functional.normalize(torch.randn(20, 5, dtype=torch.float64), dim=1) for _ in range(2))
    kernel = torch.exp(-2 * torch.cdist(x, y).square())
    expected = kernel[~torch.eye(20, dtype=torch.bool)].mean().log()
    assert float(towers.cross_uniform(x, y)) == pytest.approx(float(expected))
    with_partners = towers.cross_uniform(x, x[torch.randperm(20)])
    assert float(with_partners) != pytest.approx(float(towers.cross_uniform(x, x)))


def test_two_towers_are_trained_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    towers = load("two_towers")
    monkeypatch.setattr(towers, "HELD_OUT", 100)
    monkeypatch.setattr(towers, "BATCH", 32)
    words = [f"word{chr(97 + number)}" for number in range(20)]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(20, (300, 6), generator=generator).tolist()
    texts = [" ".join(words[number] for number in row) for row in drawn]
    translations = [towers.numbered(texts), towers.numbered([text[::-1] for text in texts])]
    courses, rows = {}, {}
    for name, objective in towers.OBJECTIVES.items():
        courses[name], rows[name] = towers.train(objective, translations, 4, 0, name)
        assert [step for step, _ in courses[name]] == [0, 4]
    assert len(towers.table({name: course[-1][1] for name, course in courses.items()}).splitlines()) == 5
    towers.draw(courses, rows, tmp_path / "towers")
    assert (tmp_path / "towers.png").read_bytes().startswith(b"\x89PNG")


# ---------------------------------------------------------------------------------------------- a recommender


def test_ratings_are_split_by_time_for_each_user(tmp_path: Path) -> None:
    recommender = load("recommender")
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += [f"{user}\t{100 + film}\t{4 + film % 2}\t{1000 - film}" for user in (7, 9) for film in range(10)]
    lines += ["7\t500\t3\t5", "9\t500\t1\t6"]
    path = tmp_path / "ml-100k.inter"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pairs = recommender.ratings(path)
    assert len(pairs) == 20  # those of 4 and 5
    known, held_out = recommender.split_by_time(pairs)
    assert sorted(held_out.tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]  # the latest times
    assert len(known) == 16


def test_recall_and_ndcg_are_those_of_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = load("recommender")
    monkeypatch.setattr(recommender, "DEPTH", 2)
    users, films = torch.ones(3, 1), torch.tensor([[4.0], [3.0], [2.0], [1.0]])  # all like film 0 most
    known, held_out = torch.tensor([[0, 0], [1, 1]]), torch.tensor([[0, 1], [0, 3], [1, 3]])
    recall, ndcg = recommender.recommended(users, films, known, held_out)
    # user 0 is shown 1 and 2, of which 1 is right; user 1 is shown 0 and 2; user 2 has nothing held out
    assert recall == pytest.approx((1 / 2 + 0) / 2)
    assert ndcg == pytest.approx((1 / (1 + 1 / math.log2(3)) + 0) / 2)


def test_copies_of_an_item_are_left_out_unless_they_are_kept() -> None:
    recommender = load("recommender")
    users, films = torch.tensor([0, 0, 1, 2]), torch.tensor([3, 4, 3, 3])
    u, v = (
        torch.nn.functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1)[ids]
        for ids in (users, films)
    )

    def spread(rows: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        pairs = torch.triu(ids[:, None] != ids, 1)
        return torch.exp(-2 * torch.cdist(rows, rows).square())[pairs].mean().log()

    expected = (u - v).square().sum(1).mean() + (spread(u, users) + spread(v, films)) / 2
    assert float(recommender.directau(1.0)(u, v, users, films)) == pytest.approx(float(expected))
    kept = recommender.directau(1.0, keep_copies=True)(u, v, users, films)
    assert float(kept) > float(expected)


def test_every_objective_of_the_recommender_learns_its_pairs() -> None:
    recommender = load("recommender")
    known = torch.cartesian_prod(torch.arange(12), torch.arange(20))
    known = known[known[:, 0] % 4 == known[:, 1] % 4].repeat(60, 1)  # four groups of users and films
    for name in recommender.OBJECTIVES:
        users, films = recommender.train(name, known, (12, 20), seed=0)
        scores = users @ films.T
        own = torch.arange(12)[:, None] % 4 == torch.arange(20) % 4
        assert scores[own].mean() > scores[~own].mean() + 0.1, name
