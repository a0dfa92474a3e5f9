"""Tests that every error about an argument says what came, what is expected and what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from align_uniform import (
    AlignLoss,
    AlignUniformLoss,
    ContrastiveLoss,
    UniformLoss,
    align_loss,
    contrastive_loss,
    drift,
    gather_rows,
    measure,
    uniform_loss,
    uniform_optimum,
)
from align_uniform.metrics import RankMe
from tests import rows

X = rows.unit(4, 3)
EMPTY = torch.empty(0, 3)
NAN, INF = float("nan"), float("inf")


class Wrong(NamedTuple):
    """A call with a wrong argument, and the parts of its message: the value, the expectation, the remedy."""

    call: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    words: tuple[str, ...] = ()


WRONG = {
    "features in a list": Wrong(
        align_loss, ([[1.0]], X), {}, ("x must be a torch.Tensor", "got list", "use torch.as_tensor(x)")
    ),
    "features of no tensor": Wrong(
        uniform_loss, (None,), {}, ("x must be a torch.Tensor", "got NoneType", "torch.as_tensor")
    ),
    "whole numbers": Wrong(
        align_loss, (X, X.long()), {}, ("y must be real floating point", "torch.int64", "use y.float()")
    ),
    "complex numbers": Wrong(
        uniform_loss,
        (X.to(torch.complex64),),
        {},
        ("x must be real floating point", "torch.complex64", "x.float()"),
    ),
    "sparse rows": Wrong(
        uniform_loss,
        (X.to_sparse(),),
        {},
        ("x must be dense", "torch.sparse_coo", "use x.to_dense()"),
    ),
    "a sparse view": Wrong(align_loss, (X, X.to_sparse()), {}, ("y must be dense", "y.to_dense()")),
    "sparse negatives": Wrong(
        contrastive_loss, (X, X, 0.1), {"negatives": X.to_sparse()}, ("negatives.to_dense()",)
    ),
    "sparse ids": Wrong(uniform_loss, (X,), {"ids": torch.arange(4).to_sparse()}, ("ids.to_dense()",)),
    "nested rows": Wrong(
        uniform_loss,
        (torch.nested.nested_tensor([X, X[:2]], layout=torch.jagged),),
        {},
        ("x must be dense", "got a nested tensor", "torch.cat(x.unbind())"),
    ),
    "a single row": Wrong(
        uniform_loss, (X[0],), {}, ("x must be [..., N, m]", "got shape [3]", "a single row is x[None]")
    ),
    "no features": Wrong(
        uniform_loss, (X[:, :0],), {}, ("x must have at least one feature", "got shape [4, 0]")
    ),
    "an empty batch of batches": Wrong(
        uniform_loss, (torch.ones(0, 5, 3),), {}, ("leading dimension", "[0, 5, 3]", "leave an empty")
    ),
    "views of two sizes": Wrong(
        align_loss, (X, X[:2]), {}, ("same shape", "[4, 3] and [2, 3]", "positive pair")
    ),
    "views to broadcast": Wrong(
        contrastive_loss, (X, X[:1], 0.1), {}, ("same shape", "[4, 3] and [1, 3]", "positive pair")
    ),
    "negatives of another dimension": Wrong(
        uniform_loss,
        (X,),
        {"negatives": X.T},
        ("negatives must have the 3 features of x", "got shape [3, 4]", "queue.T"),
    ),
    "negatives in whole numbers": Wrong(
        uniform_loss,
        (X,),
        {"negatives": X.long()},
        ("negatives must be real floating point", "use negatives.float()"),
    ),
    "no negatives in the tensor": Wrong(
        contrastive_loss,
        (X, X, 0.1),
        {"negatives": EMPTY},
        ("negatives must have at least one row", "got none", "negatives=None"),
    ),
    "neither population": Wrong(
        uniform_loss,
        (X,),
        {"intra_batch": False},
        ("intra_batch=False", "no pairs without negatives", "pass negatives"),
    ),
    "one row without a pair": Wrong(
        uniform_loss,
        (X[:1],),
        {},
        ("x must have at least 2 rows", "got 1", "give a larger batch, or negatives"),
    ),
    "no rows to find a pair in": Wrong(uniform_loss, (EMPTY,), {}, ("x must have at least 2 rows", "got 0")),
    "no rows to meet the negatives": Wrong(
        uniform_loss, (EMPTY,), {"negatives": X}, ("x must have at least", "got 0")
    ),
    "no rows to align": Wrong(
        align_loss, (EMPTY, EMPTY), {}, ("x must have at least 1 row", "got 0", "mean over no pairs")
    ),
    "no rows to contrast": Wrong(
        contrastive_loss, (EMPTY, EMPTY, 0.1), {}, ("x must have at least 1 row", "got 0")
    ),
    "no rows to contrast with negatives": Wrong(
        contrastive_loss, (EMPTY, EMPTY, 0.1), {"negatives": X}, ("x must have at least 1 row", "got 0")
    ),
    "a learned alpha": Wrong(
        align_loss,
        (X, X, torch.tensor(2.0)),
        {},
        ("alpha must be a Python number", "got a tensor", "use alpha.item()"),
    ),
    "a learned t": Wrong(
        uniform_loss, (X, torch.tensor(2.0)), {}, ("t must be a Python number", "got a tensor", "t.item()")
    ),
    "tau of the wrong shape": Wrong(
        contrastive_loss,
        (X, X, torch.ones(1)),
        {},
        ("tau must be 0-d", "torch.float32 of shape [1]", "use tau.squeeze()"),
    ),
    "tau in whole numbers": Wrong(
        contrastive_loss, (X, X, torch.tensor(1)), {}, ("tau must be 0-d floating point", "torch.int64")
    ),
    "an unknown reduction": Wrong(
        align_loss, (X, X), {"reduction": "sum"}, ("reduction must be one of 'mean', 'none'", "got 'sum'")
    ),
    "gathered batches": Wrong(
        uniform_loss,
        (X[None],),
        {"gather_distributed": True},
        ("x must be [N, m]", "got shape [1, 4, 3]", "x.flatten(0, -2)"),
    ),
    "gathering what is not reduced": Wrong(
        align_loss,
        (X, X),
        {"gather_distributed": True, "reduction": "none"},
        ("gather_distributed=True", 'reduction="none"'),
    ),
    "half a dimension": Wrong(
        uniform_optimum, (2.5,), {}, ("dim must be a whole number of at least 1", "got 2.5")
    ),
    "no dimension": Wrong(uniform_optimum, (0,), {}, ("dim must be a whole number of at least 1", "got 0")),
    "an infinite dimension": Wrong(
        uniform_optimum, (INF,), {}, ("dim must be a whole number of at least 1", "got inf")
    ),
    "a dimension that is no number": Wrong(
        uniform_optimum, (NAN,), {}, ("dim must be a whole number of at least 1", "got nan")
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_an_error_names_value_expectation_and_remedy(wrong: Wrong) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        wrong.call(*wrong.arguments, **wrong.options)
    message = str(caught.value)
    assert [word for word in wrong.words if word not in message] == []


@pytest.mark.parametrize("value", [0, -1, NAN, INF, -INF], ids=str)
@pytest.mark.parametrize(
    ("name", "call"),
    {
        "alpha": lambda value: align_loss(X, X, value),
        "t": lambda value: uniform_loss(X, value),
        "tau": lambda value: contrastive_loss(X, X, value),
    }.items(),
)
def test_an_exponent_width_or_temperature_is_a_finite_number_above_0(
    name: str, call: Callable[[float], Any], value: float
) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be a finite number above 0, got {value}"):
        call(value)


@pytest.mark.parametrize("t", [np.float32(2), np.int64(2), np.array(2.0)], ids=repr)
def test_a_number_of_numpy_is_a_number(t: Any) -> None:
    assert uniform_loss(X, t) == uniform_loss(X, 2)


@pytest.mark.parametrize("t", [np.array([2.0]), [2], "2", None], ids=repr)
def test_what_is_no_number_is_refused_by_its_type(t: Any) -> None:
    with pytest.raises(ValueError, match=r"^t must be one number above 0, got"):
        uniform_loss(X, t)


def test_the_optimum_takes_no_t_that_the_loss_refuses() -> None:
    with pytest.raises(ValueError, match="t must be a finite number above 0, got 0"):
        uniform_optimum(3, 0)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: AlignLoss(alpha=0), "alpha must be"),
        (lambda: AlignLoss(reduction="sum"), "reduction must be"),
        (lambda: UniformLoss(t=-2), "t must be"),
        (lambda: ContrastiveLoss(tau=0), "tau must be"),
        (lambda: ContrastiveLoss(tau=torch.ones(1)), "tau must be"),
        (lambda: AlignUniformLoss(alpha=NAN), "alpha must be"),
        (lambda: AlignUniformLoss(t=INF), "t must be"),
    ],
)
def test_a_module_refuses_a_wrong_option_when_it_is_built(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


def test_a_loss_that_gathers_cannot_be_compiled_and_says_what_to_do() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: uniform_loss(x, gather_distributed=True), fullgraph=True, backend="eager"
    )
    with pytest.raises(RuntimeError, match="gather_distributed=True cannot be compiled"):
        compiled(X)


OLD_DTENSORS = pytest.mark.filterwarnings("ignore:DTensor random operators may not:UserWarning")
"""torch 2.6 warns of random numbers, which nothing here draws."""


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """The mesh of a single process."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    time.sleep(0.1)  # torch 2.6 hangs if a thread of gloo lets go of a tensor while the group is destroyed
    dist.destroy_process_group()


