"""The compiler for the tests of the losses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile with a compiler that remembers nothing of other tests, nor of other runs."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # kernels in it may be of another processor
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
