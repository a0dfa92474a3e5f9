"""The rows that a measurement names, against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align_uniform.measuring import populations
from align_uniform.measuring.notable_rows import nearest_rows
from align_uniform.measuring.populations import Population
from tests import oracle, rows


@pytest.mark.parametrize("size", [7 * 5 * 4, 2**20])
def test_the_nearest_row_is_another_and_its_distance_exact(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(populations, "BLOCK_BYTES", size)
    z = rows.unit(40, 5)
    z[11] = z[2] + 1e-9
    nearest, distances = nearest_rows(
        Population(z, "rows", normalize=False, device=torch.device("cpu")), torch.tensor([2, 30, 11])
    )
    apart = np.linalg.norm(oracle.numbers(z)[:, None] - oracle.numbers(z)[None], axis=2) + 9 * np.eye(40)
    assert nearest.tolist() == [11, int(apart[30].argmin()), 2]
    np.testing.assert_allclose(
        distances.numpy(), [apart[2].min(), apart[30].min(), apart[11].min()], rtol=1e-6
    )
