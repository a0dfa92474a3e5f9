"""The checks of arguments: every message says what came, what is expected, and what to do."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from align_uniform import _options
from align_uniform._messages import counted
from align_uniform._options import check_choice as check_choice  # for values that need no torch


def check_features(name: str, z: Tensor) -> None:
    """Refuse anything but rows of real numbers, [..., N, m] with m >= 1."""
    if not isinstance(z, Tensor):
        raise ValueError(
            f"{name} must be a torch.Tensor, got {type(z).__name__}; use torch.as_tensor({name})."
        )
    check_plain(name, z)
    if not z.is_floating_point():
        raise ValueError(f"{name} must be real floating point, got {z.dtype}; use {name}.float().")
    if z.dim() < 2:
        raise ValueError(
            f"{name} must be [..., N, m], N rows of m features, got shape {list(z.shape)}; a single row is "
            f"{name}[None]."
        )
    if z.shape[-1] == 0:
        raise ValueError(f"{name} must have at least one feature, got shape {list(z.shape)}.")
    if 0 in z.shape[:-2]:
        raise ValueError(
            f"{name} must have no leading dimension of size 0, got shape {list(z.shape)}; leave an empty "
            "batch out."
        )


def check_plain(name: str, z: Tensor) -> None:
    """Refuse distributed, sparse and nested tensors, which are no array of numbers in this process."""
    if z.is_nested:
        raise ValueError(
            f"{name} must be dense, got a nested tensor; use torch.cat({name}.unbind()) for its rows."
        )
    if z.layout != torch.strided:
        raise ValueError(f"{name} must be dense, got {z.layout}; use {name}.to_dense().")
    if type(z) not in (Tensor, torch.nn.Parameter) and _is_distributed(z):
        raise ValueError(
            f"{name} must be a plain tensor, got a DTensor of shape {list(z.shape)}; use "
            f"{name}.full_tensor()."
        )


def _is_distributed(z: Tensor) -> bool:
    """Return whether a tensor is a DTensor; only a program that has imported them can make one."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(z, module.DTensor)


def check_views(x: Tensor) -> None:
    """Refuse anything but two or more views of the same items."""
    if x.dim() < 3 or x.shape[-3] < 2:
        raise ValueError(
            f"without y, x must be [V, N, m], V >= 2 views of the same N items, got shape {list(x.shape)}; "
            f"pass the second view as y, or torch.stack([x, y])."
        )


def check_same_shape(x: Tensor, y: Tensor) -> None:
    """Refuse views of different shapes: row i of x and row i of y are a positive pair."""
    if x.shape != y.shape:
        raise ValueError(
            f"x and y must have the same shape, row i of x and row i of y being a positive pair, "
            f"got {list(x.shape)} and {list(y.shape)}."
        )


def check_negatives(x: Tensor, negatives: Tensor) -> None:
    """Refuse anything but a second population of the same dimension, [..., M, m] with M >= 1."""
    check_features("negatives", negatives)
    if negatives.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"negatives must have the {x.shape[-1]} features of x, got shape {list(negatives.shape)}; "
            f"a queue stored as [m, K] is passed as queue.T."
        )
    leading, own = negatives.shape[:-2], x.shape[:-2]
    if len(leading) > len(own) or any(
        a not in (1, b) for a, b in zip(reversed(leading), reversed(own), strict=False)
    ):
        raise ValueError(
            f"negatives must be [M, m], or have the leading dimensions of x, {list(own)}, got shape "
            f"{list(negatives.shape)}; use negatives.flatten(0, -2) for one population."
        )
    if negatives.shape[-2] == 0:
        raise ValueError(
            "negatives must have at least one row, got none; pass negatives=None for a loss without them."
        )


def check_ids(name: str, ids: object, rows: str, z: Tensor) -> Tensor:
    """Return one whole number a row, [N] or [..., N], as int64 with the leading dimensions of the rows."""
    if not isinstance(ids, Tensor):
        raise ValueError(
            f"{name} must be a torch.Tensor, got {type(ids).__name__}; use torch.as_tensor({name})."
        )
    check_plain(name, ids)
    if ids.is_floating_point() or ids.is_complex():
        raise ValueError(f"{name} must be whole numbers, got {ids.dtype}; use {name}.long().")
    if ids.device != z.device:
        raise ValueError(
            f"{name} must be on the device of {rows}, {z.device}, got {ids.device}; use "
            f"{name}.to({rows}.device)."
        )
    if ids.dim() == 0 or ids.dim() >= z.dim() or ids.shape != z.shape[z.dim() - 1 - ids.dim() : -1]:
        raise ValueError(
            f"{name} must be [{z.shape[-2]}], one for each row of {rows}, or of shape {list(z.shape[:-1])}, "
            f"got shape {list(ids.shape)}."
        )
    return ids.long().expand(z.shape[:-1])


