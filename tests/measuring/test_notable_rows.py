"""The rows that a measurement names, against the definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from align_uniform import measure
from align_uniform.geometry import occurrences, skewness
from align_uniform.measuring import populations
from align_uniform.measuring.notable_rows import nearest_rows
from align_uniform.measuring.populations import Population
from align_uniform.measuring.sweep import random_rows
from tests import oracle, rows
from tests.measuring.examples import X, Y, close


@pytest.mark.parametrize("size", [7 * 5 * 4, 2**20])
def test_the_nearest_row_is_another_and_its_distance_exact(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(populations, "BLOCK_BYTES", size)
    z = rows.unit(40, 5)
    z[11] = z[2] + 1e-9
    nearest, distances = nearest_rows(
        Population(z, "rows", normalize=False, device=torch.device("cpu")), torch.tensor([2, 30, 11])
    )
    apart = np.linalg.norm(oracle.numbers(z)[:, None] - oracle.numbers(z)[None], axis=2) + 9 * np.eye(40)
    assert nearest.tolist() == [11, int(apart[30].argmin()), 2]
    np.testing.assert_allclose(
        distances.numpy(), [apart[2].min(), apart[30].min(), apart[11].min()], rtol=1e-6
    )


def test_the_nearest_of_tight_duplicates_is_the_nearest() -> None:
    z = (rows.unit(1, 32) + 1e-4 * rows.normal(60, 32, seed=1)).float()
    population = Population(z, "rows", normalize=True, device=torch.device("cpu"))
    nearest, _ = nearest_rows(population, torch.arange(60))
    plain = oracle.numbers(F.normalize(z, dim=1))
    apart = np.linalg.norm(plain[:, None] - plain[None], axis=2) + 9 * np.eye(60)
    assert nearest.tolist() == apart.argmin(1).tolist()


def test_the_worst_pairs_come_farthest_first() -> None:
    result = measure(X, Y, top=4)
    distances = torch.linalg.vector_norm(X - Y, dim=1)
    assert [pair.x for pair in result.worst_pairs] == distances.topk(4).indices.tolist()
    assert all(pair.x == pair.y for pair in result.worst_pairs)
    close(result.worst_pairs[0].distance, distances.max())
    assert len(measure(X[:3], Y[:3]).worst_pairs) == 3


def test_no_rows_are_named_if_none_are_asked_for() -> None:
    result = measure(X, Y, top=0)
    assert (result.worst_pairs, result.crowded) == ((), ())


def test_the_most_crowded_rows_have_their_nearest_neighbour() -> None:
    z = X.clone()
    z[30:36] = F.normalize(z[5] + 0.2 * rows.normal(6, 6), dim=1)
    result = measure(z, top=3)
    sums = oracle.potential_sums(oracle.numbers(z), 2) / 39
    assert [row.row for row in result.crowded] == np.argsort(-sums)[:3].tolist()
    close(result.crowded[0].mean_potential, sums.max())
    apart = torch.cdist(z, z).fill_diagonal_(9)
    for row in result.crowded:
        assert row.neighbour == int(apart[row.row].argmin())
        close(row.distance, apart[row.row].min())


def test_duplicates_are_counted() -> None:
    z = X.clone()
    z[10], z[20], z[21] = z[3], z[3], F.normalize(z[4] + 0.01 * z[5], dim=0)
    duplicates = measure(z).duplicates
    assert (duplicates.exact, duplicates.near) == (2, 5)
    assert duplicates.near_growth == 1
    assert measure(X).duplicates.near_growth is None
    assert measure(-0.0 * X + 1).duplicates.exact == 39  # and a zero has no sign


def test_equal_rows_that_the_anchors_miss_are_near_duplicates_all_the_same() -> None:
    z = rows.unit(3000, 16)
    z[1001] = z[1002] = z[1000]
    z[7] = z[8]
    exact, anchors = measure(z).duplicates, measure(z, method="anchors", anchors=10).duplicates
    assert (exact.exact, exact.near) == (anchors.exact, anchors.near) == (3, 5)


def test_sampled_cosines_and_the_spectrum_are_those_of_all_views() -> None:
    x, y = rows.unit(300, 8), rows.cone(300, 8, 1.5)
    result = measure(x, y)
    assert result.details is not None
    assert float(result.details.cosines.mean()) == pytest.approx(result.mean_cosine, abs=0.03)
    assert result.mean_cosine > 0.2
    own = [measure(part).details for part in (x, y)]
    expected = sum(details.spectrum for details in own if details is not None) / 2
    torch.testing.assert_close(result.details.spectrum, expected)


def test_sampled_cosines_are_of_rows_of_different_groups_as_their_mean_is() -> None:
    groups = torch.arange(120) % 3
    x = F.normalize(rows.unit(120, 8) + 2 * rows.unit(3, 8, seed=1)[groups], dim=1)
    found = measure(x, groups=groups)
    assert found.details is not None
    assert len(found.details.cosines) == 3 * 40 * 40
    close(found.mean_cosine, found.details.cosines.mean())
    assert measure(x).mean_cosine > found.mean_cosine + 0.1
    # Where the rows that are drawn are of one group, all of their pairs are left.
    drawn = random_rows(600, 448, 0)
    assert drawn is not None
    (alone, *_) = {*range(600)} - {*drawn.tolist()}
    few = measure(rows.unit(600, 8), groups=[int(row == alone) for row in range(600)]).details
    assert few is not None
    assert len(few.cosines) == 448 * 447 / 2


def test_round_numbers_are_not_taken_for_duplicates() -> None:
    z = torch.cartesian_prod(*[torch.tensor([-2.0, -1.0, 1.0, 2.0])] * 6)
    assert measure(z, method="anchors", anchors=10).duplicates.exact == 0


@pytest.mark.parametrize(("dim", "growth"), [(2, 2), (3, 4)])
def test_near_pairs_of_a_curve_double_and_of_a_surface_are_four_times_as_many(dim: int, growth: int) -> None:
    z = rows.unit(2000, dim)
    for options in ({}, {"method": "anchors", "anchors": 500}):
        duplicates = measure(z, **options).duplicates  # type: ignore[arg-type]
        assert duplicates.near > 100
        assert duplicates.near_growth == pytest.approx(growth, rel=0.15)


def test_hubs_are_looked_for_in_every_view_and_the_worst_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows.unit(60, 40), rows.unit(60, 40, seed=1)
    y[7] = F.normalize(y.sum(0), dim=0)
    both, alone = measure(x, y).hubs, measure(y).hubs
    assert both is not None
    assert alone is not None
    assert both == replace(alone, top=tuple(replace(hub, view=1) for hub in alone.top))
    counts = occurrences(y)
    assert (both.top[0].row, both.top[0].occurrences) == (7, float(counts[7]))
    assert both.largest == f"Row 7 is among those of {float(counts[7]):,.0f} rows."
    assert [hub.occurrences for hub in both.top] == counts.sort(descending=True).values[:10].tolist()
    assert both.rows == 60
    close(both.skewness, skewness(counts))
    close(both.antihubs, (counts == 0).double().mean())
    assert measure(X[:10]).hubs is None
    monkeypatch.setattr("align_uniform.measuring.notable_rows.HUB_ROWS", 25)
    few = measure(y).hubs
    assert few is not None
    assert few.rows == 25


def test_the_largest_norm_is_compared_within_its_tower() -> None:
    found = measure(X, 100 * Y, pairs=[[0, 1]]).norms
    assert found.largest_ratio == pytest.approx(1)
    assert found.largest == pytest.approx(100)


@pytest.mark.parametrize("scale", [0.01, 100])
def test_near_rows_that_are_not_of_unit_norm_are_no_near_duplicates(scale: float) -> None:
    z = rows.unit(100, 16)
    z[1] = z[0]
    found = measure(scale * z, normalize=False)
    assert (found.duplicates.exact, found.duplicates.near, found.duplicates.near_growth) == (1, 2, None)
    assert [finding.name for finding in found.findings] == ["not on the sphere", "duplicates"]
    assert measure(z, normalize=False).duplicates.near == 2
