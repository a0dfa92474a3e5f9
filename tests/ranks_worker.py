"""Processes that hold different rows; run as a module, it saves the results of each, see `processes`.

    python -m tests.ranks_worker FOLDER

The test process imports the same objectives and data, and compares with the losses of all rows in one
process.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from align_uniform import Measurement, compare, drift, gather_rows, measure
from tests import processes
from tests.as_they_are import AlignUniformLoss, align_loss, contrastive_loss, uniform_loss, w2_loss

COUNTS: dict[int, list[tuple[int, ...]]] = {
    2: [(5, 3), (1, 6), (0, 7), (1, 1)],
    3: [(4, 2, 5), (1, 0, 6), (3, 3, 3)],
}
"""The numbers of rows of each process, by world size, in several splits."""


class Features(NamedTuple):
    """The inputs of an objective: two views, and the tensors that all processes share."""

    x: Tensor
    y: Tensor
    queue: Tensor
    tau: Tensor
    ids: Tensor


QUEUE_IDS = torch.tensor([0, 1, 2, 3, 9])


OBJECTIVES: dict[str, Callable[[Features, bool], Tensor]] = {
    # each as a function of the features and of whether to gather
    "align": lambda f, g: align_loss(f.x, f.y, 1.5, gather_distributed=g),
    "align normalize": lambda f, g: align_loss(f.x, f.y, normalize=True, gather_distributed=g),
    "uniform": lambda f, g: uniform_loss(f.x, gather_distributed=g),
    "uniform t=60": lambda f, g: uniform_loss(f.x, 60, gather_distributed=g),
    "uniform normalize": lambda f, g: uniform_loss(f.x, normalize=True, gather_distributed=g),
    "uniform queue": lambda f, g: uniform_loss(f.x, negatives=f.queue, gather_distributed=g),
    "uniform queue alone": lambda f, g: uniform_loss(
        f.x, negatives=f.queue, intra_batch=False, gather_distributed=g
    ),
    "uniform other tower": lambda f, g: uniform_loss(f.x, negatives=gather_rows(f.y), gather_distributed=g),
    "uniform other tower alone": lambda f, g: uniform_loss(
        f.x, negatives=gather_rows(f.y), intra_batch=False, gather_distributed=g
    ),
    "contrastive": lambda f, g: contrastive_loss(f.x, f.y, 0.5, gather_distributed=g),
    "contrastive tau": lambda f, g: contrastive_loss(f.x, f.y, f.tau, gather_distributed=g),
    "contrastive queue tau": lambda f, g: contrastive_loss(
        f.x, f.y, f.tau, negatives=f.queue, gather_distributed=g
    ),
    "contrastive other tower": lambda f, g: contrastive_loss(
        f.x, f.y, 0.5, negatives=gather_rows(f.y), gather_distributed=g
    ),
    "align views": lambda f, g: align_loss(torch.stack([f.x, f.y, f.x + f.y]), gather_distributed=g),
    "uniform ids": lambda f, g: uniform_loss(f.x, ids=f.ids, gather_distributed=g),
    "uniform ids t=60": lambda f, g: uniform_loss(f.x, 60, ids=f.ids, gather_distributed=g),
    "uniform queue ids": lambda f, g: uniform_loss(
        f.x, negatives=f.queue, ids=f.ids, negative_ids=QUEUE_IDS, gather_distributed=g
    ),
    "uniform queue one id": lambda f, g: uniform_loss(
        f.x, negatives=f.queue, ids=0 * f.ids, gather_distributed=g
    ),
    "contrastive ids": lambda f, g: contrastive_loss(f.x, f.y, 0.5, ids=f.ids, gather_distributed=g),
    "contrastive queue ids": lambda f, g: contrastive_loss(
        f.x, f.y, f.tau, negatives=f.queue, ids=f.ids, negative_ids=QUEUE_IDS, gather_distributed=g
    ),
    "w2": lambda f, g: w2_loss(f.x, gather_distributed=g),
    "w2 normalize": lambda f, g: w2_loss(f.x + f.y, normalize=True, gather_distributed=g),
    "both terms": lambda f, g: AlignUniformLoss(3, 0.5, 2, 3, gather_distributed=g)(f.x, f.y),
    "three terms": lambda f, g: AlignUniformLoss(contrastive_weight=2, tau=f.tau, gather_distributed=g)(
        f.x, f.y, ids=f.ids
    ),
    "three terms queue": lambda f, g: AlignUniformLoss(
        3, contrastive_weight=2, tau=f.tau, gather_distributed=g
    )(f.x, f.y, f.queue, ids=f.ids, negative_ids=QUEUE_IDS),
    "three terms queue alone": lambda f, g: AlignUniformLoss(
        0, contrastive_weight=1, intra_batch=False, gather_distributed=g
    )(f.x, f.y, f.queue),
}


class Model(nn.Module):
    """An encoder of two views, with a queue and a temperature that learn too."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 4)
        self.queue = nn.Parameter(numbers(5, 4))
        self.tau = nn.Parameter(torch.tensor(0.7))
        with torch.no_grad():
            self.encoder.weight.copy_(numbers(4, 6) / 2)
            self.encoder.bias.copy_(numbers(1, 4)[0])

    def forward(self, views: Tensor) -> Features:
        """Encode views, [2, N, 6]."""
        x, y = nn.functional.normalize(self.encoder(views), dim=-1)
        return Features(x, y, self.queue, self.tau, items(views))


