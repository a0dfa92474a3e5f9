"""Blocks so small that a few rows fill many of them."""

from __future__ import annotations

import pytest

from align_uniform import geometry


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widen ten numbers at a time, and compare four rows with four."""
    monkeypatch.setattr(geometry.rows, "BLOCK_NUMBERS", 10)
    monkeypatch.setattr(geometry.neighbours, "TILE_ROWS", 4)
