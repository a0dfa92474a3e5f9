"""Files of torch.save are read in tests by any torch: they hold nothing hostile but the traps."""

from __future__ import annotations

import pytest

from align_uniform.files import arrays


@pytest.fixture(autouse=True)
def any_torch_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "SAFE_TORCH", "2.0")
