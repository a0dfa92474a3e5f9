"""Clumps of rows are strata of the anchors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform import measure
from align_uniform.measuring.clumps import Sample, _strata_of_cells, draw, strata_of
from align_uniform.measuring.populations import Population
from align_uniform.measuring.uniformity import anchor_potentials, exact_potentials
from tests import rows


def with_a_clump(jitter: float) -> Tensor:
    """Return 2,000 uniform rows, of which the first 40 lie in one place."""
    z = rows.unit(2000, 32)
    z[:40] = F.normalize(rows.unit(1, 32, seed=1) + jitter * rows.unit(40, 32, seed=2), dim=1)
    return z


def population_of(z: Tensor) -> Population:
    return Population(z.float(), "rows", normalize=True, device=torch.device("cpu"))


@pytest.mark.parametrize(("jitter", "least"), [(0.0, 40), (0.01, 30)])
def test_a_clump_is_a_stratum(jitter: float, least: int) -> None:
    strata = strata_of(population_of(with_a_clump(jitter)), 200)
    clump = strata[:40]
    assert int((clump == clump.mode().values).sum()) >= least
    assert int(clump.mode().values) > 0
    assert int((strata[40:] == 0).sum()) > 1900


def test_even_rows_have_no_clumps() -> None:
    assert int(strata_of(population_of(rows.unit(5000, 64)), 500).max()) == 0


def test_anchors_are_drawn_from_every_stratum_in_proportion() -> None:
    strata = torch.tensor([0] * 900 + [1] * 95 + [2] * 5)
    drawn = draw(strata, 100, seed=0)
    assert strata[drawn].bincount().tolist() == [90, 10, 3]
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    sample = Sample.of(drawn, strata, 1000)
    assert float(sample.weights.sum()) == pytest.approx(1)
    assert float(sample.weights @ (strata[drawn] == 2).double()) == pytest.approx(0.005)


def test_a_sum_over_strata_has_the_textbook_error() -> None:
    strata = torch.tensor([0] * 60 + [1] * 40)
    drawn, values = draw(strata, 20, seed=0), rows.normal(20)
    sample = Sample.of(drawn, strata, 100)
    variance = 0.0
    for stratum, count, size in ((0, 12, 60), (1, 8, 40)):
        part = values[strata[drawn] == stratum]
        variance += (size / 100) ** 2 * (1 - count / size) * float(part.var()) / count
    deviations = sample.deviations(sample.weights * values)
    assert float(deviations.square().sum()) == pytest.approx(variance)


@pytest.mark.parametrize("jitter", [0.0, 0.01])
def test_anchors_lie_within_their_error_where_2_percent_of_the_rows_lie_in_one_place(jitter: float) -> None:
    population = population_of(with_a_clump(jitter))
    ((exact,), _) = exact_potentials(population, [2.0], lambda _: None)
    strata = strata_of(population, 200)
    found = []
    for seed in range(120):
        anchors = draw(strata, 200, seed)
        ((estimate,), _) = anchor_potentials(population, anchors, [2.0], lambda _: None, strata)
        found.append((estimate.log_mean - exact.log_mean, estimate.approximation_stderr))
    deviations, errors = torch.tensor(found, dtype=torch.float64).unbind(1)
    assert 0.9 <= float((deviations.abs() <= 1.96 * errors).double().mean()) <= 0.99
    assert 0.8 < float(errors.mean() / deviations.std()) < 1.25


def test_near_duplicates_are_counted_by_the_weights_of_strata() -> None:
    z = with_a_clump(0.0)
    exact, found = measure(z).duplicates, measure(z, method="anchors", anchors=200).duplicates
    assert exact.near == 40
    assert found.near == pytest.approx(40, abs=12)


@pytest.mark.parametrize("dim", [1, 16])
def test_anchors_have_an_error_where_every_row_lies_in_a_clump(dim: int) -> None:
    z = rows.unit(10, dim).repeat_interleave(60, 0)
    strata = strata_of(population_of(z), 200)
    assert strata.unique().tolist() == list(range(int(strata.max()) + 1))
    exact, found = measure(z).uniform, measure(z, method="anchors", anchors=200).uniform
    assert abs(found.value - exact.value) <= 3 * found.approximation_stderr + 1e-6
    assert found.gap_stderr == pytest.approx(exact.stderr, rel=0.3)


def test_the_largest_cells_are_strata_and_all_other_rows_are_one() -> None:
    cells = torch.tensor([7] * 30 + [-5] * 12 + [3] * 9 + list(range(100, 149)))
    strata = _strata_of_cells(cells, 100)
    assert strata[:42].tolist() == [2] * 30 + [1] * 12  # in the order of their codes
    assert not strata[42:].any()
    assert _strata_of_cells(cells, 20)[:30].tolist() == [1] * 30  # a single one may be kept
    assert sorted(set(_strata_of_cells(cells[:42], 100).tolist())) == [0, 1]
    assert not _strata_of_cells(cells[51:], 100).any()
