"""The settings that the tests share, the devices of this machine, and the routes through the pair engine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

from align_uniform import _unit_norm
from align_uniform.engine import few, logits, routes, tiles
from align_uniform.files import arrays

# The same examples on every run: a failure in continuous integration is then a failure at home.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.load_profile("suite")

torch.set_num_threads(1)  # the tensors of tests are small: threads would cost more than they give

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available(), *["mps"] * torch.backends.mps.is_available()]


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether this process runs Triton's kernels in its interpreter; a process that compiles them does not."""

collect_ignore = ["engine/test_compiled_kernels.py" if INTERPRETED else "engine/test_interpreted_kernels.py"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests of thousands of rows in the interpreter, which would take minutes."""
    large = [item for item in items if INTERPRETED and item.get_closest_marker("large")]
    config.hook.pytest_deselected(items=large)
    items[:] = [item for item in items if item not in large]


@pytest.fixture(scope="session", autouse=True)
def faithful_interpreter() -> Iterator[None]:
    """Make the interpreter compute products and casts as a GPU does."""
    if not INTERPRETED:
        yield
        return
    from tests.engine.interpreter import faithful_arithmetic

    with faithful_arithmetic():
        yield


def pytest_configure(config: pytest.Config) -> None:
    if INTERPRETED:  # numpy's word on rows of NaN
        config.addinivalue_line("filterwarnings", "ignore:All-NaN:RuntimeWarning")
    # torch before 2.7 calls in gradcheck what it deprecates.
    config.addinivalue_line("filterwarnings", "ignore:Please use .torch.vmap. instead:FutureWarning")
    # torch's forward-mode AD scripts its decompositions when first used, and deprecates scripting.
    config.addinivalue_line("filterwarnings", "ignore:.torch.jit.script.* is deprecated:Warning")


@pytest.fixture(scope="session", autouse=True)
def any_torch_reads_its_files() -> Iterator[None]:
    """Files of torch.save are read by an old torch too: only the traps in them are hostile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "SAFE_TORCH", "2.0")
        yield


@pytest.fixture(autouse=True)
def nobody_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test be the first to call a loss: rows far from unit norm need a choice of `normalize`."""
    monkeypatch.setattr(_unit_norm, "asked", _unit_norm.Asked())


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def never_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send even a handful of rows through the sweeps."""
    for name in ("PAIRS", "PAIRS_WITH_GRADIENT", "LOGITS"):
        monkeypatch.setattr(few, name, 0)


@pytest.fixture
def tiny_tiles(never_few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send even a handful of rows through many tiles, and through many blocks of logits."""
    monkeypatch.setattr(tiles, "DENSE_ROWS", 1)
    monkeypatch.setattr(routes, "PLAIN_PAIRS", 12)
    monkeypatch.setattr(logits, "KEPT_LOGITS", 12)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: 3)


@pytest.fixture(params=["few", "whole", "tiles"])
def route(request: pytest.FixtureRequest) -> str:
    """Take each way through the engine: in few operators, all pairs at once, and tile by tile."""
    if request.param != "few":
        request.getfixturevalue({"whole": "never_few", "tiles": "tiny_tiles"}[request.param])
    return str(request.param)


@pytest.fixture
def tile_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the tile loop, even where the environment asks for the kernel.

    Only the tile loop reads values on a CPU.
    """
    monkeypatch.setattr(routes, "chosen_engine", lambda: "tiles")
