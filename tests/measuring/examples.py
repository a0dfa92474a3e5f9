"""Two views of 40 rows, a measurement of 60, and how numbers are compared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from align_uniform import Measurement, measure
from tests import rows

X, Y = rows.unit(40, 6), rows.unit(40, 6, seed=1)


def example(seed: int = 0, noise: float = 0.3, **options: object) -> Measurement:
    """Return the measurement of 60 rows and of the same with noise."""
    x = rows.normal(60, 8, seed=seed)
    return measure(x, x + noise * rows.normal(60, 8, seed=99), t=[2, 1], top=3, **options)  # type: ignore[arg-type]


def close(value: float | None, expected: float | Tensor, tolerance: float = 1e-9) -> None:
    assert value == pytest.approx(float(expected), rel=tolerance, abs=tolerance)


def mean_square(x: Tensor, y: Tensor, is_pair: Tensor) -> float:
    """Return the mean squared distance of rows that are no pair."""
    return float(torch.cdist(x, y).square()[~is_pair].mean())
