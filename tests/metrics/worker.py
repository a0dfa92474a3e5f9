"""Processes that stream different rows into metrics; run as a module, it starts them and saves their results.

    python -m tests.metrics.worker FOLDER

writes FOLDER/WORLD-RANK.pt for every world size and rank. The test process imports the same metrics and data,
and compares with the values of all rows in one process. The processes are forks of one that has imported
torchmetrics, which is slow.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from align_uniform.metrics import Alignment, RankMe, Uniformity
from tests import processes

COUNTS: dict[int, list[tuple[int, ...]]] = {
    2: [(40, 9), (0, 30), (31, 0), (1, 1)],
    3: [(20, 0, 17), (5, 33, 8), (0, 0, 12)],
}
"""The numbers of rows of each process, by world size, in several splits."""

FEW = 8
"""The number of rows that the small sample keeps."""

WIDTHS = [torch.float64, torch.bfloat16, torch.float32]
"""The dtypes of the rows of each process, where they differ."""

Told = Alignment | Uniformity
"""The metrics that report their error."""


def metrics(**options: Any) -> MetricCollection:
    few = Uniformity(max_rows=FEW, seed=5, **options)
    everyone: dict[str, Metric | MetricCollection] = {
        "align": Alignment(**options),
        "align alpha=1": Alignment(1, **options),
        "uniform": Uniformity(**options),
        "uniform t=3": Uniformity(3, **options),
        "uniform raw": Uniformity(normalize=False, **options),
        "uniform few": few,
        "rankme": RankMe(**options),
    }
    return MetricCollection(everyone)


def views(counts: tuple[int, ...], rank: int | None = None) -> Tensor:
    """Return two views, [2, N, 6]: those of one process, or of all."""
    generator = torch.Generator().manual_seed(sum(counts))
    everyones = torch.randn(2, sum(counts), 6, generator=generator, dtype=torch.float64) / 2 + 0.1
    return everyones if rank is None else torch.split(everyones, list(counts), dim=1)[rank]


def feed(streamed: Metric | MetricCollection, own: Tensor) -> None:
    """Update a metric with batches of 7 pairs; no rows are no batch."""
    for batch in own.split(7, dim=1) if own.shape[1] else []:
        streamed.update(x=batch[0], y=batch[1])


def found(streamed: MetricCollection) -> dict[str, Tensor]:
    """Return the values, and the errors of the metrics that report one."""
    values: dict[str, Tensor] = streamed.compute()
    errors = {
        f"{name} stderr": metric.stderr() for name, metric in streamed.items() if isinstance(metric, Told)
    }
    return values | errors


def streamed_values(rank: int, counts: tuple[int, ...]) -> list[dict[str, Tensor]]:
    """Return values twice: after the rows of one view, and after those of both.

    The first synchronisation does no harm to the second.
    """
    own, streamed, values = views(counts, rank), metrics(), []
    for part in (own, own.flip(0)):
        feed(streamed, part)
        values.append(found(streamed))
    return values


def values_of_empty_batches(rank: int, counts: tuple[int, ...]) -> dict[str, Tensor]:
    own, streamed = views(counts, rank), metrics()
    streamed.update(x=own[0, :0], y=own[1, :0])
    feed(streamed, own)
    return found(streamed)


def values_of_mixed_widths(rank: int, counts: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the values of processes whose model, metrics included, was cast to different dtypes."""
    streamed = metrics().to(WIDTHS[rank])
    feed(streamed, views(counts, rank).to(WIDTHS[rank]))
    return found(streamed)


def values_on_step(rank: int, counts: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the values of the batch of a step, which is the batch of all processes."""
    x, y = views(counts, rank)
    values: dict[str, Tensor] = metrics(dist_sync_on_step=True)(x=x, y=y)
    return values


def values_of_own_batch(rank: int, counts: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the values of a process's own batch, which needs no other process."""
    x, y = views(counts, rank)
    values: dict[str, Tensor] = metrics()(x=x, y=y) if len(x) else {}
    return values


def message_of_different_features(rank: int, metric: Metric) -> str:
    metric.update(torch.ones(5, 6 + rank))
    try:
        metric.compute()
    except ValueError as error:
        return str(error)
    return "no error"


def values_of_nothing(rank: int) -> dict[str, Tensor]:
    return found(metrics())


def checks(world: int) -> dict[str, Callable[[int], Any]]:
    """Return every check by name, in an order that all processes share."""
    todo: dict[str, Callable[[int], Any]] = {
        "features of uniform": partial(message_of_different_features, metric=Uniformity()),
        "features of rankme": partial(message_of_different_features, metric=RankMe()),
        "nothing": values_of_nothing,
    }
    for counts in COUNTS[world]:
        todo[f"streamed {counts}"] = partial(streamed_values, counts=counts)
    for counts in COUNTS[world][:2]:
        todo[f"empty batches {counts}"] = partial(values_of_empty_batches, counts=counts)
        todo[f"mixed {counts}"] = partial(values_of_mixed_widths, counts=counts)
        todo[f"on step {counts}"] = partial(values_on_step, counts=counts)
        todo[f"own batch {counts}"] = partial(values_of_own_batch, counts=counts)
    return todo


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of a value before the first update
    processes.run(checks, COUNTS, Path(sys.argv[1]))
