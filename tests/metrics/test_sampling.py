"""Of more rows than fit a simple random sample is kept, by keys that nothing else decides."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform import measure
from align_uniform.metrics import Uniformity
from align_uniform.metrics.sampling import random_keys
from tests.metrics.feeding import close, clustered, feed, value
from tests.metrics.keys import key


def test_keys_are_those_of_splitmix64() -> None:
    assert key(0, 0, 0) % 2**64 == 0xE220A8397B1DCDAF  # the generator's published first number for seed 0
    for seed, rank in ((0, 0), (1, 0), (0, 3), (2**63 - 1, 7)):
        expected = [key(seed, rank, number) for number in range(5, 9)]
        assert random_keys(seed, rank, torch.arange(5, 9)).tolist() == expected


def test_of_more_rows_than_fit_those_with_the_smallest_keys_are_kept() -> None:
    x = clustered(100)
    metric = Uniformity(max_rows=20, seed=4)
    feed(metric, *x.split(13))
    smallest = sorted(range(100), key=lambda number: key(4, 0, number))[:20]
    close(metric.compute(), measure(x[smallest]).uniform.value, 1e-12)
    close(metric.stderr(), measure(x[smallest]).uniform.stderr or math.nan, 1e-9)
    assert [len(part) for part in metric.rows] == [20]


def test_rows_are_kept_though_their_tensor_is_filled_anew() -> None:
    x = clustered(60)
    metric, buffer = Uniformity(), torch.empty(20, 16, dtype=torch.float64)
    for batch in x.split(20):
        metric.update(buffer.copy_(batch))
    close(metric.compute(), measure(x).uniform.value)


@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_the_sample_does_not_depend_on_the_batches_nor_on_forward(cuts: list[int]) -> None:
    x = clustered(60)
    whole, parts, stepped = (Uniformity(max_rows=10) for _ in range(3))
    whole.update(x)
    for start, stop in itertools.pairwise([0, *sorted(cuts), 60]):
        parts.update(x[start:stop])
        stepped(x[start:stop])
    assert value(whole) == value(parts) == value(stepped)


def test_every_set_of_rows_is_kept_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare one metric in batches and two that are merged: chi-square over all 56 sets of 5 rows of 8."""
    numbers = torch.eye(8)  # row i is known by its place
    for shared in (False, True):
        sets = Counter[tuple[int, ...]]()
        for seed in range(1500):
            monkeypatch.setattr(ranks, "rank", lambda: 0)
            metric = Uniformity(max_rows=5, seed=seed)
            metric.update(numbers[:3])
            if shared:
                monkeypatch.setattr(ranks, "rank", lambda: 1)
                other = Uniformity(max_rows=5, seed=seed)
                other.update(numbers[3:])
                metric.merge_state(other)
            else:
                metric.update(numbers[3:])
            kept, _ = metric.kept_rows()
            sets[tuple(sorted(kept.argmax(1).tolist()))] += 1
        assert len(sets) == math.comb(8, 5)
        expected = 1500 / math.comb(8, 5)
        chi_square = sum((count - expected) ** 2 / expected for count in sets.values())
        assert 26.9 < chi_square < 96.2  # the 0.05% and 99.95% quantiles of 55 degrees of freedom


def test_merged_samples_are_the_sample_of_all_rows() -> None:
    x = clustered(100)
    first, second = Uniformity(max_rows=20, seed=1), Uniformity(max_rows=20, seed=2)
    feed(first, x[:37]), feed(second, x[37:])
    keys = [key(1, 0, number) for number in range(37)] + [key(2, 0, number) for number in range(63)]
    smallest = sorted(range(100), key=lambda number: keys[number])[:20]
    first.merge_state(second)
    close(first.compute(), measure(x[smallest]).uniform.value, 1e-12)
    assert int(first.seen) == 100
    first.update(x[:5])  # and goes on
    assert int(first.seen) == 105


def test_merged_samples_of_one_seed_are_refused_where_they_are_no_sample() -> None:
    x = clustered(100)
    first, second = Uniformity(max_rows=60), Uniformity(max_rows=60)
    feed(first, x[:30]), feed(second, x[30:60])
    first.merge_state(second)
    close(first.compute(), measure(x[:60]).uniform.value)  # all rows fit: their keys are not used
    feed(first, x[60:])
    with pytest.raises(ValueError, match="give each its own seed"):
        first.compute()


def cone(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 16, generator=generator) + 0.5


def test_intervals_hold_the_values_of_the_population_and_of_all_rows_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = measure(cone(20_000, generator), method="anchors", anchors=4000).uniform.value
    of_population, of_rows, excess = [], [], []
    for seed in range(250):
        x = cone(600, generator)
        metric = Uniformity(max_rows=150, seed=seed)
        feed(metric, *x.split(100))
        all_rows = measure(x).uniform
        errors = float(metric.stderr()), float(metric.approximation_stderr())
        of_population.append(abs(value(metric) - truth) <= 1.96 * errors[0])
        of_rows.append(abs(value(metric) - all_rows.value) <= 1.96 * errors[1])
        excess.append((errors[0] / (all_rows.stderr or math.nan), errors[1] / errors[0]))
    assert 0.91 <= np.mean(of_population) <= 0.985
    assert 0.91 <= np.mean(of_rows) <= 0.985
    larger, share = np.mean(excess, 0)
    assert larger == pytest.approx(2, rel=0.1)  # a quarter of the rows
    assert share == pytest.approx(math.sqrt(3) / 2, rel=0.1)  # and the rest of the variance
