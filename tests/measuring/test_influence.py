"""Errors follow from influences: by the formulas, written as loops, and by what repeated sampling shows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform import Measurement, measure
from align_uniform.measuring.influence import (
    Influence,
    combined,
    joint_excess,
    of_all_pairs,
    of_mean,
    of_pairs,
    stderr,
)
from align_uniform.measuring.quantities import quantity
from tests import oracle, rows

ROTATION = rows.rotation(8)


def potentials(z: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the potentials of all pairs of rows at t = 2, with 0 for a row and itself."""
    plain = oracle.numbers(z)
    found: np.ndarray[Any, np.dtype[np.float64]] = np.exp(-2 * ((plain[:, None] - plain[None]) ** 2).sum(2))
    np.fill_diagonal(found, 0)
    return found


def error_of(result: Measurement, key: str) -> float:
    error = quantity(key).error(result)
    assert error is not None
    return error


# -------------------------------------------------------------------------------------------- by the formulas


def test_a_mean_over_items_has_the_error_of_a_mean() -> None:
    values = rows.normal(30)
    assert stderr(of_mean(values)) == pytest.approx(float(values.std()) / math.sqrt(30))
    items = torch.arange(30) // 3
    assert stderr(of_mean(values, items)) == pytest.approx(
        float(values.view(10, 3).mean(1).std()) / math.sqrt(10)
    )
    assert of_mean(values[:1]) is None


@pytest.mark.parametrize("normalize", [True, False])
def test_groups_have_the_error_of_the_kernel_between_groups(normalize: bool) -> None:
    """Rows of 12 groups of 1 to 6 rows, in no order."""
    groups = np.repeat(np.arange(12), [1, 6, 2, 3, 1, 5, 4, 2, 2, 6, 3, 1])
    order = np.random.default_rng(0).permutation(len(groups))
    groups, z = groups[order], rows.unit(36, 6) + 0.4
    z = F.normalize(z, dim=1) if normalize else z
    g, apart = potentials(z), groups[:, None] != groups[None]
    cosines = oracle.numbers(z) @ oracle.numbers(z).T
    result = measure(z, groups=groups, normalize=normalize)
    for key, kernel, log in (("uniform", g, True), ("mean_cosine", cosines, False)):
        pairs, value = apart.sum(), kernel[apart].mean()
        k = np.zeros((12, 12))
        for a in range(12):
            for b in range(12):
                if a != b:
                    block = kernel[np.ix_(groups == a, groups == b)]
                    k[a, b] = (block.sum() - value * block.size) * 12 * 11 / pairs
        off = k[~np.eye(12, dtype=bool)]
        zeta_2 = (off**2).mean()
        left = [kernel[apart & (groups[:, None] != a) & (groups[None] != a)].mean() for a in range(12)]
        squares = 12 * np.var(left) * 10**2 / (12 * 8)
        least = 2 * zeta_2 / (12 * 11)
        expected = math.sqrt(max(squares - 2 * zeta_2 / (11 * 8), least)) / (value if log else 1)
        assert quantity(key).value(result) == pytest.approx(math.log(value) if log else value, rel=1e-9)
        assert error_of(result, key) == pytest.approx(expected, rel=1e-9)


def test_groups_of_other_sizes_add_nothing_to_the_error_of_independent_rows() -> None:
    """The variance of the sums over groups of 2 and of 18 rows would be that of the sizes."""
    x, y = rows.unit(1000, 16), rows.unit(1000, 16, seed=1)
    groups = torch.repeat_interleave(torch.arange(100), torch.tensor([2] * 50 + [18] * 50))
    grouped, alone = measure(x, x + y, groups=groups), measure(x, x + y)
    for key in ("uniform", "align", "align.relative", "mean_cosine"):
        assert error_of(grouped, key) == pytest.approx(error_of(alone, key), rel=0.25), key


def dyadic(values: Tensor, pairs: list[tuple[int, int]]) -> float:
    """The variance of a mean over pairs of one population, term by term."""
    shares = (values - values.mean()) / len(values)
    of_row: dict[int, float] = defaultdict(float)
    of_pair: dict[frozenset[int], float] = defaultdict(float)
    for share, (a, b) in zip(shares.tolist(), pairs, strict=True):
        of_row[a] += share
        of_row[b] += share
        of_pair[frozenset((a, b))] += share
    # The jackknife: without a row, or a pair, the mean is that of the other pairs.
    part = {row: sum(row in pair for pair in pairs) / len(pairs) for row in of_row}
    part_of_pair = {pair: sum(pair == {*each} for each in pairs) / len(pairs) for pair in of_pair}
    of_rows = sum((share / (1 - part[row])) ** 2 for row, share in of_row.items()) * (1 - 2 / len(of_row))
    least = sum((share / (1 - part_of_pair[pair])) ** 2 for pair, share in of_pair.items())
    least *= 1 - 1 / len(of_pair)
    return max(of_rows - least, least)


