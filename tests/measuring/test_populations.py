"""Rows are read block by block, whatever their source, and refused by number if they cannot be measured."""

from __future__ import annotations

import pytest
import torch

from align_uniform.measuring import populations
from align_uniform.measuring.populations import Population, block_slices, take
from tests import rows

CPU = torch.device("cpu")


def test_blocks_are_of_so_many_bytes_and_cover_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    population = Population(rows.normal(40, 5), "rows", normalize=False, device=CPU)
    assert block_slices(population) == [slice(0, 40)]
    assert [part.stop - part.start for part in block_slices(population, 15 * 5 * 4)] == [14, 14, 12]
    monkeypatch.setattr(populations, "BLOCK_BYTES", 1)
    assert block_slices(population) == [slice(row, row + 1) for row in range(40)]
    monkeypatch.setattr("align_uniform._ranks.world_size", lambda: 2)
    assert len(block_slices(population, 2**20)) == 3  # so that both processes have work


@pytest.mark.parametrize("size", [7 * 5 * 4, 2**20])
def test_rows_are_taken_in_the_order_asked_for(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(populations, "BLOCK_BYTES", size)
    z, order = rows.normal(40, 5), torch.tensor([39, 0, 7, 7, 20, 6])
    population = Population(z, "rows", normalize=False, device=CPU)
    torch.testing.assert_close(take(population, order), z[order])


def test_a_population_of_some_rows_knows_their_numbers_in_the_source() -> None:
    z, kept = rows.normal(40, 5), torch.tensor([2, 3, 11, 30])
    population = Population(z, "rows", normalize=False, device=CPU, kept=kept)
    torch.testing.assert_close(population[slice(1, 4)], z[[3, 11, 30]])
    assert population.number_of(torch.tensor([0, 3])).tolist() == [2, 30]
    z[11, 0] = torch.nan
    with pytest.raises(ValueError, match=r"rows has 1 of 4 rows with a NaN or an infinity \(rows 11\)"):
        Population(z, "rows", normalize=False, device=CPU, kept=kept)


def test_the_survey_of_a_population_is_that_of_its_rows() -> None:
    z = 3 * rows.normal(40, 5)
    z[7] = z[3]
    population = Population(z, "rows", normalize=True, device=CPU)
    norms = z.norm(dim=1)
    survey = population.survey
    assert (survey.moments.count, survey.duplicates) == (40, 1)
    torch.testing.assert_close(survey.norms, norms)
    torch.testing.assert_close(survey.moments.sum, (z / norms[:, None]).sum(0))
