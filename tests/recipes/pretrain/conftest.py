"""A run that nothing disturbed, which others are compared with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.recipes.pretrain.two_view_worker import options, train


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nothing disturbed: 2 epochs of 5 batches."""
    return train(options(tmp_path_factory.mktemp("whole")))
