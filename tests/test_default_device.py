"""Tests that no internal tensor lands on the default device, which is the user's to choose."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import align_uniform
from align_uniform import drift, geometry, measure
from align_uniform.metrics import Alignment, RankMe, Uniformity
from align_uniform.metrics.streamed import place
from tests import rows

FACTORIES = frozenset(
    {
        "arange", "as_tensor", "asarray", "empty", "eye", "full", "linspace", "logspace", "ones", "rand",
        "randint", "randn", "randperm", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
    }
)  # fmt: skip
"""The functions of torch that make a tensor on the default device, if no device is named."""

SOURCE = Path(align_uniform.__file__).parent
PARTS = [
    path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.relative_to(SOURCE).parts[0] not in ("recipes", "cli", "figures", "report", "files")
]


def unnamed(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the lines that make a tensor on the default device."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "torch"
            and node.func.attr in FACTORIES
            and not any(keyword.arg in ("device", None) for keyword in node.keywords)
        ):
            yield node.lineno, node.func.attr


@pytest.mark.parametrize("path", PARTS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_tensor_names_its_device(path: Path) -> None:
    assert list(unnamed(ast.parse(path.read_text()))) == []


def test_the_search_finds_a_tensor_without_a_device() -> None:
    assert list(unnamed(ast.parse("torch.eye(3)\ntorch.eye(3, device=x.device)\nx.new_zeros(3)"))) == [
        (1, "eye")
    ]


X, Y = rows.unit(2, 60, 12)
CLASSES = [number % 4 for number in range(60)]
IDS, TAU = torch.tensor(CLASSES), torch.tensor(0.1)
CLUMPS = torch.cat([X, X[:1].expand(60, 12) + 1e-9 * Y])
CONE = rows.cone(60, 12)
HITS = [number % 3 == 0 for number in range(60)]

CALLS: dict[str, Callable[[], Any]] = {
    "align_loss": lambda: align_uniform.align_loss(X, Y),
    "align_loss of views": lambda: align_uniform.align_loss(torch.stack([X, Y]), alpha=1),
    "uniform_loss": lambda: uniform_gradient(X),
    "uniform_loss, ids": lambda: align_uniform.uniform_loss(X, ids=IDS, negatives=Y, negative_ids=IDS),
    "contrastive_loss": lambda: align_uniform.contrastive_loss(X, Y, 0.1),
    "contrastive_loss, ids": lambda: align_uniform.contrastive_loss(X, Y, TAU, ids=IDS),
    "modules": lambda: align_uniform.AlignUniformLoss(contrastive_weight=1).terms(X, Y).total,
    "gather_rows": lambda: align_uniform.gather_rows(X),
    "measure": lambda: measure(X).to_json(),
    "measure, floats": lambda: measure(X.float(), Y.float()).to_json(),
    "measure, lists": lambda: measure(X.tolist(), labels=CLASSES).to_json(),
    "measure, views": lambda: measure(torch.stack([X, Y]), labels=CLASSES, t=[2, 3]).to_json(),
    "measure, pairs": lambda: measure(X, pairs=[[0, 5], [1, 6]], scores=[3, 5], threshold=4).to_json(),
    "measure, towers": lambda: measure(X, Y[:40], pairs=zip(range(40), range(40), strict=True)).to_json(),
    "measure, ids": lambda: measure(X, Y, ids=(CLASSES, CLASSES)).to_json(),
    "measure, groups": lambda: measure(X, Y, groups=CLASSES, items=range(60)).to_json(),
    "measure, anchors": lambda: measure(CLUMPS, method="anchors", anchors=40).to_json(),
    "measure, cone": lambda: measure(CONE, normalize=False).to_json(),
    "difference": lambda: measure(X, items=CLASSES) - measure(Y, items=CLASSES),
    "compare": lambda: align_uniform.compare(X, Y, paired=True).p,
    "compare_accuracies": lambda: align_uniform.compare_accuracies(HITS, HITS[::-1]).p,
    "drift": lambda: drift(X, Y, permutations=19).p,
    "drift, paired": lambda: drift(X, Y, paired=True, permutations=19, positives=(Y, X)).to_json(),
    "drift, other axes": lambda: drift(X, Y[:, :7], permutations=19).to_json(),
    "drift, anchors": lambda: drift(X, Y, permutations=19, method="anchors", anchors=20).to_json(),
    "Alignment": lambda: streamed(Alignment(), X, Y),
    "Uniformity": lambda: streamed(Uniformity(max_rows=40), X),
    "RankMe": lambda: streamed(RankMe(), X),
    "moments": lambda: geometry.w2_uniformity(geometry.Moments.of(X)),
    "neighbours": lambda: geometry.nearest_neighbours(X)[0],
    "neighbours of queries": lambda: geometry.nearest_neighbours(X, Y)[1],
    "occurrences": lambda: geometry.occurrences(X, 5),
    "classes": lambda: geometry.tolerance(geometry.ClassSums.of(X, IDS)),
    "permuted labels": lambda: geometry.permuted_tolerance(
        geometry.ClassSums.of(X, IDS), geometry.Moments.of(X)
    ),
}


def uniform_gradient(x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    align_uniform.uniform_loss(x).backward()
    assert x.grad is not None
    return x.grad


def streamed(metric: Any, *inputs: torch.Tensor) -> torch.Tensor:
    metric.update(*inputs)
    value: torch.Tensor = metric.compute()
    return value


def plain(found: Any) -> Any:
    """Return what is compared: without the time that a measurement took."""
    if isinstance(found, torch.Tensor):
        assert found.device == torch.device("cpu")
        return found.tolist()
    if isinstance(found, str):
        return re.sub(r'"(seconds|measured)": [^\n]*', "", found)
    return found


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_results_do_not_depend_on_the_default_device(call: Callable[[], Any]) -> None:
    expected = plain(call())
    with torch.device("meta"):
        found = call()
    assert plain(found) == expected


def test_states_of_metrics_follow_a_default_device_that_has_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for default, expected in (("meta", "cpu"), ("mps", "cpu"), ("cuda:0", "cuda:0")):
        monkeypatch.setattr(torch, "get_default_device", lambda default=default: torch.device(default))
        assert place() == torch.device(expected)
