"""The neighbours and the table of classes of a measurement, against a search row by row."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from align_uniform import Measurement, measure
from align_uniform.measuring import classes as module
from align_uniform.measuring import populations
from align_uniform.measuring.answers import Classes, ClassRow
from align_uniform.measuring.populations import Population
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.subject import subject
from align_uniform.measuring.units import units_of
from tests import oracle, rows


def clustered(count: int = 90, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, list[str]]:
    """Return unit rows around three directions, of which two are near each other, and their labels."""
    labels = ["cat", "dog", "car"] * (count // 3)
    centres = {"cat": [1.0, 0.2, 0, 0], "dog": [1.0, -0.2, 0, 0], "car": [0, 0, 1.0, 0]}
    z = rows.unit(count, 4, seed=seed) + torch.tensor([centres[label] for label in labels])
    z = torch.nn.functional.normalize(z, dim=1)
    return z, oracle.numbers(z), labels


def accuracy(z: np.ndarray, labels: list[str], groups: list[int]) -> tuple[float, dict[str, float]]:
    """Return the accuracy of five votes, and the share of own neighbours of each class."""
    hits, own = [], {label: [0, 0] for label in labels}
    for row, label in enumerate(labels):
        others = [other for other in range(len(labels)) if groups[other] != groups[row]]
        near = [labels[o] for o in sorted(others, key=lambda o: np.linalg.norm(z[o] - z[row]))[:5]]
        hits.append(most_votes(near) == label)
        own[label][0] += near.count(label)
        own[label][1] += len(near)
    return float(np.mean(hits)), {name: a / b for name, (a, b) in own.items()}


def error_of(z: np.ndarray, labels: list[str]) -> float:
    """Return the error of the accuracy, row by row: its own hit, and its part in the votes for others."""
    n = len(labels)
    distances = np.linalg.norm(z[:, None] - z, axis=2)
    np.fill_diagonal(distances, np.inf)
    near = distances.argsort(axis=1)[:, :5]
    matches = np.array([[labels[other] == labels[row] for other in near[row]] for row in range(n)], float)
    hits = np.array([most_votes([labels[other] for other in near[row]]) == labels[row] for row in range(n)])
    slope = np.polyfit(matches.mean(1), hits, 1)[0]
    influences = (hits - hits.mean()) / np.sqrt(n * (n - 1))
    pairs: Counter[tuple[int, int]] = Counter()
    for row in range(n):
        for place, other in enumerate(near[row]):
            part = slope * (matches[row, place] - matches.mean()) / (5 * n)
            influences[other] += part
            pairs[min(row, other), max(row, other)] += part
    return math.sqrt(np.square(influences).sum() - np.square(list(pairs.values())).sum())


def most_votes(near: list[str]) -> str:
    most = max(Counter(near).values())
    return next(name for name in near if near.count(name) == most)


def of(result: Measurement) -> Classes:
    assert result.classes is not None
    return result.classes


def test_the_accuracy_is_that_of_five_votes_without_the_row_itself() -> None:
    z, wide, labels = clustered()
    found = of(measure(z, labels=labels))
    expected, own = accuracy(wide, labels, list(range(90)))
    assert 0.5 < expected < 1
    assert found.knn == pytest.approx(expected)
    assert (found.k, found.queries, found.count) == (5, 90, 3)
    assert {row.name: row.own for row in found.table} == pytest.approx(own)
    assert found.knn_stderr == pytest.approx(error_of(wide, labels))


@pytest.mark.parametrize("given", ["groups", "ids"])
def test_rows_of_one_group_or_id_are_no_neighbours(given: str) -> None:
    """Copies of a row, such as frames of one film, would find themselves."""
    z, _, labels = clustered(45)
    twice = torch.cat([z, z + 1e-3 * rows.unit(45, 4, seed=3)])
    codes = [*range(45), *range(45)]
    options: dict[str, Any] = {given: codes}
    found = of(measure(twice, labels=labels * 2, **options))
    expected, own = accuracy(oracle.numbers(twice / twice.norm(dim=1, keepdim=True)), labels * 2, codes)
    assert found.knn == pytest.approx(expected)
    assert {row.name: row.own for row in found.table} == pytest.approx(own)


def test_the_table_has_the_numbers_of_each_class_by_itself() -> None:
    z, wide, labels = clustered()
    found = of(measure(z, labels=labels, t=3))
    for line in found.table:
        own = wide[[label == line.name for label in labels]]
        squared = np.square(own[:, None] - own[None]).sum(-1)[~np.eye(len(own), dtype=bool)]
        assert line.rows == 30
        assert line.align == pytest.approx(squared.mean(), rel=1e-5)
        assert line.uniform == pytest.approx(np.log(np.exp(-3 * squared).mean()), rel=1e-5)
    assert [line.nearest for line in found.table[:2]] == ["dog", "cat"]


def test_classes_of_one_row_and_a_single_class_have_what_there_is() -> None:
    z = rows.unit(20, 4)
    single = of(measure(z, labels=["a"] * 20))
    assert (single.knn, single.table[0].nearest, single.table[0].own) == (1.0, None, 1.0)
    rare = of(measure(z, labels=["a"] * 19 + ["b"]))
    assert [(line.name, line.rows) for line in rare.table] == [("a", 19), ("b", 1)]
    assert (rare.table[1].align, rare.table[1].uniform, rare.table[1].nearest) == (None, None, "a")


def test_a_sample_looks_among_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    z, wide, labels = clustered(300)
    monkeypatch.setattr(module, "PRODUCTS", 100)
    monkeypatch.setattr(module, "SAMPLE", 60)
    result = measure(z, labels=labels)
    found, (exact, _) = of(result), accuracy(wide, labels, list(range(300)))
    assert found.queries == 60
    assert found.knn_stderr is not None
    assert abs(found.knn - exact) < 4 * found.knn_stderr
    assert "60 rows, leave one out" in str(result)


def test_long_tables_keep_the_largest_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 2)
    found = of(measure(rows.unit(12, 4), labels=[*"aaaabbbccd", "e", "f"]))
    assert (found.count, [line.name for line in found.table]) == (6, ["a", "b"])


def test_large_classes_have_the_uniformity_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    z, _, labels = clustered(300)
    exact = of(measure(z, labels=labels))
    monkeypatch.setattr(module, "ROWS_OF_CLASS", 60)
    sampled = of(measure(z, labels=labels))
    for whole, part in zip(exact.table, sampled.table, strict=True):
        assert part.uniform != whole.uniform
        assert part.uniform == pytest.approx(whole.uniform, abs=0.3)


def test_views_have_the_ratio_of_classes_next_to_their_own() -> None:
    z, wide, labels = clustered()
    result = measure(z, z + 0.1 * rows.unit(90, 4, seed=1), labels=labels)
    alone = measure(z, labels=labels)
    assert alone.align is not None
    assert alone.tolerance is not None
    assert result.tolerance is not None
    same = np.array([[a == b for a in labels] for b in labels])
    squared = np.square(wide[:, None] - wide[None]).sum(-1)
    expected = squared[same & ~np.eye(90, dtype=bool)].mean() / squared[~same].mean()
    assert result.tolerance.within_between == pytest.approx(expected, rel=1e-5)
    assert result.tolerance.within_between_stderr == alone.align.relative_stderr
    assert "within over between" in str(result)
    assert "within over between" not in str(alone)


def test_the_table_is_printed_and_kept_in_json() -> None:
    z, _, labels = clustered()
    result = measure(z, labels=labels)
    assert Measurement.from_json(result.to_json()).classes == result.classes
    lines = str(of(result)).splitlines()
    assert lines[0].split()[:2] == ["class", "rows"]
    weakest = of(result).weakest
    assert weakest is not None
    assert lines[1].startswith(weakest.name)
    assert f"weakest '{weakest.name}'" in str(result)


def test_a_class_that_none_looked_for_is_not_the_weakest() -> None:
    lines = (ClassRow("a", 3, 0.1, -1.0, "b", None), ClassRow("b", 3, 0.1, -1.0, "a", 0.5))
    assert Classes(5, 3, 0.5, 0.1, 2, lines).weakest == lines[1]
    assert Classes(5, 3, 0.5, 0.1, 2, lines[:1]).weakest is None


def test_the_difference_of_accuracies_is_paired() -> None:
    z, _, labels = clustered(300)
    other = torch.nn.functional.normalize(z + 0.3 * rows.unit(300, 4, seed=5), dim=1)
    a, b = measure(z, labels=labels), measure(other, labels=labels)
    difference = a - b
    assert difference.paired
    assert difference.knn == pytest.approx(of(a).knn - of(b).knn)
    assert difference.knn_stderr is not None
    apart = a.difference(b, paired=False).knn_stderr
    assert apart is not None
    assert difference.knn_stderr < apart


@pytest.mark.parametrize(("size", "least"), [(1, 0.95), (5, 0.8)], ids=["rows", "groups"])
def test_errors_of_the_accuracy_hold_in_repeated_samples(size: int, least: float) -> None:
    """Rows that vote for each other are not independent: errors of a mean of hits hold in 80 to 90%."""
    centres = 0.4 * rows.normal(6, 16, seed=9)
    items = 300 // size

    def found(seed: int) -> Classes:
        labels = torch.arange(items) % 6
        x = centres[labels] + (1 if size == 1 else 0.8) * rows.normal(items, 16, seed=seed)
        x, labels = (each.repeat_interleave(size, 0) for each in (x, labels))
        x = x + (0 if size == 1 else 0.5) * rows.normal(300, 16, seed=7000 + seed)
        asked = subject(
            x, None, PairChoice(None, None, None, True), ids=None, normalize=True, device=None, name=None
        )
        units = units_of(asked, torch.arange(items).repeat_interleave(size))
        result, _ = module.classes(asked, labels.tolist(), labels, units, 2, 0)
        assert result is not None
        return result

    values, errors = torch.tensor(
        [(each.knn, each.knn_stderr) for each in map(found, range(150))], dtype=torch.float64
    ).unbind(1)
    assert least < float(errors.mean() / values.std()) < 1.45
    assert float(((values - values.mean()).abs() <= 1.96 * errors).double().mean()) > 0.9


def test_the_rows_of_many_classes_are_fetched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    z, codes = rows.unit(60, 8), torch.arange(60) % 12
    population = Population(z, "rows", normalize=True, device=torch.device("cpu"))
    members = [(codes == number).nonzero().squeeze(1) for number in range(12)] + [torch.tensor([0])]
    fetched = []

    def take(given: Population, numbers: torch.Tensor) -> torch.Tensor:
        fetched.append(len(numbers))
        return populations.take(given, numbers)

    monkeypatch.setattr(module, "take", take)
    whole = list(module._uniformities(population, members, 2, seed=0))
    assert fetched == [61]
    monkeypatch.setattr(module, "FETCHED_BYTES", 12 * 8 * 8)  # two classes of five rows
    fetched.clear()
    assert list(module._uniformities(population, members, 2, seed=0)) == pytest.approx(whole, nan_ok=True)
    assert fetched == [10] * 5 + [11]
    assert whole[-1] is None
    assert whole[3] == pytest.approx(oracle.uniform(oracle.numbers(z[codes == 3]), 2))