def items(views: Tensor) -> Tensor:
    """Return the id of each row, one of four: a function of the row, so that every process knows its own."""
    return (views[0, :, :2] > 0).long() @ torch.tensor([1, 2])


def numbers(*shape: int) -> Tensor:
    """Return standard normal numbers, the same in every process."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def views(counts: tuple[int, ...], rank: int | None = None) -> Tensor:
    """Return two views, [2, N, 6]: those of one process, or of all."""
    everyones = numbers(2, sum(counts), 6)
    return everyones if rank is None else torch.split(everyones, list(counts), dim=1)[rank]


def step(model: nn.Module, own_views: Tensor, name: str, *, gather: bool) -> dict[str, Any]:
    """Return the loss, and its gradient with respect to every parameter."""
    features = model(own_views)
    unused = 0 * (
        features.queue.sum() + features.tau
    )  # DistributedDataParallel waits for the gradient of every parameter
    loss = OBJECTIVES[name](features, gather) + unused
    torch.autograd.backward(loss)
    grads = {key.removeprefix("module."): parameter.grad for key, parameter in model.named_parameters()}
    return {"loss": loss.detach(), "grads": grads}


# ------------------------------------------------------------------------------------------------- the checks


def train_with_ddp(rank: int, name: str, counts: tuple[int, ...]) -> dict[str, Any]:
    model = DistributedDataParallel(Model().double())
    return step(model, views(counts, rank), name, gather=True)


def loss_in_float32(rank: int, name: str, counts: tuple[int, ...]) -> Tensor:
    with torch.no_grad():
        return OBJECTIVES[name](Model().float()(views(counts, rank).float()), True)


def gather_with_gradient(rank: int, counts: tuple[int, ...]) -> dict[str, Tensor]:
    x = views(counts, rank)[0].clone().requires_grad_()
    gathered = gather_rows(x)
    # Every process weighs all rows in its own way; the gradient of a row is the sum of its weights.
    (grad,) = torch.autograd.grad((gathered * (rank + 1) * numbers(sum(counts), 6)).sum(), x)
    return {"rows": gathered.detach(), "grad": grad}


def message_of_a_lone_row(rank: int) -> str:
    counts = (0,) * (dist.get_world_size() - 1) + (1,)
    try:
        uniform_loss(views(counts, rank)[0], gather_distributed=True)
    except ValueError as error:
        return str(error)
    return "no error"


def message_of_a_second_derivative(rank: int, name: str) -> str:
    model = Model().double()
    loss = OBJECTIVES[name](model(views(COUNTS[dist.get_world_size()][0], rank)), True)
    try:
        (grad,) = torch.autograd.grad(loss, model.encoder.weight, create_graph=True)
        torch.autograd.grad(grad.square().sum(), model.encoder.weight)
    except RuntimeError as error:
        return str(error)
    return "no error"


def message_of_forward_mode(rank: int, name: str) -> str:
    x = views(COUNTS[dist.get_world_size()][0], rank)[0]
    features = Features(x, x + 1, numbers(5, 6), torch.tensor(0.7), torch.arange(len(x)))
    try:
        torch.func.jvp(lambda x: OBJECTIVES[name](features._replace(x=x), True), (x,), (x,))
    except RuntimeError as error:
        return str(error)
    return "no error"


class CountExponentials(TorchDispatchMode):
    """A count of the numbers that go through `exp_`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket is torch.ops.aten.exp_:
            self.count += args[0].numel()
        return func(*args, **(kwargs or {}))


