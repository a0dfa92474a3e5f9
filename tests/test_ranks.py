"""Tests that several processes with different rows on each equal one: values and averaged gradients.

The gradients are those after DistributedDataParallel's averaging. The processes are started once for every
world size and do all checks, see `ranks_worker.py`; a test looks at one result.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from align_uniform import gather_rows
from align_uniform._ranks import rank, world_size
from tests import ranks_worker, rows
from tests.as_they_are import align_loss, contrastive_loss, uniform_loss
from tests.processes import found_by
from tests.ranks_worker import COUNTS, MEASURED, OBJECTIVES, Model, step, views

SPLITS = [(world, counts) for world, splits in COUNTS.items() for counts in splits]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Return each process's results, check by check, by world size."""
    return found_by("ranks_worker", tmp_path_factory.mktemp("processes"), COUNTS)


def close(value: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(value.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("world", "counts"), SPLITS, ids=str)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_many_processes_have_the_value_and_the_gradient_of_one(
    name: str, world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    expected = step(Model().double(), views(counts), name, gather=False)
    assert expected["grads"]["encoder.weight"].abs().max() > 1e-3
    for results in found[world]:
        result = results[f"{name} {counts}"]
        assert not isinstance(result, str), result
        close(result["loss"], expected["loss"])
        for key, grad in expected["grads"].items():
            close(result["grads"][key], grad, 1e-11)


@pytest.mark.parametrize(("world", "counts"), SPLITS, ids=str)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_many_processes_have_the_value_of_one_in_float32(
    name: str, world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    expected = step(Model().double(), views(counts), name, gather=False)["loss"]
    values = [results[f"{name} {counts} float32"] for results in found[world]]
    for value in values:
        assert not isinstance(value, str), value
        assert value.dtype == torch.float32
        close(value, expected, 1e-6 if "t=60" not in name else 1e-5)
        assert torch.equal(value, values[0])  # the same number everywhere, to the last bit


@pytest.mark.parametrize(("world", "counts"), SPLITS, ids=str)
def test_gathered_rows_are_in_order_of_rank_and_sum_the_gradients_of_all(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    everyones = views(counts)[0]
    weights = torch.split(ranks_worker.numbers(sum(counts), 6) * sum(range(1, world + 1)), list(counts))
    for number, results in enumerate(found[world]):
        result = results[f"gather {counts}"]
        assert not isinstance(result, str), result
        assert torch.equal(result["rows"], everyones)
        close(result["grad"], weights[number])


@pytest.mark.parametrize(("world", "counts"), SPLITS, ids=str)
def test_a_process_evaluates_the_pairs_of_its_own_rows_alone(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    evaluated = [results[f"potentials {counts}"] for results in found[world]]
    assert evaluated == [count * sum(counts) for count in counts]


@pytest.mark.parametrize("world", COUNTS)
def test_one_row_among_all_processes_is_too_few_and_every_process_says_so(
    world: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    for results in found[world]:
        assert "x must have at least 2 rows, got 1" in results["a lone row"]


@pytest.mark.parametrize("world", COUNTS)
@pytest.mark.parametrize("name", ["align", "uniform", "contrastive", "w2"])
def test_a_second_derivative_across_processes_is_an_error_and_not_a_wrong_number(
    name: str, world: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    for results in found[world]:
        assert "once" in results[f"second derivative of {name}"]  # differentiable once


@pytest.mark.parametrize("world", COUNTS)
@pytest.mark.parametrize("name", ["align", "uniform", "contrastive", "w2"])
def test_forward_mode_across_processes_is_an_error_and_not_a_tangent_of_0(
    name: str, world: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    for results in found[world]:
        assert "jvp" in results[f"forward mode of {name}"]


@pytest.mark.parametrize("world", COUNTS)
@pytest.mark.parametrize("name", MEASURED)
def test_every_process_measures_what_one_does(
    name: str, world: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    expected = flat(json.loads(MEASURED[name]().to_json()))
    for results in found[world]:
        document = json.loads(results[f"measured {name}"])
        assert document["provenance"]["processes"] == world
        for key, value in flat(document).items():
            assert value == (
                pytest.approx(expected[key], rel=1e-9, abs=1e-9)
                if isinstance(value, float)
                else expected[key]
            ), key


@pytest.mark.parametrize("world", COUNTS)
def test_a_process_measures_on_its_own_unless_it_is_told_to_share(
    world: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    alone, *others = (results["one alone"] for results in found[world])
    assert others == [[]] * (world - 1)
    time = r'"(seconds|measured)": [^\n]*'
    for document, expected in zip(alone, ranks_worker.measured_by_one(0), strict=True):
        assert re.sub(time, "", document) == re.sub(time, "", expected)
    assert json.loads(alone[0])["provenance"]["processes"] == 1


def flat(part: Any, name: str = "") -> dict[str, Any]:
    """Return the numbers of a JSON document by their paths, provenance left out."""
    if isinstance(part, dict | list):
        items = part.items() if isinstance(part, dict) else enumerate(part)
        return {
            k: v
            for key, value in items
            if key != "provenance"
            for k, v in flat(value, f"{name}.{key}").items()
        }
    return {name: part}


@pytest.mark.parametrize("world", COUNTS)
def test_every_process_names_the_same_broken_rows(world: int, found: dict[int, list[dict[str, Any]]]) -> None:
    for results in found[world]:
        assert "features has 2 of 50 rows with a NaN or an infinity (rows 4, 33)" in results["a broken row"]


# ------------------------------------------------------------------------------------ without a process group


def test_without_a_process_group_this_is_process_0_of_1() -> None:
    assert (rank(), world_size()) == (0, 1)
    x = rows.normal(3, 2)
    assert gather_rows(x) is x


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_a_process_group_gathering_changes_neither_value_nor_gradient(name: str) -> None:
    plain, gathering = (step(Model().double(), views((7,)), name, gather=gather) for gather in (False, True))
    close(gathering["loss"], plain["loss"], 1e-14)
    for key, grad in plain["grads"].items():
        close(gathering["grads"][key], grad, 1e-13)


def test_without_a_process_group_gathering_keeps_higher_derivatives() -> None:
    x, y = rows.normal(2, 4, 2)
    for loss in (
        lambda x, g: align_loss(x, y, 3, gather_distributed=g),
        lambda x, g: uniform_loss(x, gather_distributed=g),
        lambda x, g: contrastive_loss(x, y, 0.5, gather_distributed=g),
    ):
        plain, gathering = (
            torch.func.hessian(lambda x, g=g, loss=loss: loss(x, g))(x) for g in (False, True)
        )
        close(gathering, plain, 1e-11)
