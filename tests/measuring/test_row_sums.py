"""Sums of potentials row by row, block by block, against the definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from align_uniform.measuring import populations, row_sums
from align_uniform.measuring.populations import Population
from tests import oracle, rows

TS = (2.0, 0.5, 5.0)


def population(z: Tensor, device: str = "cpu", *, normalize: bool = False) -> Population:
    return Population(z, "rows", normalize=normalize, device=torch.device(device))


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 rows of 5 features, and tiles of 3 rows, against all at once."""
    if request.param == "many blocks":
        request.getfixturevalue("tiny_tiles")
        monkeypatch.setattr(populations, "BLOCK_BYTES", 7 * 5 * 4)


def log_sums(result: row_sums.RowSums) -> Tensor:
    return result.sums.log() + result.shift.unsqueeze(1)


def expected(z: Tensor, ts: Sequence[float], power: int = 1) -> Tensor:
    sums = [oracle.potential_sums(oracle.numbers(z), power * t) for t in ts]
    return torch.from_numpy(np.stack(sums)).log()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("radius", [1, 9])
def test_all_row_sums_are_the_definitions(
    blocks: None, device: str, dtype: torch.dtype, radius: float
) -> None:
    z = (rows.unit(23, 5) * radius).to(device, dtype)
    found = row_sums.all_row_sums(population(z, device), TS, lambda _: None)
    tolerance = 8 * torch.finfo(dtype).eps * max(TS) * radius**2
    logs, truth = log_sums(found), expected(z, TS)
    torch.testing.assert_close(logs.logsumexp(1), truth.logsumexp(1), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        logs.softmax(1), truth.softmax(1), rtol=tolerance, atol=1e-30
    )  # the share of every row
    log_squares = found.squares.log() + 2 * found.shift
    torch.testing.assert_close(
        log_squares, expected(z, TS, 2).logsumexp(1), rtol=2 * tolerance, atol=2 * tolerance
    )


@pytest.mark.usefixtures("tile_loop")
def test_the_variance_of_potentials_keeps_its_digits_in_float32() -> None:
    noise = rows.normal(1500, 64) * 0.0145
    x = torch.nn.functional.normalize(torch.eye(64)[0] + noise, dim=1)
    single, double = (population(x.to(dtype)) for dtype in (torch.float32, torch.float64))
    assert not row_sums.care_of(single, (2.0,)).wider

    def variance(given: Population) -> float:
        found = row_sums.all_row_sums(given, (2.0,), lambda _: None)
        pairs = 1500 * 1499
        return float(found.squares[0] / pairs - (found.sums[0].sum() / pairs).square())

    assert variance(single) == pytest.approx(variance(double), rel=1e-4)