def check_row_count(rows: int, least: int, why: str) -> None:
    """Refuse too few rows for a mean."""
    if rows < least:
        raise ValueError(f"x must have at least {counted(least, 'row')}, got {rows}: {why}.")


def check_positive(name: str, value: float) -> float:
    """Return a finite number above zero."""
    if isinstance(value, Tensor):
        raise ValueError(
            f"{name} must be a Python number, got a tensor: no gradient flows to it; use {name}.item()."
        )
    return _options.check_positive(name, value)


def check_temperature(tau: float | Tensor) -> None:
    """Refuse anything but a positive number, or a 0-d tensor that may be learned."""
    if not isinstance(tau, Tensor):
        check_positive("tau", tau)
        return
    check_plain("tau", tau)
    if tau.dim() != 0 or not tau.is_floating_point():
        raise ValueError(
            f"a tensor tau must be 0-d floating point, got {tau.dtype} of shape {list(tau.shape)}; use "
            "tau.squeeze()."
        )


def check_gatherable(x: Tensor, shape: str = "[N, m]") -> None:
    """Refuse rows that processes cannot exchange: several batches, and rows in a compiled graph."""
    dimensions = shape.count(",") + 1
    if x.dim() != dimensions:
        raise ValueError(
            f"with gather_distributed=True x must be {shape}, got shape {list(x.shape)}; use "
            f"x.flatten({dimensions - 2}, -2)."
        )
    if torch.compiler.is_compiling():
        raise RuntimeError(
            "gather_distributed=True cannot be compiled: processes exchange a number of rows that a graph "
            "does not know. Compile the encoder, and call the loss outside of it."
        )


def refuse_not_finite(name: str, numbers: list[int], rows: int) -> None:
    """Refuse rows with these numbers, if there are any, which have a NaN or an infinity."""
    _refuse_rows(
        name,
        numbers,
        rows,
        "a NaN or an infinity",
        "leave them out, or find out why the encoder makes them",
    )


def refuse_zero(name: str, numbers: list[int], rows: int) -> None:
    """Refuse rows with these numbers, if there are any, which are zero and are to be normalised."""
    _refuse_rows(
        name,
        numbers,
        rows,
        "norm 0, and so without a direction",
        "leave them out, or pass normalize=False (on the command line --as-is)",
    )


def refuse_masked(name: str, numbers: list[int], rows: int, dimensions: int) -> None:
    """Refuse rows with these numbers, if there are any, of which an array of numpy masks a part.

    Args:
        name: the name of the array, [N, m], or [V, N, m], where a row is left out of every view.
        numbers: the numbers of the rows.
        rows: the number of all rows.
        dimensions: the number of dimensions of the array.
    """
    mask = f"~np.ma.getmaskarray({name})"
    remedy = f"{name}[{mask}.any(-1)]" if dimensions == 2 else f"{name}[:, {mask}.any((0, -1))]"
    _refuse_rows(name, numbers, rows, "masked values", f"leave them out: {remedy}")


def refuse_missing(name: str, numbers: list[int], rows: int) -> None:
    """Refuse rows with these numbers, if there are any, that have no value in a column."""
    _refuse_rows(name, numbers, rows, "no value", "leave these rows out, or give them a value of their own")


def _refuse_rows(name: str, numbers: list[int], rows: int, what: str, remedy: str) -> None:
    if numbers:
        first = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
        raise ValueError(
            f"{name} has {len(numbers):,} of {counted(rows, 'row')} with {what} (rows {first}); {remedy}."
        )


def usable_device(device: str | torch.device) -> torch.device:
    """Return the device, if this machine has it."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise ValueError(
            f"device must be one of this machine, such as cpu, got {device}: {str(error).splitlines()[0]}"
        ) from error
