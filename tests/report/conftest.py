"""Measurements of every kind, and their pages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from align_uniform import Measurement, measure
from align_uniform.report import report_html
from tests.rows import cone, unit


@pytest.fixture(scope="session")
def two_views() -> Measurement:
    rows = unit(120, 16)
    rows[3] = rows[4]
    other = torch.nn.functional.normalize(rows + 0.3 * unit(120, 16, seed=1), dim=1)
    return measure(3 * rows, other, t=[2, 4], name="two views of rows")


@pytest.fixture(scope="session")
def towers() -> Measurement:
    return measure(
        unit(40, 16), unit(50, 16, seed=1) + 0.3, pairs=[[k, k + 5] for k in range(40)], name="towers"
    )


@pytest.fixture(scope="session")
def kinds(two_views: Measurement, towers: Measurement) -> dict[str, Measurement]:
    """A measurement of each kind."""
    return {
        "two views": two_views,
        "features": measure(unit(60, 16)),
        "towers": towers,
        "labels": measure(unit(60, 16), labels=[*(k % 7 for k in range(59)), 9]),
        "scored pairs": measure(
            unit(60, 16), pairs=[[0, 1], [2, 5], [7, 3]], scores=[5, 4.5, 1], threshold=4
        ),
        "anchors": measure(unit(200, 16), method="anchors", anchors=50),
        "few": measure(unit(3, 16)),
        "one dimension": measure(torch.tensor([[1.0], [-1], [1], [-1]])),
        "two dimensions": measure(unit(50, 2)),
        "as they are": measure(2 * unit(30, 8), 2 * unit(30, 8, seed=1), normalize=False, alpha=1),
        "constant": measure(torch.ones(20, 8), torch.ones(20, 8)),
        "cone": measure(cone(60, 16), cone(60, 16).flip(0)),
        "without details": replace(two_views, details=None),
        "from JSON": Measurement.from_json(two_views.to_json()),
    }


@pytest.fixture(scope="session")
def pages(kinds: dict[str, Measurement]) -> dict[str, str]:
    return {kind: report_html(measurement) for kind, measurement in kinds.items()}
