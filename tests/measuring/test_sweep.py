"""The sweep over all pairs of rows: two towers, and between them."""

from __future__ import annotations

from typing import Any

from align_uniform import align_loss, measure, uniform_loss
from align_uniform.measuring import sweep
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.subject import subject
from align_uniform.measuring.sweep import Plan
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
