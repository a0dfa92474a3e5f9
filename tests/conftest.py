"""What the tests share: settings, the devices of this machine, and the routes through the pair engine."""

from __future__ import annotations

import hypothesis
import pytest
import torch

from align_uniform.engine import logits, routes, tiles

# The same examples on every run: a failure in continuous integration is then a failure at home.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.load_profile("suite")

torch.set_num_threads(1)  # the tensors of tests are small: threads would cost more than they give

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available(), *["mps"] * torch.backends.mps.is_available()]


def pytest_configure(config: pytest.Config) -> None:
    # torch's forward-mode AD scripts its decompositions when first used, and deprecates scripting.
    config.addinivalue_line("filterwarnings", "ignore:.torch.jit.script.* is deprecated:Warning")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send even a handful of rows through many tiles, and through many blocks of logits."""
    monkeypatch.setattr(tiles, "DENSE_ROWS", 1)
    monkeypatch.setattr(routes, "PLAIN_PAIRS", 12)
    monkeypatch.setattr(logits, "DENSE_LOGITS", 12)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: 3)


@pytest.fixture(params=["whole", "tiles"])
def route(request: pytest.FixtureRequest) -> str:
    """Both ways through the engine: all pairs at once, and tile by tile."""
    if request.param == "tiles":
        request.getfixturevalue("tiny_tiles")
    return str(request.param)
