"""Streamed alignment by itself."""

from __future__ import annotations

import torch

from align_uniform.metrics import Alignment
from tests.metrics.feeding import feed


def test_the_error_of_equal_distances_is_0_and_not_the_root_of_a_rounding() -> None:
    x = torch.eye(7)
    assert feed(Alignment(normalize=False), torch.stack([x, x.roll(1, 0)])).stderr() == 0
