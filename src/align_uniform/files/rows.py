"""Rows of features that stay in their files until a slice asks for them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from align_uniform._messages import counted
from align_uniform.files.held import Array, File, FileError

if TYPE_CHECKING:  # torch is imported when rows are read: the help of a command needs only the formats
    import torch
    from torch import Tensor

DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "uint8")
"""The dtypes that rows may have."""

MOST_VIEWS = 16
"""The most views of the same items. An array with more of them has another meaning, such as tokens."""


@dataclass(frozen=True)
class Rows:
    """The rows of one array in a file: `rows[start:stop]` reads them into a new tensor [b, m].

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from align_uniform.files import open_rows
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/features.npy", np.ones((100, 8), dtype=np.float32))
        ...     (rows,) = open_rows(f"{folder}/features.npy")
        ...     rows.shape, rows.dtype, rows[90:].shape
        ((100, 8), torch.float32, torch.Size([10, 8]))
    """

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

    @property
    def ids(self) -> tuple[str, ...] | None:
        """The id of each row, if the file has one vector for each id; None otherwise."""
        return self.array.ids

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
            rows = to_tensor(self.array.get((*self.view, slice(start, stop))))
        if rows.shape != shape or rows.dtype != self.dtype:
            raise FileError(
                f"{self.name} is damaged: rows {start} to {stop} must be {list(shape)} of {self.dtype}, "
                f"got {list(rows.shape)} of {rows.dtype}."
            )
        return rows


@dataclass(frozen=True)
class Shards:
    """The rows of several files, concatenated in the order of the files.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from align_uniform.files import open_shards
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part in range(3):
        ...         np.save(f"{folder}/part_{part}.npy", np.full((10, 4), float(part)))
        ...     (shards,) = open_shards(f"{folder}/part_*.npy")
        ...     shards[8:12][:, 0]
        tensor([0., 0., 1., 1.], dtype=torch.float64)
    """

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

    @property
    def ids(self) -> tuple[str, ...] | None:
        """The ids of all rows, if every file has them; None otherwise."""
        known = [part.ids for part in self.parts if part.ids is not None]
        return tuple(name for ids in known for name in ids) if len(known) == len(self.parts) else None

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
    return len(array.shape) in (2, 3) and array.dtype in DTYPES and not array.problem


def views(file: File, name: str, array: Array) -> tuple[Rows, ...]:
    """Return the rows of an array [N, m], or of each view of an array [V, N, m].

    Raises:
        FileError: the array has another shape or dtype, or is larger than its file can be.
    """
    if array.problem:
        raise FileError(f"{name} {array.problem}.")
    check_rows(name, array.shape, array.dtype)
    array.check_claim(name)
    if len(array.shape) == 2:
        return (Rows(name, file, array, ()),)
    return tuple(Rows(f"{name}, view {v}", file, array, (v,)) for v in range(array.shape[0]))


def check_rows(name: str, shape: Sequence[int], dtype: str) -> None:
    """Refuse shapes and dtypes that are not those of rows, and shapes whose meaning would be guessed.

    Args:
        name: the name of the array in messages.
        shape: its shape.
        dtype: the name of its dtype, as numpy and torch spell it.

    Raises:
        FileError: the shape is neither [N, m] nor [V, N, m] with V views of at least V rows, at most 16 of
            them, or the dtype is none of `DTYPES`.
    """
    got = f"got shape {list(shape)}"
    if len(shape) not in (2, 3):
        raise FileError(f"{name} must be rows [N, m], or views of them [V, N, m], {got}; {_to_rows(shape)}.")
    if 0 in shape:
        raise FileError(f"{name} must have at least one row and one feature, {got}; save some rows.")
    if len(shape) == 3 and shape[0] > min(MOST_VIEWS, shape[1]):
        raise FileError(
            f"{name} must be rows [N, m], or views of them [V, N, m], at most {MOST_VIEWS} and no more than "
            f"rows, {got}; {_to_views(shape)}."
        )
    if dtype not in DTYPES:
        raise FileError(
            f"{name} must be of {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {dtype}; {_to_real(dtype)}."
        )


def _to_rows(shape: Sequence[int]) -> str:
    """Return how to make rows of an array of fewer or more dimensions."""
    if not shape:
        return "a number alone has no rows"
    if len(shape) == 1:
        return "for one feature use x[:, None], for one row x[None]"
    return "average feature maps, as by x.mean((2, 3)), or flatten them: x.reshape(len(x), -1)"


def _to_views(shape: Sequence[int]) -> str:
    """Return how to make rows of an array that has too many views."""
    views, rows, _ = shape
    tokens = f"{counted(views, 'item')} of {counted(rows, 'token')}"
    pooled = f"for {tokens} use x.mean(1), or x[:, 0] for the first of them"
    if rows == 1:
        return "use x[:, 0]"
    if views <= rows:
        return f"{pooled}; for views of {counted(rows, 'row')} choose some, as by x[:{MOST_VIEWS}]"
    swapped = (
        f"; for {rows} views of {counted(views, 'row')} use x.swapaxes(0, 1)" if rows <= MOST_VIEWS else ""
    )
    return f"V > N: axes swapped? {pooled[0].upper()}{pooled[1:]}{swapped}"


def _to_real(dtype: str) -> str:
    """Return how to convert numbers of a dtype that rows cannot have."""
    if dtype.startswith("complex"):
        return "the real and the imaginary parts are features: np.concatenate([x.real, x.imag], -1)"
    return "convert them, as by x.astype('float32') in numpy or x.float() in torch"


def to_tensor(part: Any) -> Tensor:
    """Return a writable copy in this machine's byte order, which does not keep a mapped file in memory."""
    import torch

    if isinstance(part, torch.Tensor):
        return part.detach().clone(memory_format=torch.contiguous_format)
    import numpy as np

    part = np.asarray(part)
    copy = np.array(part, dtype=part.dtype.newbyteorder("="), order="C")
    if copy.dtype.name == "bfloat16":  # numpy has it from another library, and torch takes its bits alone
        return torch.from_numpy(copy.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copy)