def test_pairs_that_share_rows_have_the_dyadic_error() -> None:
    z = rows.unit(12, 5)
    pairs = [(a, b) for a in range(12) for b in range(a) if (a * b) % 3 != 1] + [(0, 1), (1, 0)]
    result = measure(z, pairs=pairs)
    assert result.details is not None
    assert result.details.distances is not None
    assert result.align is not None
    expected = math.sqrt(dyadic(result.details.distances**2, pairs))
    assert result.align.stderr == pytest.approx(expected, rel=1e-9)


def test_pairs_that_are_repeated_count_once() -> None:
    z = rows.unit(4, 5)
    once, often = measure(z, pairs=[[0, 1], [2, 3]]), measure(z, pairs=[[0, 1]] * 100 + [[2, 3]] * 100)
    assert once.align is not None
    assert often.align is not None
    distances = (z[[0, 2]] - z[[1, 3]]).square().sum(1)
    assert once.align.stderr == pytest.approx(float(distances.std()) / math.sqrt(2))
    assert often.align.stderr == pytest.approx(once.align.stderr)
    assert measure(z, pairs=[[0, 1]] * 100).align.stderr is None  # type: ignore[union-attr]  # there is one


def test_pairs_that_are_repeated_leave_the_other_pairs_as_they_are() -> None:
    x, y = rows.unit(6, 5), rows.unit(7, 5, seed=1)
    result = measure(x, y, pairs=[[0, 1]] * 30 + [[2, 3], [4, 4]])
    assert result.align is not None
    squares = torch.cdist(x, y).square()
    is_other = torch.ones(6, 7, dtype=torch.bool)
    is_other[[0, 2, 4], [1, 3, 4]] = False
    mean = (30 * squares[0, 1] + squares[2, 3] + squares[4, 4]) / 32
    assert result.align.relative == pytest.approx(float(mean / squares[is_other].mean()), rel=1e-9)


def test_an_error_that_few_units_carry_is_warned_of() -> None:
    """A single pair of opposite rows among near ones makes all of the deviation."""
    x, y = rows.unit(400, 8), rows.unit(400, 8, seed=1)
    near = F.normalize(x + 0.1 * y, dim=1)
    near[0] = -x[0]
    even = torch.arange(400).repeat(2, 1).T
    warnings = measure(x, near, pairs=even).warnings
    assert any(warning.startswith("the error of alignment rests on effectively 1.") for warning in warnings)
    assert not any("the error of alignment" in warning for warning in measure(x, y, pairs=even).warnings)


def test_pairs_of_two_towers_have_the_two_way_clustered_error() -> None:
    x, y = rows.unit(9, 5), rows.unit(7, 5, seed=1)
    pairs = [(a, b) for a in range(9) for b in range(6) if (a + 2 * b) % 4] + [(0, 1)] * 5
    result = measure(x, y, pairs=pairs)
    assert result.align is not None
    values = (x[[a for a, _ in pairs]] - y[[b for _, b in pairs]]).square().sum(1)
    variances = []
    for names in ([a for a, _ in pairs], [b for _, b in pairs], pairs):
        total = 0.0
        for name in set(names):  # the jackknife: the deviation of the mean without this row, or this pair
            others = [value for value, each in zip(values.tolist(), names, strict=True) if each != name]
            total += (float(np.mean(others)) - float(values.mean())) ** 2
        variances.append(total * (1 - 1 / len(set(names))))
    of_x, of_y, of_both = variances
    assert result.align.stderr == pytest.approx(math.sqrt(max(of_x + of_y - of_both, of_both)), rel=1e-9)


