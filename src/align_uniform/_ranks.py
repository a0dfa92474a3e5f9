"""Communication between processes: rank, world size, rows of all, sums over all. Without a process group,
one's own.

The convention for gradients is that of DistributedDataParallel, which averages over the W processes what each
of them computed. A loss of the global batch is the same number on every process, and each process
differentiates its own share of it; the sums below therefore multiply the gradient by W, and the average is
the gradient of the one-process loss.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: one may evaluate, or fetch a data set, for all."""

_is_alone = ContextVar("_is_alone", default=False)


def rank() -> int:
    """This process's number, 0 without a process group."""
    return dist.get_rank() if _is_one_of_many() else 0


def world_size() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if _is_one_of_many() else 1


def _is_one_of_many() -> bool:
    return dist.is_available() and dist.is_initialized() and not _is_alone.get()


@contextmanager
def alone() -> Iterator[None]:
    """Compute as if there were no other process, and wait for none."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes if torchrun started this one among several, and leave them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if (
        local_rank() < torch.cuda.device_count()
    ):  # not so if there are more processes than GPUs, under --device cpu
        torch.cuda.set_device(local_rank())
    # Torch loads this within its first DistributedDataParallel or optimiser, and if that is later than the
    # group, holds the group until the interpreter ends. A thread of gloo that then lets go of a tensor aborts
    # the process, at random.
    importlib.import_module("torch._dynamo")
    # Gloo carries what is on the CPU: objects, and everything under --device cpu.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        gc.collect()  # modules that are in cycles hold the group too
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def local_rank() -> int:
    """This process's number on its machine, which torchrun tells; 0 without it."""
    return int(os.environ.get("LOCAL_RANK", "0"))


class Gathered(NamedTuple):
    """The rows of all processes, in order of rank."""

    rows: Tensor
    """[sum of N_r, m]"""
    start: int
    """Where this process's own rows begin."""


def gather(x: Tensor) -> Gathered:
    """Exchange the rows of all processes, whose numbers may differ; differentiable in x, once."""
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
    Without a process group this is x.

    Use it for a second population that differs between processes: `uniform_loss(x, negatives=gather_rows(y),
    gather_distributed=True)`.

    Args:
        x: this process's rows, [N_r, m]; N_r may be 0.

    Returns:
        [sum of N_r, m], in the dtype of x. Differentiable once, in eager mode.

    Example:
        >>> import torch
        >>> from align_uniform import gather_rows
        >>> gather_rows(torch.ones(2, 3)).shape  # without a process group
        torch.Size([2, 3])
    """
    return gather(x).rows


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of every process's value; the gradient carries the factor W."""
    total: Tensor = value if world_size() == 1 else _Sum.apply(value)
    return total


def log_sum_over_ranks(value: Tensor, share: float = 1.0) -> Tensor:
    """Return `log sum_r exp(value_r)`; the gradient carries the factor W.

    `share` multiplies the gradient as well: 2 where each process differentiates one row of a symmetric pair,
    and the process that holds the other row counts the pair again.
    """
    if world_size() == 1:
        return value
    total: Tensor = _LogSum.apply(value, share)
    return total


def add_over_ranks_(total: Tensor) -> Tensor:
    """Add every process's tensor to this one, in place and without a gradient."""
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def gather_objects(value: T) -> list[T]:
    """Every process's value, in order of rank; whatever can be pickled."""
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