def test_what_would_underflow_does_not(blocks: None) -> None:
    z = torch.tensor([[1.0, 0, 0, 0, 0], [-1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
    found = row_sums.all_row_sums(population(z), [60.0, 1.0], lambda _: None)
    torch.testing.assert_close(log_sums(found), expected(z, [60, 1]), rtol=1e-6, atol=1e-6)


def test_far_rows_keep_their_digits(blocks: None) -> None:
    z = 300 * rows.normal(40, 5, dtype=torch.float32)
    z[1::2] = z[::2] + 1e-3 * rows.normal(20, 5, dtype=torch.float32)
    found = row_sums.all_row_sums(population(z), [2.0], lambda _: None)
    torch.testing.assert_close(log_sums(found), expected(z, [2.0]), rtol=1e-6, atol=1e-6)
    some = torch.tensor([0, 7, 30])
    found = row_sums.anchor_row_sums(population(z), some, [2.0], lambda _: None)
    torch.testing.assert_close(log_sums(found), expected(z, [2.0])[:, some], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("t", [2.0, 50.0])
def test_anchors_have_the_sums_of_their_rows(blocks: None, t: float) -> None:
    z, anchors = rows.unit(40, 5), torch.tensor([0, 3, 4, 11, 25, 39])
    found = row_sums.anchor_row_sums(population(z), anchors, [t, 1.0], lambda _: None)
    torch.testing.assert_close(log_sums(found), expected(z, [t, 1.0])[:, anchors], rtol=1e-10, atol=1e-10)
    log_squares = found.squares.log() + 2 * found.shift
    torch.testing.assert_close(
        log_squares, expected(z, [t, 1.0], 2)[:, anchors].logsumexp(1), rtol=1e-10, atol=1e-10
    )


def test_progress_counts_every_potential_once(blocks: None) -> None:
    visited: list[int] = []
    row_sums.all_row_sums(population(rows.unit(23, 5)), [2.0], visited.append)
    assert 23 * 22 / 2 <= sum(visited) <= 23**2  # a tile on the diagonal holds both halves


def test_near_duplicates_are_flagged_on_both_sides(blocks: None) -> None:
    z = rows.unit(30, 5)
    z[20] = torch.nn.functional.normalize(z[3] + 0.01 * z[4], dim=0)
    z[21] = z[8]
    z[22] = torch.nn.functional.normalize(z[9] + 0.07 * z[4], dim=0)  # at an angle of 2.6 to 5.1 degrees
    near, wider = row_sums.all_row_sums(population(z), [2.0, 1.0], lambda _: None).near
    assert near.nonzero().squeeze(1).tolist() == [3, 8, 20, 21]
    assert wider.nonzero().squeeze(1).tolist() == [3, 8, 9, 20, 21, 22]
    some = torch.tensor([2, 3, 9, 29])
    near, wider = row_sums.anchor_row_sums(population(z), some, [2.0], lambda _: None).near
    assert near.tolist() == [False, True, False, False]
    assert wider.tolist() == [False, True, True, False]


def test_the_mean_between_two_populations_is_the_definitions(blocks: None) -> None:
    x, y = rows.unit(20, 5), rows.unit(31, 5, seed=1)
    found = row_sums.cross_log_mean(population(x), population(y), 3, lambda _: None)
    exponents = oracle.exponents_across(oracle.numbers(x), oracle.numbers(y), 3)
    assert found == pytest.approx(oracle.log_sum_exp(exponents) - np.log(len(exponents)), abs=1e-10)
    some = torch.tensor([1, 5, 19])
    few = row_sums.cross_log_mean(population(x), population(y), 3, lambda _: None, rows=some)
    exponents = oracle.exponents_across(oracle.numbers(x[some]), oracle.numbers(y), 3)
    assert few == pytest.approx(oracle.log_sum_exp(exponents) - np.log(len(exponents)), abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("t", [2.0, 400.0])
def test_sums_between_two_populations_are_the_definitions_of_either_side(
    blocks: None, dtype: torch.dtype, t: float
) -> None:
    x, y = rows.unit(20, 5), rows.unit(31, 5, seed=1)
    sides = population(x.to(dtype)), population(y)  # of two dtypes, of which the wider is taken
    found = row_sums.cross_row_sums(*sides, [t, 1.0], lambda _: None)
    for number, width in enumerate([t, 1.0]):
        truth = [
            oracle.potential_sums(oracle.numbers(a), width, oracle.numbers(b)) for a, b in ((x, y), (y, x))
        ]
        tolerance = 10 * t * torch.finfo(dtype).eps
        expected = torch.from_numpy(np.concatenate(truth)).log()
        torch.testing.assert_close(log_sums(found)[number], expected, rtol=tolerance, atol=tolerance)
        squares = oracle.potential_sums(oracle.numbers(x), 2 * width, oracle.numbers(y)).sum()
        assert float(found.squares[number].log() + 2 * found.shift[number]) == pytest.approx(
            np.log(2 * squares), abs=100 * tolerance
        )
    some = torch.tensor([1, 5, 19])
    few = row_sums.cross_row_sums(*sides, [t, 1.0], lambda _: None, rows=some)
    torch.testing.assert_close(log_sums(few), log_sums(found)[:, some], rtol=tolerance, atol=tolerance)


def test_progress_between_populations_counts_every_potential_once(blocks: None) -> None:
    visited: list[int] = []
    sides = population(rows.unit(20, 5)), population(rows.unit(31, 5, seed=1))
    row_sums.cross_row_sums(*sides, [2.0], visited.append)
    assert sum(visited) == 20 * 31