def potentials_evaluated(rank: int, counts: tuple[int, ...]) -> int:
    x = views(counts, rank)[0]
    exponentials = CountExponentials()
    with exponentials:
        uniform_loss(x, gather_distributed=True)
    return exponentials.count


MEASURED: dict[str, Callable[[], Measurement]] = {
    # all processes pass the same rows; too few to go round, and enough for several blocks
    "two views": lambda: measure(
        *numbers(2, 41, 6), t=[2, 30], labels=[i % 4 for i in range(41)], distributed=True
    ),
    "two towers": lambda: measure(numbers(23, 6), numbers(31, 6), pairs=[[0, 30], [22, 4]], distributed=True),
    "anchors": lambda: measure(numbers(2, 60, 6), method="anchors", anchors=20, distributed=True),
    "groups": lambda: measure(
        numbers(2, 60, 6), t=[2, 30], groups=[i % 7 for i in range(60)], distributed=True
    ),
    "two rows": lambda: measure(numbers(2, 6), distributed=True),
}


def measured(rank: int, name: str) -> str:
    return MEASURED[name]().to_json()


def measured_by_one(rank: int) -> list[str]:
    """Measure in one process only; the others go on to the next check, and would never come to its help."""
    if rank:
        return []
    x, y = numbers(2, 41, 6)
    return [measure(x, y).to_json(), drift(x, y, permutations=19).to_json(), str(compare(x, y).p)]


def message_of_a_broken_row(rank: int) -> str:
    z = numbers(50, 6)
    z[[4, 33]] = math.nan
    try:
        measure(z, distributed=True)
    except ValueError as error:
        return str(error)
    return "no error"


def checks(world: int) -> dict[str, Callable[[int], Any]]:
    """Return every check by name, in an order that all processes share."""
    todo: dict[str, Callable[[int], Any]] = {"a lone row": message_of_a_lone_row}
    todo["one alone"] = measured_by_one
    todo["a broken row"] = message_of_a_broken_row
    for name in MEASURED:
        todo[f"measured {name}"] = partial(measured, name=name)
    for name in ("align", "uniform", "contrastive", "w2"):
        todo[f"second derivative of {name}"] = partial(message_of_a_second_derivative, name=name)
        todo[f"forward mode of {name}"] = partial(message_of_forward_mode, name=name)
    for counts in COUNTS[world]:
        todo[f"gather {counts}"] = partial(gather_with_gradient, counts=counts)
        todo[f"potentials {counts}"] = partial(potentials_evaluated, counts=counts)
        for name in OBJECTIVES:
            todo[f"{name} {counts}"] = partial(train_with_ddp, name=name, counts=counts)
            todo[f"{name} {counts} float32"] = partial(loss_in_float32, name=name, counts=counts)
    return todo


if __name__ == "__main__":
    processes.run(checks, COUNTS, Path(sys.argv[1]))
