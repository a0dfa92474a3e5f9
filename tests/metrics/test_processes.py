"""Many processes have the values of one, however few rows each has."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform import measure
from tests.metrics import worker
from tests.metrics.feeding import close
from tests.metrics.keys import key
from tests.metrics.worker import COUNTS, FEW, WIDTHS
from tests.processes import found_by


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Return each process's results, check by check, by world size."""
    return found_by("metrics.worker", tmp_path_factory.mktemp("processes"), COUNTS)


SPLITS = [(world, counts) for world, splits in COUNTS.items() for counts in splits]


FIRST_SPLITS = [(world, counts) for world, splits in COUNTS.items() for counts in splits[:2]]


def expected_values(x: Tensor, y: Tensor) -> dict[str, float]:
    """Return the values of all rows at once, except for the small sample."""
    pairs = [measure(x, y, alpha=alpha).align for alpha in (2, 1)]
    uniforms = {
        "uniform": measure(x).uniform,
        "uniform t=3": measure(x, t=3).uniform,
        "uniform raw": measure(x, normalize=False).uniform,
    }
    values = {"rankme": measure(x).rankme} | {name: uniform.value for name, uniform in uniforms.items()}
    values |= {f"{name} stderr": uniform.stderr or math.nan for name, uniform in uniforms.items()}
    for name, align in zip(("align", "align alpha=1"), pairs, strict=True):
        assert align is not None
        values |= {name: align.value, f"{name} stderr": align.stderr or math.nan}
    return values


def few_value(parts: list[Tensor]) -> float:
    """Return the value of the rows with the smallest keys; of all if they are few."""
    keys = [key(5, rank, number) for rank, part in enumerate(parts) for number in range(len(part))]
    smallest = sorted(range(len(keys)), key=lambda number: keys[number])[:FEW]
    return measure(torch.cat(parts)[smallest]).uniform.value


def agree(results: list[Any], expected: dict[str, float]) -> None:
    """Assert that every process has all of the values, the same on each to the last bit."""
    for result in results:
        assert not isinstance(result, str), result
        for name, number in expected.items():
            close(result[name], number)
            assert result[name].isnan() if results[0][name].isnan() else result[name] == results[0][name]


@pytest.mark.parametrize(("world", "counts"), SPLITS, ids=str)
def test_many_processes_have_the_values_of_one(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    x, y = worker.views(counts)
    expected = expected_values(x, y) | {"uniform few": few_value(list(x.split(list(counts))))}
    results = [result[f"streamed {counts}"] for result in found[world]]
    assert not any(isinstance(result, str) for result in results), results
    agree([first for first, _ in results], expected)
    both = [torch.cat(pair) for pair in zip(x.split(list(counts)), y.split(list(counts)), strict=True)]
    expected = expected_values(torch.cat([x, y]), torch.cat([y, x])) | {"uniform few": few_value(both)}
    agree([second for _, second in results], expected)


@pytest.mark.parametrize(("world", "counts"), FIRST_SPLITS, ids=str)
def test_many_processes_with_an_empty_batch_each_have_the_values_of_one(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    agree(
        [result[f"empty batches {counts}"] for result in found[world]],
        expected_values(*worker.views(counts)),
    )


@pytest.mark.parametrize(("world", "counts"), FIRST_SPLITS, ids=str)
def test_processes_may_hold_rows_of_different_dtypes(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    parts = worker.views(counts).split(list(counts), dim=1)
    x, y = torch.cat([part.to(dtype).double() for part, dtype in zip(parts, WIDTHS, strict=False)], dim=1)
    agree([result[f"mixed {counts}"] for result in found[world]], expected_values(x, y))


@pytest.mark.parametrize(("world", "counts"), FIRST_SPLITS, ids=str)
def test_a_step_has_the_value_of_all_processes_if_asked_and_its_own_if_not(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    expected = expected_values(*worker.views(counts))
    agree(
        [result[f"on step {counts}"] for result in found[world]],
        {name: number for name, number in expected.items() if "stderr" not in name},
    )
    for rank, result in enumerate(found[world]):
        x, y = worker.views(counts, rank)
        own = result[f"own batch {counts}"]
        assert not isinstance(own, str), own
        if len(x):
            agree(
                [own],
                {name: number for name, number in expected_values(x, y).items() if "stderr" not in name},
            )


@pytest.mark.parametrize("world", COUNTS)
def test_processes_without_any_row_have_nan(world: int, found: dict[int, list[dict[str, Any]]]) -> None:
    for result in found[world]:
        assert not isinstance(result["nothing"], str), result["nothing"]
        assert all(number.isnan() for number in result["nothing"].values())


@pytest.mark.parametrize("world", COUNTS)
@pytest.mark.parametrize("name", ["uniform", "rankme"])
def test_processes_with_different_features_all_say_so(
    world: int, name: str, found: dict[int, list[dict[str, Any]]]
) -> None:
    for result in found[world]:
        assert (
            "x must have one number of features on all processes, got [6, 7" in result[f"features of {name}"]
        )
