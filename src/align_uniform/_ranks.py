"""Communication between processes: rank, world size, the rows of all processes, sums over all processes.

Without a process group there is one process, and what it has is everything.

The convention for gradients is that of DistributedDataParallel, which averages over the W processes what each
of them computed. A loss of the global batch is the same number on every process, and each process
differentiates its own share of it; the sums below therefore multiply the gradient by W, and the average is
the gradient of the one-process loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from align_uniform._checks import check_plain

P = ParamSpec("P")
T = TypeVar("T")

_is_alone = ContextVar("_is_alone", default=False)


def rank() -> int:
    """Return this process's number, 0 without a process group."""
    return dist.get_rank() if _is_one_of_many() else 0


def world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if _is_one_of_many() else 1


def _is_one_of_many() -> bool:
    return dist.is_available() and dist.is_initialized() and not _is_alone.get()


def alone_unless_distributed(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function compute on its own, and wait for no other process, unless `distributed=True` is passed.

    An evaluation is often called by one process of many, which would wait for the others for ever.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with nullcontext() if kwargs.get("distributed") else alone():
            return function(*args, **kwargs)

    return called


@contextmanager
def alone() -> Iterator[None]:
    """Compute as if there were no other processes, and wait for none."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def barrier() -> None:
    """Wait for every process to arrive."""
    if world_size() > 1:
        dist.barrier()


class Gathered(NamedTuple):
    """The rows of all processes, in the order of their ranks."""

    rows: Tensor
    """The rows, [sum of N_r, m]."""
    start: int
    """The index of the first row of this process."""


def gather(x: Tensor) -> Gathered:
    """Exchange the rows of all processes, whose numbers may differ; once differentiable in x."""
    if world_size() == 1:
        return Gathered(x, 0)
    own = torch.tensor([x.shape[0]], device=x.device)
    everyones = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(everyones, own)
    counts = [int(count) for count in everyones]
    rows: Tensor = _Gather.apply(x, counts)
    return Gathered(rows, sum(counts[: rank()]))


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows of all processes in order of rank, with their gradient.

    Equals `torch.cat([x_0, ..., x_{W-1}])` on every process, where N_r, the number of rows, may differ. In
    the backward pass each process receives the sum over all processes of the gradients for its own rows.
    Without a process group the result is x.

    Use it for a second population that differs between processes: `uniform_loss(x, negatives=gather_rows(y),
    gather_distributed=True)`.

    Args:
        x: this process's rows, [N_r, m]; N_r may be 0.

    Returns:
        [sum of N_r, m], in the dtype of x. Differentiable once, in eager mode.

    Raises:
        ValueError: x is sparse, nested, or a DTensor.

    Example:
        >>> import torch
        >>> from align_uniform import gather_rows
        >>> gather_rows(torch.ones(2, 3)).shape  # without a process group
        torch.Size([2, 3])
    """
    check_plain("x", x)
    return gather(x).rows


def sum_over_ranks(value: Tensor) -> Tensor:
    """Return the sum of the values of all processes; the gradient carries the factor W."""
    total: Tensor = value if world_size() == 1 else _Sum.apply(value)
    return total


def log_sum_over_ranks(value: Tensor, share: float = 1.0) -> Tensor:
    """Return `log sum_r exp(value_r)`; the gradient carries the factor W.

    The gradient is multiplied by `share` as well: 2 where each process differentiates one row of a symmetric
    pair, and the process that holds the other row counts the pair again.
    """
    if world_size() == 1:
        return value
    total: Tensor = _LogSum.apply(value, share)
    return total


def add_over_ranks_(total: Tensor) -> Tensor:
    """Replace a tensor, in place and without a gradient, by the sum over all processes, and return it."""
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def gather_objects(value: T) -> list[T]:
    """Return the values of all processes, in the order of their ranks; anything that can be pickled."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = x.new_zeros(max(counts), *x.shape[1:])
        padded[: x.shape[0]] = x
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        _refuse_second_derivative()
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.split(ctx.counts)[rank()], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _refuse_second_derivative()
        return grad * world_size()


class _LogSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, share: float) -> Tensor:
        parts = [torch.empty_like(value) for _ in range(world_size())]
        dist.all_gather(parts, value.contiguous())
        total = torch.stack(parts).logsumexp(0)
        base = total.clamp(min=torch.finfo(total.dtype).min)  # -inf where no process has a pair
        ctx.save_for_backward((value - base).exp() * share)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        _refuse_second_derivative()
        (weight,) = ctx.saved_tensors
        return grad * weight * world_size(), None


def _refuse_second_derivative() -> None:
    # torch's once_differentiable lets pass a second derivative that does not come through `grad`, and loses
    # that part of it.
    if torch.is_grad_enabled():
        raise RuntimeError(
            "gather_distributed=True is differentiable once; create_graph=True asks for a second derivative."
        )
