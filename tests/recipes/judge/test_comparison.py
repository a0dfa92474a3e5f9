"""Tests of comparing evaluations on the same images, from their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from align_uniform import compare_accuracies
from align_uniform.cli import main
from align_uniform.recipes.judge.comparison import read_scores
from align_uniform.recipes.judge.scores import Scores, score

LABELS = torch.arange(90) % 3
CLASSES = ("ant", "bee", "cat")


def scores(wrong: list[int]) -> Scores:
    """Return the scores of a classifier that is wrong about these images."""
    predicted = LABELS.clone()
    predicted[wrong] = (LABELS[wrong] + 1) % 3
    return score(predicted, LABELS, CLASSES)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for name, wrong in {"old": [*range(30)], "new": [*range(8), 50], "newer": [*range(20), 60, 61]}.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(scores(wrong).to_dict()))
        paths.append(str(path))
    return paths


def test_a_difference_is_told_with_its_p(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "compare", *files[:2]]) == 0
    printed = capsys.readouterr().out
    assert "old  66.67% of 90 images\nnew  90.00% of 90 images\n" in printed
    assert "new − old: +23.33 ± " in printed
    assert "right in one alone: 22 and 1; p < 0.0001 (McNemar, exact)" in printed
    assert "adjusted" not in printed


def test_several_differences_have_adjusted_p(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "compare", *files, "--names", "a", "b", "c", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in document["accuracies"]] == ["a", "b", "c"]
    first, second = document["differences"]
    assert (first["names"], first["only_one"]) == (["b", "a"], [22, 1])
    assert (second["names"], second["only_one"]) == (["c", "a"], [10, 2])
    assert first["adjusted_p"] == pytest.approx(2 * first["p"])
    assert second["adjusted_p"] == second["p"] > first["adjusted_p"]
    assert main(["evaluate", "compare", *files]) == 0
    assert "adjusted: for 2 comparisons, by Holm's method" in capsys.readouterr().out


def test_the_hit_of_each_image_comes_back_from_the_file(files: list[str]) -> None:
    found = read_scores(Path(files[1]))
    assert found == scores([*range(8), 50])
    assert found.labels == tuple(LABELS.tolist())
    assert found.hits is not None
    assert [place for place, hit in enumerate(found.hits) if not hit] == [*range(8), 50]


def test_scores_add_up_image_by_image() -> None:
    whole = scores([1, 5])
    parts = [
        score((LABELS[part] + (part == 5)) % 3, LABELS[part], CLASSES) for part in torch.arange(90).split(40)
    ]
    total = parts[0] + parts[1] + parts[2]
    assert total.labels == whole.labels
    assert (total + replace(total, hits=None)).hits is None


def test_files_that_cannot_be_compared_are_refused(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(*arguments: str) -> str:
        assert main(["evaluate", "compare", *arguments]) in (1, 2)
        return capsys.readouterr().err

    other = tmp_path / "other.json"
    other.write_text(json.dumps(score(LABELS.flip(0), LABELS.flip(0), CLASSES).to_dict()))
    assert "must be of the same images in the same order" in message(files[0], str(other))
    older = tmp_path / "older.json"
    older.write_text(json.dumps(replace(scores([1]), hits=None, labels=None).to_dict()))
    assert "has counts, but not the hit of each image; evaluate again" in message(files[0], str(older))
    other.write_text("[]")
    assert "must hold the scores of an evaluation" in message(files[0], str(other))
    assert "at least two files, got 1" in message(files[0])
    assert "names must be one for each of the 2 files, got 1" in message(*files[:2], "--names", "a")


def test_two_files_say_what_the_function_says(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "compare", *files[:2]]) == 0
    one, other = (read_scores(Path(path)) for path in files[:2])
    assert str(compare_accuracies(other.hits, one.hits, names=("new", "old"))) in capsys.readouterr().out
