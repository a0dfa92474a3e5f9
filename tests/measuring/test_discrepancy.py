"""The squared MMD of populations of any size: the definition, its errors, the witness."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from align_uniform.measuring import populations
from align_uniform.measuring.discrepancy import Discrepancy, Side, discrepancy
from align_uniform.measuring.populations import Population
from align_uniform.measuring.row_sums import all_row_sums, anchor_row_sums
from align_uniform.measuring.two_samples import TwoSamples
from tests import oracle, rows

PAIRED = pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])


def nothing(_: int) -> None:
    pass


def side(z: Tensor, anchors: Tensor | None = None, t: float = 2) -> Side:
    population = Population(z, "rows", normalize=False, device=torch.device("cpu"))
    sums = (
        all_row_sums(population, [t], nothing)
        if anchors is None
        else anchor_row_sums(population, anchors, [t], nothing)
    )
    return Side(population, sums.sums[0] * sums.shift.exp() / (len(z) - 1), anchors)


def found(a: Side, b: Side, *, paired: bool, degenerate: float = 0.0, top: int = 3) -> Discrepancy:
    return discrepancy(a, b, 2, paired=paired, degenerate=degenerate, top=top, progress=nothing)


def two(n: int, seed: int = 0, *, paired: bool, shift: float = 0.2) -> tuple[Tensor, Tensor]:
    drawn = rows.normal(3, n, 5, seed=seed)
    x, y = (drawn[0] + 0.5 * drawn[1], drawn[0] + 0.5 * drawn[2]) if paired else (drawn[0], drawn[1])
    return torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y + shift, dim=1)


@PAIRED
def test_the_value_is_the_definitions(paired: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(populations, "BLOCK_BYTES", 7 * 5 * 4)
    x, y = two(23, paired=paired)
    y = y if paired else y[:17]
    expected = oracle.squared_mmd(oracle.numbers(x), oracle.numbers(y), paired=paired)
    exact = found(side(x), side(y), paired=paired)
    assert exact.squared_mmd == pytest.approx(expected, rel=1e-9)
    assert exact.approximation_stderr == 0
    potentials = [oracle.uniform(oracle.numbers(each)) for each in (x, y)]
    assert exact.relative == pytest.approx(expected / sum(map(math.exp, potentials)), rel=1e-9)
    assert found(side(y), side(x), paired=paired).squared_mmd == pytest.approx(expected, rel=1e-9)


def test_sides_without_anything_in_common_differ_by_all_there_is() -> None:
    x = rows.unit(30, 5) / 10
    assert found(side(x), side(x + 9), paired=False).relative == pytest.approx(1, abs=1e-9)


@PAIRED
def test_the_anchors_error_is_that_of_the_anchors(paired: bool) -> None:
    """200 draws of 40 of 150 rows have the spread that one draw says, and the mean of all rows."""
    x, y = two(150, paired=paired)
    exact = found(side(x), side(y), paired=paired)
    values, errors = [], []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        of_x = torch.randperm(150, generator=generator)[:40].sort().values
        of_y = of_x if paired else torch.randperm(150, generator=generator)[:40].sort().values
        drawn = found(side(x, of_x), side(y, of_y), paired=paired)
        values.append(drawn.squared_mmd)
        errors.append(drawn.approximation_stderr)
    spread = float(torch.tensor(values).std())
    assert 0.85 < float(torch.tensor(errors).mean()) / spread < 1.15
    assert abs(float(torch.tensor(values).mean()) - exact.squared_mmd) < 4 * spread / math.sqrt(200)


@PAIRED
@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_the_error_is_that_of_samples(paired: bool, shift: float) -> None:
    """200 samples of 60 rows have the spread that one sample says; 95% intervals hold their mean."""
    values, errors = [], []
    for seed in range(200):
        x, y = two(60, seed, paired=paired, shift=shift)
        degenerate = TwoSamples(x, y, 2, paired=paired).degenerate_variance((60, 60))
        one = found(side(x), side(y), paired=paired, degenerate=degenerate)
        values.append(one.squared_mmd)
        errors.append(one.stderr)
    off = torch.tensor(values) - torch.tensor(values).mean()
    assert 0.85 < float(torch.tensor(errors).mean() / off.std()) < 1.2
    assert float((off.abs() < 1.96 * torch.tensor(errors)).double().mean()) > 0.89
    assert one.total_stderr == one.stderr


@PAIRED
def test_the_most_typical_rows_are_those_that_the_other_side_lacks(paired: bool) -> None:
    x, y = two(60, paired=paired, shift=0)
    pole = torch.eye(5, dtype=torch.float64)[0]
    odd = list(range(4, 60, 7))
    x[odd], y[odd] = torch.nn.functional.normalize(-pole + 0.1 * x[odd], dim=1), pole
    exact = found(side(x), side(y), paired=paired, top=len(odd))
    assert sorted(row.row for row in exact.typical[0]) == odd
    assert sorted(row.row for row in exact.typical[1]) == odd
    for rows_of_side, witness in zip(exact.typical, exact.witness, strict=True):
        values = [row.own - row.other for row in rows_of_side]
        assert values == sorted(values, reverse=True)
        assert values == [pytest.approx(float(witness[row.row])) for row in rows_of_side]
    some = torch.tensor([3, 4, 20, 50])
    assert found(side(x, some), side(y, some), paired=paired, top=1).typical[0][0].row == 4
    assert found(side(x), side(y), paired=paired, top=0).typical == ((), ())