def test_the_error_between_towers_is_its_formula() -> None:
    x, y = rows.unit(9, 5) + 0.3, rows.unit(14, 5, seed=1)
    x = F.normalize(x, dim=1)
    result = measure(x, y, pairs=[[0, 1], [0, 2]])
    assert result.towers is not None
    k = np.exp(-2 * ((oracle.numbers(x)[:, None] - oracle.numbers(y)[None]) ** 2).sum(2))
    k /= k.mean()
    v_x, v_y = k.mean(1).var(ddof=1), k.mean(0).var(ddof=1)
    zeta = (k.var() - v_x - v_y) / (1 - 1 / 9 - 1 / 14)
    assert result.towers.cross_uniform_stderr == pytest.approx(
        math.sqrt(v_x / 9 + v_y / 14 - zeta / (9 * 14)), rel=1e-9
    )


def test_towers_that_are_matched_one_to_one_depend_on_each_other() -> None:
    """The same tower twice says nothing new, and an independent one halves the variance."""
    x, y = (F.normalize(rows.unit(300, 8, seed=seed) + 0.6, dim=1) for seed in (0, 1))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    matched = torch.stack([order, torch.arange(300)], 1)
    alone = error_of(measure(x), "uniform")
    assert error_of(measure(x, x[order], pairs=matched), "uniform") == pytest.approx(alone, rel=0.02)
    assert error_of(measure(x, y, pairs=matched), "uniform") == pytest.approx(alone / math.sqrt(2), rel=0.1)


def test_influences_on_other_units_are_not_subtracted() -> None:
    with pytest.raises(ValueError, match="both must be of the same units, got 3 and 4"):
        _ = Influence(torch.zeros(3)) - Influence(torch.zeros(4))


def test_the_number_of_units_that_are_used_goes_with_the_influence() -> None:
    few, all_units = Influence(torch.ones(9), used=3), Influence(torch.ones(9))
    assert (few.units, all_units.units) == (3, 9)
    assert [each.units for each in (few * 2, few - few, few - all_units, all_units - few)] == [3, 3, 3, 3]
    assert (all_units - all_units).used is None
    assert Influence.from_arrays(few.arrays()).units == 3
    assert Influence.from_arrays(all_units.arrays()).used is None
    assert few.with_kernel(1.0).units == 3
    assert few.with_kernel(1.0).kernels == ()
    assert [part.units for part in Influence(few.values, used=6).with_kernel(1.0).kernels] == [6]
    sums = combined([few, Influence(few.values, used=4)]), combined([few, all_units])
    assert [each and each.units for each in sums] == [4, 9]
    assert Influence(torch.zeros(9), used=3).effective_units == 3


def test_effective_units_count_those_that_carry_the_error() -> None:
    assert Influence(rows.normal(3000)).effective_units == pytest.approx(1000, rel=0.1)
    few = torch.zeros(3000)
    few[:4] = torch.tensor([1.0, -1, 1, -1])
    assert Influence(few).effective_units == pytest.approx(4)
    assert Influence(torch.zeros(5)).effective_units == 5


def test_pairs_of_too_few_units_have_no_error() -> None:
    ends = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert of_pairs(torch.tensor([0.1, -0.1]), ends, 2, split=None) is None
    assert of_pairs(torch.tensor([0.1, -0.1]), ends, 2, split=1) is None


# -------------------------------------------------------------------------------------- by repeated sampling

Sample = Callable[[int], Measurement]


@cache
def measured(sample: Sample) -> list[Measurement]:
    return [sample(seed) for seed in range(120)]


def spread(sample: Sample, key: str) -> float:
    """Return the mean error of a number over the deviation of the number, over samples."""
    results = measured(sample)
    values = torch.tensor([quantity(key).value(result) for result in results], dtype=torch.float64)
    return float(np.mean([error_of(result, key) for result in results])) / float(values.std())


def mixed_widths(seed: int) -> Measurement:
    """Rows of a cone, some near its axis and some far, with a view of each."""
    x = rows.normal(120, 8, seed=seed) * rows.normal(120, 1, seed=seed + 10**6).exp() + 1.5
    return measure(x, x + 0.3 * rows.normal(120, 8, seed=seed + 2 * 10**6), top=0)


def shared_rows(seed: int) -> Measurement:
    pairs = torch.combinations(torch.arange(30))
    return measure(rows.normal(30, 8, seed=seed) + 1, pairs=pairs, top=0)


def clicks(seed: int) -> Measurement:
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.stack([torch.randint(0, count, (400,), generator=generator) for count in (40, 60)], 1)
    x, y = rows.normal(40, 8, seed=seed) + 1, rows.normal(60, 8, seed=seed + 10**6) + 0.5
    return measure(x, y, pairs=pairs, top=0)