def sharded(x: Tensor, mesh: DeviceMesh) -> Any:
    """Return rows as a DTensor, which needs no communication."""
    return DTensor.from_local(x, mesh, [Shard(0)])


DISTRIBUTED: dict[str, Callable[[Any, Any], Any]] = {
    # a call with plain rows and a DTensor, by the argument that the message names
    "x of align": lambda _, d: align_loss(d, d),
    "y of align": lambda x, d: align_loss(x, d),
    "x of views": lambda _, d: align_loss(torch.stack([d, d])),
    "x of uniform": lambda _, d: uniform_loss(d),
    "x of gathered": lambda _, d: uniform_loss(d, gather_distributed=True),
    "negatives of uniform": lambda x, d: uniform_loss(x, negatives=d),
    "ids of uniform": lambda x, d: uniform_loss(x, ids=sharded(torch.arange(12), d.device_mesh)),
    "y of contrastive": lambda x, d: contrastive_loss(x, d, 0.5),
    "tau of contrastive": lambda x, d: contrastive_loss(x, x, d.square().mean()),
    "negatives of contrastive": lambda x, d: contrastive_loss(x, x, 0.5, negatives=d),
    "x of gather_rows": lambda _, d: gather_rows(d),
    "x of a module": lambda x, d: AlignUniformLoss()(d, x),
    "x of a metric": lambda _, d: RankMe().update(d),
    "features of measure": lambda _, d: measure(d),
    "positives of measure": lambda x, d: measure(x, d),
    "a of drift": lambda x, d: drift(d, x),
}


@OLD_DTENSORS
@pytest.mark.parametrize("call", DISTRIBUTED, ids=str)
def test_a_dtensor_is_refused_and_the_full_tensor_is_right(call: str, mesh: DeviceMesh) -> None:
    x = rows.unit(12, 3)
    name = call.partition(" ")[0]
    with pytest.raises(ValueError, match=rf"^{name} .* DTensor of shape .*; use {name}.full_tensor\(\)\.$"):
        DISTRIBUTED[call](x, sharded(x, mesh))


@OLD_DTENSORS
def test_the_remedy_for_a_dtensor_has_the_gradient_of_one_process(mesh: DeviceMesh) -> None:
    x = rows.unit(12, 3).requires_grad_()
    d = sharded(x.detach().clone(), mesh).requires_grad_()
    uniform_loss(x).backward()
    uniform_loss(d.full_tensor()).backward()
    torch.testing.assert_close(d.grad.full_tensor(), x.grad)
