"""The sweep over all pairs of rows: two towers, and between them."""

from __future__ import annotations

from align_uniform import align_loss, measure, uniform_loss
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
