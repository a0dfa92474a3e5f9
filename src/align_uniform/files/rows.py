"""Rows of features that stay in their files until a slice asks for them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from align_uniform.files.held import Array, File, FileError

if TYPE_CHECKING:  # torch is imported when rows are read: the help of a command needs only the formats
    import torch
    from torch import Tensor

DTYPES = ("float16", "bfloat16", "float32", "float64", "int8")
"""The dtypes that rows may have."""


@dataclass(frozen=True)
class Rows:
    """The rows of one array in a file: `rows[start:stop]` reads them into a new tensor [b, m]."""

    name: str
    """The name of the rows for messages: "file.npz (key 'x')"."""
    file: File
    array: Array
    view: tuple[int, ...]
    """The index (v,) of a view in an array [V, N, m], or () for an array [N, m]."""

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows N and of features m, both at least 1."""
        rows, features = self.array.shape[-2:]
        return rows, features

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the array in the file."""
        import torch

        dtype: torch.dtype = getattr(torch, self.array.dtype)
        return dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Tensor:
        import torch

        if not isinstance(part, slice) or part.step not in (None, 1):
            raise ValueError(f"{self.name} is read by slices of step 1, as in rows[0:100], got {part!r}.")
        start, stop, _ = part.indices(len(self))
        shape = (max(stop - start, 0), self.shape[1])
        if shape[0] == 0:
            return torch.empty(shape, dtype=self.dtype)
        with self.file.reading(self.name):
            rows = _tensor(self.array.get((*self.view, slice(start, stop))))
        if rows.shape != shape or rows.dtype != self.dtype:
            raise FileError(
                f"{self.name} is damaged: rows {start} to {stop} must be {list(shape)} of {self.dtype}, "
                f"got {list(rows.shape)} of {rows.dtype}."
            )
        return rows


@dataclass(frozen=True)
class Shards:
    """The rows of several files, concatenated in the order of the files."""

    name: str
    parts: tuple[Rows, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows N in all files together, and of features m."""
        return sum(map(len, self.parts)), self.parts[0].shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype to which the dtypes of all files are promoted."""
        import torch

        return functools.reduce(torch.promote_types, (part.dtype for part in self.parts))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Tensor:
        import torch

        start, stop, _ = part.indices(len(self))
        found = [self.parts[0][0:0].to(self.dtype)]
        for rows in self.parts:
            if start < len(rows) and stop > 0:
                found.append(rows[max(start, 0) : min(stop, len(rows))].to(self.dtype))
            start, stop = start - len(rows), stop - len(rows)
        return torch.cat(found)


def can_be_rows(array: Array) -> bool:
    """Whether an array has the dimensions and the dtype of rows."""
    return len(array.shape) in (2, 3) and array.dtype in DTYPES


def views(file: File, name: str, array: Array) -> tuple[Rows, ...]:
    """Return the rows of an array [N, m], or of each view of an array [V, N, m].

    Raises:
        FileError: the array has another shape or dtype, or is larger than its file can be.
    """
    _check(name, array)
    if len(array.shape) == 2:
        return (Rows(name, file, array, ()),)
    return tuple(Rows(f"{name}, view {v}", file, array, (v,)) for v in range(array.shape[0]))


def _check(name: str, array: Array) -> None:
    if len(array.shape) not in (2, 3):
        raise FileError(
            f"{name} must be rows [N, m], or views of them [V, N, m], got shape {list(array.shape)}."
        )
    if 0 in array.shape:
        raise FileError(f"{name} must have at least one row and one feature, got shape {list(array.shape)}.")
    if array.dtype not in DTYPES:
        raise FileError(
            f"{name} must be of {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {array.dtype}; convert it "
            "before saving."
        )
    array.check_claim(name)


def _tensor(part: Any) -> Tensor:
    """A writable copy in this machine's byte order, which does not keep a mapped file in memory."""
    import torch

    if isinstance(part, torch.Tensor):
        return part.detach().clone(memory_format=torch.contiguous_format)
    import numpy as np

    return torch.from_numpy(np.array(part, dtype=part.dtype.newbyteorder("="), order="C"))
