"""Rows for metrics, and what tests of metrics do with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from align_uniform import metrics
from align_uniform.metrics import Alignment
from tests import rows

METRICS: list[Callable[[], Metric]] = [getattr(metrics, name) for name in metrics.__all__]
CLASSES = 6

M = TypeVar("M", bound=Metric)


def clustered(n: int, dim: int = 16, seed: int = 0) -> Tensor:
    """Return rows in clusters, sorted by cluster, of norms about 1."""
    centres = rows.unit(CLASSES, dim, seed=seed).repeat_interleave(math.ceil(n / CLASSES), 0)[:n]
    return centres + 0.15 * rows.normal(n, dim, seed=seed + 1)


def feed(metric: M, *batches: Tensor) -> M:
    """Update a metric with batches, [N, m], or [2, N, m] for a metric of pairs."""
    for batch in batches:
        metric.update(*batch) if isinstance(metric, Alignment) else metric.update(batch)
    return metric


def views_for(metric: Metric, n: int) -> Tensor:
    x = clustered(n)
    return torch.stack([x, x + 0.2 * rows.normal(n, 16, seed=9)]) if isinstance(metric, Alignment) else x


def value(metric: Metric) -> float:
    return float(metric.compute())


def close(got: Tensor | float, expected: float, tolerance: float = 1e-6) -> None:
    assert float(got) == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True)
