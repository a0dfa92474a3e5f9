"""The conditions that all parts share: the device, the size of the run, the time left, and the engine."""

from __future__ import annotations

import importlib.util
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from align_uniform.engine import routes
from benchmarks.gpu.item import LeftOut

Engine: TypeAlias = Literal["triton", "tiles"]


@dataclass(frozen=True)
class Session:
    """One run of one part."""

    device: torch.device
    quick: bool
    """Whether to take tiny sizes and few rounds."""
    deadline: float = math.inf
    """The time, as of `time.time`, at which the part is to end."""

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines that can compute here."""
        has_kernel = importlib.util.find_spec("triton") is not None and (
            self.on_gpu or routes.is_interpreted()
        )
        return ("triton", "tiles") if has_kernel else ("tiles",)

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """The dtypes of rows; Triton's interpreter multiplies bfloat16 wrongly."""
        return (torch.float32, torch.bfloat16 if self.on_gpu else torch.float16)

    def seconds_left(self) -> float:
        """Return the time until the deadline."""
        return self.deadline - time.time()

    def needs_gpu(self) -> None:
        """Leave out an item that only a GPU can run."""
        if not self.on_gpu:
            raise LeftOut("needs a GPU")

    def rows(self, n: int, m: int, dtype: torch.dtype = torch.float32, *, seed: int = 0) -> Tensor:
        """Return N rows, uniform on the unit sphere in m dimensions: [N, m]."""
        generator = torch.Generator(self.device).manual_seed(seed)
        rows = torch.randn(n, m, generator=generator, device=self.device)
        return torch.nn.functional.normalize(rows, dim=1).to(dtype)


@contextmanager
def computed_by(engine: Engine | None) -> Iterator[None]:
    """Let an engine compute within the block; None leaves the choice as it is."""
    if engine is None:
        yield
        return
    before = os.environ.get(routes.ENGINE)
    os.environ[routes.ENGINE] = engine
    routes.chosen_engine.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ[routes.ENGINE]
        else:
            os.environ[routes.ENGINE] = before
        routes.chosen_engine.cache_clear()


def serves(engine: Engine, x: Tensor) -> bool:
    """Return whether this engine computes the sums over these rows, if it is asked to."""
    with computed_by(engine):
        return engine == "tiles" or routes.takes_kernel(x)


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a dtype, without its module."""
    return str(dtype).removeprefix("torch.")
