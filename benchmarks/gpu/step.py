"""The share of the loss in a training step like that of the two-view recipe, on images in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from align_uniform import align_loss, uniform_loss
from align_uniform.recipes.encoders.networks import SmallAlexNet
from benchmarks.gpu.formulas import two_lines
from benchmarks.gpu.item import Failed, Item, Record
from benchmarks.gpu.session import Session, computed_by
from benchmarks.gpu.turns import Contestant, sample
from benchmarks.timing import spread

BATCH, SIZE, DIM = 768, 64, 128
ROUNDS = 7

PRECISIONS = ("float32", "TF32", "autocast bfloat16")


def items(session: Session) -> list[Item]:
    """Return the step in the precisions that people train in."""
    precisions = PRECISIONS if session.on_gpu else PRECISIONS[:1]
    return [
        Item(f"two-view step, {precision}", functools.partial(_step, session, precision))
        for precision in precisions
    ]


def _step(session: Session, precision: str) -> Record:
    """Time forward, backward and update with every loss in turn, and with a mean in the place of a loss."""
    batch, size = (8, 16) if session.quick else (BATCH, SIZE)
    images = torch.randn(2 * batch, 3, size, size, device=session.device)
    network = SmallAlexNet(DIM, size).to(session.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        with torch.autocast(session.device.type, torch.bfloat16, enabled=precision.startswith("autocast")):
            features: Tensor = network(images)
            value = loss(*features.chunk(2))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        return (value.detach(),)

    others = {"no loss": _no_loss, "two lines": _two_lines}
    contestants = [Contestant(name, functools.partial(step, loss)) for name, loss in others.items()]
    contestants += [Contestant(engine, functools.partial(step, _ours), engine) for engine in session.engines]
    record: Record = {"precision": precision, "batch": batch, "size": size}
    with _products(precision):
        failed = _first_steps(contestants)
        times = _times(session, [contestant for contestant in contestants if contestant.name not in failed])
    without = times["no loss"]
    record["ms"] = {name: 1e3 * seconds for name, seconds in times.items()}
    record["images_per_second"] = {name: batch / seconds for name, seconds in times.items()}
    record["share_of_loss"] = {name: 1 - without / seconds for name, seconds in times.items()}
    if failed:
        raise Failed("; ".join(f"{name}: {why}" for name, why in failed.items()), record)
    return record


def _first_steps(contestants: list[Contestant]) -> dict[str, str]:
    """Take a step with each, which loads and compiles the code it needs; return why those fail that do."""
    failed = {}
    for contestant in contestants:
        with computed_by(contestant.engine):
            try:
                float(contestant.call()[0])
            except Exception as error:
                failed[contestant.name] = f"{type(error).__name__}: {error}"[-400:]
    return failed


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """Let float32 products be TF32's, unless the precision is float32.

    This includes the products of the tile loop, as its Note says.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _times(session: Session, contestants: list[Contestant]) -> dict[str, float]:
    """Return the median seconds of a step, in turns."""
    samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    rounds = 2 if session.quick else ROUNDS
    for number in range(rounds):
        for contestant in contestants if number % 2 else reversed(contestants):
            with computed_by(contestant.engine):
                samples[contestant.name].append(sample(session, contestant.call, 1 if session.quick else 5))
    return {name: spread(seconds).median for name, seconds in samples.items()}


def _no_loss(x: Tensor, y: Tensor) -> Tensor:
    return (x.mean() + y.mean()) / 2


def _two_lines(x: Tensor, y: Tensor) -> Tensor:
    align: Tensor = (x - y).norm(dim=1).pow(2).mean()
    return align + (two_lines(x) + two_lines(y)) / 2


def _ours(x: Tensor, y: Tensor) -> Tensor:
    return align_loss(x, y) + (uniform_loss(x) + uniform_loss(y)) / 2
