"""The rows of an argument: of a tensor, an array, a list of rows, or a file, one source for each view."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._messages import counted
from align_uniform.files.frames import is_frame, open_frame
from align_uniform.files.rows import check_rows, to_tensor
from align_uniform.measuring.populations import Source


def sources(name: str, value: Any) -> list[Source]:
    """Return the rows of each view, [N, m], of a tensor, an array, a list of rows, or a file.

    Args:
        name: the name of the argument in messages.
        value: the argument.

    Raises:
        ValueError: it is nothing like rows, or it has an entry that is no number.
        OSError: a file cannot be read.
    """
    if isinstance(value, str | os.PathLike):
        from align_uniform.files import open_features

        return list(open_features(Path(value)))
    if is_frame(value):
        return list(open_frame(name, value))
    if hasattr(value, "to_numpy"):  # a column of a DataFrame
        value = value.to_numpy()
    if isinstance(value, list | tuple):
        value = _of_list(name, value)
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        remedy = f"; use torch.stack([*{name}.values()])" if isinstance(value, dict) else ""
        remedy = f"; use {name}.collect()" if hasattr(value, "collect") else remedy
        raise ValueError(
            f"{name} must be a tensor, an array, a DataFrame, a list of rows, or the path of a file, got "
            f"{type(value).__name__}{remedy}."
        )
    _check_dense(name, value)
    if len(value.shape) == 1 and _name_of_dtype(value.dtype) == "object":
        value = _of_list(name, list(value))
    check_rows(name, value.shape, _name_of_dtype(value.dtype))
    value = _unmasked(name, value)
    return [value] if len(value.shape) == 2 else [value[v] for v in range(value.shape[0])]


def device_of(features: Any) -> torch.device:
    """Return the device of a tensor, or of the first tensor of a list, and the CPU for anything else."""
    if isinstance(features, list | tuple) and features:
        features = features[0]
    return features.device if isinstance(features, Tensor) else torch.device("cpu")


def _of_list(name: str, rows: Sequence[Any]) -> Tensor:
    """Return a tensor of a list of rows, each a tensor, an array, or a list of numbers."""
    if not rows:
        raise ValueError(f"{name} must have at least one row, got an empty {type(rows).__name__}.")
    if isinstance(rows[0], str | os.PathLike):
        raise ValueError(
            f"{name} must be rows, got a {type(rows).__name__} of {type(rows[0]).__name__}; give one "
            "path, or a pattern for several files: 'shards/*.npy'."
        )
    if all(hasattr(row, "shape") for row in rows):
        return _stacked(name, [row if isinstance(row, Tensor) else to_tensor(row) for row in rows])
    try:
        return torch.tensor(rows, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be rows of numbers, all of one length, got {_odd(rows, error)}."
        ) from error


def _stacked(name: str, rows: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(row.shape) for row in rows}
    if {len(shape) for shape in shapes} == {2}:
        raise ValueError(
            f"{name} must be rows, got a list of {counted(len(rows), 'matrix', 'matrices')}; use "
            f"torch.cat({name}) if they are batches, or torch.stack({name}) if they are views of the same "
            "items."
        )
    for number, row in enumerate(rows):
        if row.shape != rows[0].shape or row.dim() != 1:
            raise ValueError(
                f"{name} must be rows of one length, got shape {list(rows[0].shape)} in row 0 and "
                f"{list(row.shape)} in row {number}."
            )
    return torch.stack([*rows])


def _odd(rows: Sequence[Any], error: Exception) -> str:
    """Return what is odd about the first row that is not like the first one."""
    for number, row in enumerate(rows):
        if not isinstance(row, list | tuple):
            return f"{type(row).__name__} in row {number}"
        if len(row) != len(rows[0]):
            return f"{len(rows[0])} in row 0 and {len(row)} in row {number}"
        strange = [item for item in row if not isinstance(item, int | float)]
        if strange and not isinstance(strange[0], list | tuple):
            return f"{type(strange[0]).__name__} in row {number}"
    return str(error)


def _check_dense(name: str, value: Any) -> None:
    """Refuse arrays whose numbers are not a plain block of memory."""
    if hasattr(value, "toarray"):
        raise ValueError(f"{name} must be dense, got {type(value).__name__}; use {name}.toarray().")
    if isinstance(value, Tensor):
        checks.check_plain(name, value)


def _unmasked(name: str, value: Any) -> Any:
    """Return the numbers of a masked array of numpy if none is masked, and any other value as it is."""
    if not (hasattr(value, "mask") and hasattr(value, "filled")):
        return value
    import numpy as np

    mask: Any = np.ma.getmaskarray(value).any(-1)
    rows = torch.from_numpy(mask if mask.ndim == 1 else mask.any(0))
    checks.refuse_masked(name, rows.nonzero().flatten().tolist(), len(rows), value.ndim)
    return value.data


def _name_of_dtype(dtype: Any) -> str:
    """Return the name of a dtype of torch, numpy, or a library with dtypes like theirs."""
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")
