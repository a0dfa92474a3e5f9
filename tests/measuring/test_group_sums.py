"""Sums of potentials between groups, block by block, against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from align_uniform.measuring import group_sums as sums
from align_uniform.measuring.populations import Population
from tests import oracle, rows

GROUPS = torch.tensor([0, 3, 1, 1, 2, 4, 3, 0, 0, 5, 2, 1, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 3])


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 5 rows, or of one larger group, and tiles of 3 rows, against all at once."""
    if request.param == "many blocks":
        request.getfixturevalue("tiny_tiles")
        monkeypatch.setattr(sums, "BLOCK_ROWS", 5)


def population(z: Tensor) -> Population:
    return Population(z, "rows", normalize=False, device=torch.device("cpu"))


@pytest.mark.parametrize("order", ["mixed", "sorted"])
@pytest.mark.parametrize("ts", [(2.0, 0.5), (60.0, 1.0)])
def test_sums_between_groups_are_the_definitions(blocks: None, order: str, ts: tuple[float, float]) -> None:
    groups = GROUPS.sort().values if order == "sorted" else GROUPS
    z = rows.unit(23, 5)
    z[groups == 4] = z[groups == 4][0]  # the nearest rows of all are of one group, and do not count
    found = sums.group_sums(population(z), groups, ts, lambda _: None)
    plain, codes = oracle.numbers(z), groups.numpy()
    squared = ((plain[:, None] - plain[None]) ** 2).sum(2)
    apart = codes[:, None] != codes[None]
    member = (codes[:, None] == np.arange(6)).astype(float)
    sizes = member.sum(0)
    for number, t in enumerate(ts):
        potentials = np.exp(-t * squared) * apart
        between = member.T @ potentials @ member
        shift = float(found.shift[number])
        np.testing.assert_allclose(
            found.sums[number].log().numpy() + shift, np.log(potentials.sum(1)), atol=1e-9
        )
        assert math.log(float(found.squares[number])) + 2 * shift == pytest.approx(
            math.log((between**2).sum()), abs=1e-9
        )
        assert math.log(float(found.weighted[number])) + shift == pytest.approx(
            math.log(sizes @ between @ sizes), abs=1e-9
        )


def test_near_rows_of_one_group_are_no_duplicates(blocks: None) -> None:
    z = rows.unit(23, 5)
    z[7] = z[0]  # both of group 0
    z[9] = z[4]  # of groups 5 and 2
    near = sums.group_sums(population(z), GROUPS, [2.0], lambda _: None).near
    assert near[0].nonzero().squeeze(1).tolist() == [4, 9]
    assert near.shape == (2, 23)


def test_progress_counts_every_potential_once(blocks: None) -> None:
    visited: list[int] = []
    sums.group_sums(population(rows.unit(23, 5)), GROUPS, [2.0], visited.append)
    assert 23 * 22 / 2 <= sum(visited) <= 23**2
