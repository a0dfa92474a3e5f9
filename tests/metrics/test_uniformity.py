"""Streamed uniformity by itself: of all rows, which no mean over batches is, and at several t."""

from __future__ import annotations

import numpy as np
import pytest
from torchmetrics import MetricCollection

from align_uniform import measure
from align_uniform.metrics import Uniformity
from tests import rows
from tests.metrics.feeding import close, clustered, feed, value


def test_batches_sorted_by_class_have_the_value_of_all_rows_which_the_mean_over_batches_has_not() -> None:
    x = clustered(300)
    metric = Uniformity()
    per_batch = [float(metric(batch)) for batch in x.split(50)]
    close(metric.compute(), measure(x).uniform.value)
    assert np.mean(per_batch) > value(metric) + 0.5


def test_metrics_that_differ_in_t_alone_share_their_rows() -> None:
    x = clustered(60)
    collection = MetricCollection({"2": Uniformity(2, max_rows=10), "3": Uniformity(3, max_rows=10)})
    for part in x.split(17):
        collection.update(part)
    assert list(collection.compute_groups.values()) == [["2", "3"]]
    values = collection.compute()
    for t in (2, 3):
        close(values[str(t)], value(feed(Uniformity(t, max_rows=10), x)), 1e-12)
    collection(x)  # forward, after the states were shared
    assert value(collection["2"]) == value(feed(Uniformity(2, max_rows=10), x, x))
    assert value(collection["3"]) == value(feed(Uniformity(3, max_rows=10), x, x))


def test_two_views_are_two_metrics_that_are_averaged() -> None:
    x, y = clustered(40), clustered(40, seed=5)
    first, second = Uniformity(), Uniformity()
    both = (first + second) / 2
    feed(first, x), feed(second, y)
    close(both.compute(), measure(x, y).uniform.value)


@pytest.mark.parametrize("count", [50, 114, 115])
def test_the_error_of_rows_that_were_not_kept_is_0_where_all_are_kept(count: int) -> None:
    metric = Uniformity()
    metric.update(rows.normal(count, 16) + 2)
    assert metric.approximation_stderr() == 0
