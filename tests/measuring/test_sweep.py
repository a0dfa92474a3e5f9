"""The sweep over all pairs of rows: two towers, and between them; the anchors of views and towers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import align_loss, measure, uniform_loss
from align_uniform.measuring import sweep
from align_uniform.measuring.influence import stderr
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.results import Uniformity
from align_uniform.measuring.subject import Subject, subject
from align_uniform.measuring.sweep import Alike, Plan, Sums
from align_uniform.measuring.towers import towers
from align_uniform.measuring.units import Units, units_of
from tests import rows
from tests.measuring.examples import close


def test_two_towers_are_measured_each_and_between() -> None:
    users, items = rows.unit(12, 6), rows.unit(30, 6, seed=1)
    pairs = ([0, 3, 3, 11], [29, 4, 5, 0])
    result = measure(users, items, pairs=pairs)
    assert result.align
    assert result.towers
    close(result.align.value, align_loss(users[pairs[0]], items[pairs[1]]))
    close(result.uniform.value, (uniform_loss(users) + uniform_loss(items)) / 2)
    close(result.towers.cross_uniform, uniform_loss(users, negatives=items, intra_batch=False))
    close(result.towers.modality_gap, (users.mean(0) - items.mean(0)).norm())
    assert result.towers.rows == (12, 30)
    influences = [
        of_tower.details.influences["uniform"]
        for of_tower in map(measure, (users, items))
        if of_tower.details
    ]
    noise = [kernel.noise for influence in influences for kernel in influence.kernels]
    least = [kernel.least for influence in influences for kernel in influence.kernels]
    squares = sum(float(influence.values.square().sum()) for influence in influences)
    close(result.uniform.stderr, max(squares - sum(noise), sum(least)) ** 0.5 / 2)


def test_a_long_exact_sum_tells_what_anchors_would_take() -> None:
    options: dict[str, Any] = dict.fromkeys(("ids", "device", "name"))
    choice = PairChoice(None, None, None, strict=True)
    asked = subject(rows.unit(4000, 4), None, choice, normalize=True, **options)
    plan = Plan((2.0,), "exact", 200, 0, progress=False, interruptible=False)
    assert sweep._hint(asked, plan, 119.0) is None
    words = sweep._hint(asked, plan, 1000.0)
    assert words is not None
    assert "takes about 0:16:40; --method anchors would take about 0:01:40" in words


# ------------------------------------------------------------------------------------------------ the anchors

N, ANCHORS = 240, 60


def captions(seed: int, size: int = N) -> Subject:
    """Two towers that are matched one to one, in another order; of a smaller second tower all rows are."""
    x = cone(seed)
    y = normalize(x @ rows.rotation(8) + 0.1 * rows.normal(N, 8, seed=seed + 10**6), dim=1)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))[:size]
    return two(x, y[order], (order, torch.arange(size)))


def clicks(seed: int) -> Subject:
    """Two independent towers, whose pairs are not one to one."""
    every = torch.arange(N)
    return two(cone(seed), cone(seed + 10**6), (torch.cat([every, every]), torch.cat([every, every.roll(1)])))


def views(seed: int) -> Subject:
    """Two views that have nothing in common."""
    return two(cone(seed), cone(seed + 10**6), None)


def cone(seed: int) -> Tensor:
    return normalize(rows.normal(N, 8, seed=seed) * rows.normal(N, 1, seed=seed + 1).exp() + 0.7, dim=1)


def two(x: Tensor, y: Tensor, pairs: Any) -> Subject:
    choice = PairChoice(pairs, None, None, strict=True)
    return subject(x, y, choice, ids=None, normalize=True, device=None, name=None)


def swept(asked: Subject, method: str, seed: int = 0) -> tuple[Sums, Units, Uniformity]:
    plan = Plan((2.0,), method, ANCHORS, seed, progress=False, interruptible=False)
    units = units_of(asked, None)
    sums = sweep.sweep(asked, plan, units)
    (uniform,), _ = sweep.uniformities(sums, asked, plan, units, Alike.of(asked, units))
    return sums, units, uniform


def numbers(sums: Sums) -> list[list[int]]:
    """Return the numbers of the anchors of each tower."""
    return [rows.tolist() for rows in sums.anchors if rows is not None]


def error_between(asked: Subject, sums: Sums, units: Units) -> float:
    """Return the error of cross-uniformity for all rows, without that of an estimate from anchors."""
    _, influences = towers(asked, sums.cross, units, units.drawn(sums.anchors))
    error = stderr(influences["towers.cross_uniform"])
    assert error is not None
    return error


def test_matched_towers_have_the_anchors_of_the_same_units() -> None:
    sums, units, _ = swept(captions(0), "anchors")
    of_x, of_y = (units.of(number)[rows] for number, rows in enumerate(sums.anchors))
    assert len(of_x) == ANCHORS
    assert set(of_x.tolist()) == set(of_y.tolist())
    assert units.drawn(sums.anchors).count == ANCHORS
    assert numbers(sums)[0] == sorted(numbers(sums)[0])
    assert numbers(sums) == numbers(swept(captions(0), "anchors")[0])
    assert numbers(sums) != numbers(swept(captions(0), "anchors", seed=1)[0])


def test_other_towers_have_anchors_of_their_own() -> None:
    sums, units, _ = swept(clicks(0), "anchors")
    assert units.drawn(sums.anchors).count == 2 * ANCHORS
    first, second = map(set, numbers(sums))
    assert len(first & second) < ANCHORS / 2  # 15 by chance


@pytest.mark.parametrize(
    "sample",
    [captions, clicks, views, lambda seed: captions(seed, 160), lambda seed: captions(seed, 40)],
    ids=["captions", "clicks", "views", "fewer captions", "fewer captions than anchors"],
)
def test_anchors_show_the_error_that_the_exact_sum_finds(sample: Callable[[int], Subject]) -> None:
    """The deviations of matched towers go together: taken as independent, errors are 1.4 times too small."""
    found: list[list[float]] = []
    expected: list[list[float]] = []
    for seed in range(30):
        asked = sample(seed)
        for method, errors in (("anchors", found), ("exact", expected)):
            sums, units, uniform = swept(asked, method)
            between = error_between(asked, sums, units) if asked.are_towers else 0.0
            assert uniform.stderr is not None
            errors.append([uniform.stderr, between])
    totals = [torch.tensor(each, dtype=torch.float64).sum(0) for each in (found, expected)]
    ratios = totals[0] / totals[1]
    for ratio in ratios.tolist()[: 2 if asked.are_towers else 1]:
        assert 0.92 < ratio < 1.08


@pytest.mark.parametrize("sample", [captions, clicks, views])
def test_an_estimate_from_anchors_is_off_by_its_error(sample: Callable[[int], Subject]) -> None:
    """The anchors of independent towers err independently, those of like towers together."""
    asked = sample(0)
    exact, _, truth = swept(asked, "exact")
    found = []
    for seed in range(120):
        sums, _, uniform = swept(asked, "anchors", seed)
        found.append([uniform.value - truth.value, uniform.approximation_stderr])
        if sums.cross is not None:
            assert exact.cross is not None
            assert exact.cross.approximation_stderr == 0
            found[-1] += [sums.cross.log_mean - exact.cross.log_mean, sums.cross.approximation_stderr]
    for deviations, errors in torch.tensor(found, dtype=torch.float64).T.unflatten(0, (-1, 2)):
        assert 0.85 < float(errors.mean() / deviations.square().mean().sqrt()) < 1.25
    assert truth.approximation_stderr == 0