def crops(seed: int) -> Measurement:
    """Items of 1 to 9 crops that lie close together."""
    sizes = torch.randint(1, 10, (60,), generator=torch.Generator().manual_seed(seed))
    groups = torch.repeat_interleave(torch.arange(60), sizes)
    items = rows.normal(60, 8, seed=seed) + 0.7
    x = items[groups] + 0.3 * rows.normal(len(groups), 8, seed=seed + 10**6)
    return measure(x, x + 0.3 * rows.normal(len(groups), 8, seed=seed + 2 * 10**6), groups=groups, top=0)


def few_large_groups(seed: int) -> Measurement:
    """5 items of 30 crops, with most of the rows, and 45 items of 2."""
    groups = torch.repeat_interleave(torch.arange(50), torch.tensor([2] * 45 + [30] * 5))
    items = rows.normal(50, 8, seed=seed) + 0.7
    return measure(items[groups] + 0.3 * rows.normal(240, 8, seed=seed + 10**6), groups=groups, top=0)


def captions(seed: int) -> Measurement:
    """Two towers, matched one to one."""
    x = rows.normal(100, 8, seed=seed) + 0.5
    y = x @ ROTATION + 0.2 * rows.normal(100, 8, seed=seed + 10**6) + 0.5
    return measure(x, y, pairs=torch.arange(100).repeat(2, 1).T, top=0)


@pytest.mark.parametrize(
    ("sample", "key"),
    [
        (mixed_widths, "align.relative"),
        (mixed_widths, "mean_cosine"),
        (shared_rows, "align"),
        (clicks, "align"),
        (clicks, "align.relative"),
        (clicks, "towers.cross_uniform"),
        (clicks, "towers.modality_gap"),
        (crops, "align"),
        (crops, "align.relative"),
        (crops, "uniform"),
        (crops, "mean_cosine"),
        (few_large_groups, "uniform"),
        (few_large_groups, "mean_cosine"),
        (captions, "uniform"),
        (captions, "align.relative"),
        (captions, "towers.cross_uniform"),
        (captions, "towers.modality_gap"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_errors_are_the_deviation_over_samples(sample: Sample, key: str) -> None:
    assert 0.82 < spread(sample, key) < 1.22


def test_the_mean_cosine_of_uniform_rows_has_no_error_that_counts_pairs_twice() -> None:
    """4 Var(h) / n would be 1.4 times too wide."""
    assert 0.85 < spread(lambda seed: measure(rows.unit(100, 8, seed=seed), top=0), "mean_cosine") < 1.3


@pytest.mark.parametrize("other", ["independent", "near"])
def test_two_views_of_uniform_rows_have_a_z_of_variance_1(other: str) -> None:
    def z(seed: int) -> float:
        x, noise = rows.unit(60, 16, seed=seed), rows.unit(60, 16, seed=seed + 10**6)
        y = {"independent": noise, "near": F.normalize(x + 0.5 * noise, dim=1)}[other]
        return measure(x, y, top=0).uniform.z

    assert 0.85 < float(np.std([z(seed) for seed in range(150)])) < 1.15


def test_the_joint_kernel_corrects_the_difference_of_two_uniform_embeddings() -> None:
    found = []
    for seed in range(150):
        x = rows.unit(60, 16, seed=seed)
        y = F.normalize(x + 0.5 * rows.unit(60, 16, seed=seed + 10**6), dim=1)
        parts, squares, kernels = [], [], []
        for z in (x, y):
            g = potentials(z)
            kernels.append(g / (g.sum() / (60 * 59)))
            squares.append((kernels[-1] ** 2).sum() / (60 * 59))
            parts.append(of_all_pairs(torch.from_numpy(kernels[-1].sum(1) / 59), squares[-1] - 1, 60))
        assert parts[0] is not None
        assert parts[1] is not None
        joint = joint_excess(squares[0], squares[1], (kernels[0] * kernels[1]).sum() / (60 * 59))
        difference = parts[0] - parts[1]
        value = math.log(potentials(x).sum() / potentials(y).sum())
        found.append((value, stderr(difference), stderr(difference.with_kernel(joint))))
    values, plain, corrected = np.array(found, dtype=float).T
    assert 0.85 < corrected.mean() / values.std() < 1.25
    assert plain.mean() / values.std() > 1.3
