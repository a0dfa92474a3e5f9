"""Two processes with different texts; run as a module, it saves the losses and gradients of each.

python -m tests.integrations.sentences_worker FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

if __name__ == "__main__":  # the tool has no part in this, and takes seconds to import
    for module, name in (("", "SentenceTransformer"), (".base", ""), (".base.evaluation", "BaseEvaluator")):
        empty = ModuleType(f"sentence_transformers{module}")
        sys.modules[empty.__name__] = empty
        setattr(empty, name, object)

from align_uniform.integrations.sentence_transformers import AlignUniformLoss, UniformityRegularizer
from tests import processes
from tests.rows import normal


class Linear(nn.Module):
    """A model of rows in place of texts, with the output of a SentenceTransformer."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(6, 4).double()
        for number, parameter in enumerate(self.map.parameters()):
            parameter.data = normal(*parameter.shape, seed=number).double()

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.map(features["input_ids"])}


class Distances(nn.Module):
    """A loss of the first two columns, which is a mean over rows."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: list[dict[str, Tensor]], _: Tensor | None) -> Tensor:
        x: Tensor
        y: Tensor
        x, y = (self.model(column)["sentence_embedding"] for column in features)
        return (x - y).square().mean()


LOSSES: dict[str, Callable[[Any, bool], nn.Module]] = {
    "pairs": lambda model, gather: AlignUniformLoss(model, gather_across_devices=gather),
    "negatives": lambda model, gather: AlignUniformLoss(model, gather_across_devices=gather),
    "regulariser": lambda model, gather: UniformityRegularizer(
        model, Distances(model), gather_across_devices=gather
    ),
}


def step(name: str, rows: slice, *, is_one_of_many: bool) -> dict[str, Tensor]:
    """Return the loss and the gradient of a step on some of 12 rows of each column."""
    count = 4 if name == "negatives" else 2
    columns = [{"input_ids": normal(12, 6, seed=10 + c).double()[rows]} for c in range(count)]
    model = Linear()
    found = LOSSES[name](DistributedDataParallel(model) if is_one_of_many else model, is_one_of_many)
    loss = found(columns, None)
    loss.backward()
    assert model.map.weight.grad is not None
    return {"loss": loss.detach(), "grad": model.map.weight.grad}


def checks(world: int) -> processes.Checks:
    def check(name: str, rank: int) -> dict[str, Tensor]:
        return step(name, slice(6 * rank, 6 * rank + 6), is_one_of_many=True)

    return {name: partial(check, name) for name in LOSSES}


if __name__ == "__main__":
    processes.run(checks, [2], Path(sys.argv[1]))
