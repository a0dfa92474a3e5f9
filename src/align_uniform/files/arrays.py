"""Readers of files of arrays: .npy, .npz, .pt and .safetensors. Each returns the arrays by key."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING, Any, Literal

from align_uniform._messages import listed
from align_uniform.files.held import DEFLATE_RATIO, Array, File, FileError, Index, Key, check_unpacked, unread

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path

    from torch import Tensor

SAFETENSORS_DTYPES = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I8": "int8", "U8": "uint8"
}  # fmt: skip
"""The names by which safetensors calls the dtypes of rows."""

LOCAL_HEADER = 30
"""The bytes of a member's local header in a zip archive, before its name."""

MOST_LEVELS = 8
"""The most dicts within dicts that are looked into."""

SAFE_TORCH = "2.10"
"""The oldest torch whose weights_only loading executes nothing that a hostile file holds."""


def check_loads_safely(path: Path, otherwise: str) -> None:
    """Refuse to load what torch.save wrote with a torch that may execute what the file holds.

    Args:
        path: the file.
        otherwise: a remedy other than another torch, as the message ends.

    Raises:
        FileError: torch is too old.
    """
    import torch

    if torch.__version__ < SAFE_TORCH:
        raise FileError(
            f"{path} needs torch {SAFE_TORCH} or later to be loaded safely, got torch {torch.__version__}; "
            f"run: pip install 'torch>={SAFE_TORCH}', or {otherwise}."
        )


def npy(file: File) -> dict[Key, Array]:
    """Map an array that numpy.save wrote; a slice reads its own bytes."""
    import numpy as np

    with file.path.open("rb") as stream:
        header = _header(stream)
    if problem := _problem(header.dtype):
        return {None: _unreadable(header, problem)}
    # numpy.load would also open a zip or a pickle of that name.
    array = np.lib.format.open_memmap(file.path, mode="r")
    size = file.path.stat().st_size
    return {None: Array(array.shape, array.dtype.name, array.__getitem__, array.nbytes, size)}


def npz(file: File) -> dict[Key, Array]:
    """Map the arrays that numpy.savez wrote. Of compressed ones, the first slice reads its array whole."""
    import zipfile

    import numpy as np

    @cache
    def mapped() -> Any:
        """Map the file once for all its members, of which there may be more than files can be open."""
        return np.memmap(file.path, np.uint8, "r")

    with zipfile.ZipFile(file.path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        return {
            member.filename.removesuffix(".npy"): _npz_member(file, archive, member, mapped)
            for member in members
        }


@dataclass(frozen=True)
class _Header:
    """The header of an array as numpy.save writes it."""

    shape: tuple[int, ...]
    dtype: Any
    is_fortran: bool
    size: int
    """The bytes of the header itself, after which the numbers begin."""


def _header(stream: IO[bytes]) -> _Header:
    import numpy as np

    is_1_0 = np.lib.format.read_magic(stream) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_1_0 else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    return _Header(shape, dtype, is_fortran, stream.tell())


def _problem(dtype: Any) -> str:
    """Return why numbers of a dtype of numpy are not read, and what to save instead; empty if they are."""
    if dtype.hasobject:
        return (
            "holds Python objects, which are not loaded, since that may run code; save numbers or text: "
            "np.stack(x).astype('float32') for rows, x.astype(str) for a column of text"
        )
    if dtype.names is not None:
        unstructured = "np.lib.recfunctions.structured_to_unstructured(x)"
        return f"is an array of records of {listed(dtype.names)}; save {unstructured}, or one of the fields"
    return ""


def _unreadable(header: _Header, problem: str) -> Array:
    return Array(header.shape, header.dtype.name, unread, problem=problem)


def _npz_member(
    file: File, archive: zipfile.ZipFile, member: zipfile.ZipInfo, mapped: Callable[[], Any]
) -> Array:
    import zipfile

    import numpy as np

    with archive.open(member) as stream:
        header = _header(stream)
    if problem := _problem(header.dtype):
        return _unreadable(header, problem)
    nbytes = math.prod(header.shape) * header.dtype.itemsize
    is_stored = member.compress_type == zipfile.ZIP_STORED
    packed = member.compress_size * (1 if is_stored else DEFLATE_RATIO)
    capacity = min(packed, member.file_size, file.path.stat().st_size * DEFLATE_RATIO)

    @cache
    def load() -> Any:
        if is_stored:
            order: Literal["F", "C"] = "F" if header.is_fortran else "C"
            start = _start_of_member(file, member) + header.size
            return np.ndarray(header.shape, header.dtype, mapped(), start, order=order)
        check_unpacked(f"{file.path} ({member.filename})", nbytes, member.compress_size)
        with zipfile.ZipFile(file.path) as archive, archive.open(member) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    return Array(header.shape, header.dtype.name, lambda index: load()[index], nbytes, capacity)


def _start_of_member(file: File, member: zipfile.ZipInfo) -> int:
    """Return where the bytes of a member of a zip archive begin, after its local header."""
    with file.path.open("rb") as stream:
        stream.seek(member.header_offset)
        local = stream.read(LOCAL_HEADER)
    lengths = [int.from_bytes(local[start : start + 2], "little") for start in (26, 28)]  # of name and extra
    return member.header_offset + LOCAL_HEADER + sum(lengths)


def pt(file: File) -> dict[Key, Array]:
    """Map the tensors that torch.save wrote, those in dicts within dicts by their paths.

    A file of torch before 1.6 is read whole.
    """
    import zipfile

    import torch

    check_loads_safely(file.path, "save the rows as .npy or .safetensors")
    try:
        # Only zip archives, which torch writes since 1.6, can be mapped.
        loaded = torch.load(
            file.path, map_location="cpu", mmap=zipfile.is_zipfile(file.path), weights_only=True
        )
    except pickle.UnpicklingError as error:
        if (named := re.search(r"GLOBAL ([\w.]+)", str(error))) is None:
            raise
        raise FileError(
            f"{file.path} holds {named[1]}, which is not loaded, since that may run code; save tensors "
            "alone, as by torch.save(torch.as_tensor(x), path)."
        ) from error
    found = {key: _tensor_array(file, x) for key, x in _tensors(loaded)}
    if not found:
        raise FileError(f"{file.path} must be {file.expected}, got {_described(loaded)}; save tensors.")
    return _of_list(loaded, found) if isinstance(loaded, list | tuple) else found


def _tensors(held: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Key, Tensor]]:
    """Yield the tensors in a tensor, a list, or dicts within dicts, each with its path."""
    import torch

    if isinstance(held, torch.Tensor):
        yield "/".join(path) or None, held
    elif len(path) < MOST_LEVELS:
        inner = (
            held.items()
            if isinstance(held, dict)
            else enumerate(held)
            if isinstance(held, list | tuple)
            else ()
        )
        for key, each in inner:
            yield from _tensors(each, (*path, str(key)))


def _tensor_array(file: File, x: Tensor) -> Array:
    kind = _kind(x)
    problem = (
        "" if kind == str(x.dtype).removeprefix("torch.") else f"is {kind}; save x.to_dense(), on the CPU"
    )
    size = file.path.stat().st_size
    return Array(tuple(x.shape), kind, x.__getitem__, x.numel() * x.element_size(), size, problem=problem)


def _of_list(loaded: Sequence[Any], found: dict[Key, Array]) -> dict[Key, Array]:
    """Return the rows that a list of vectors makes, which have no ids, or the tensors of any other list."""
    first = next(iter(found.values()))
    shapes = {array.shape for array in found.values()}
    if any(len(array.shape) != 2 for array in found.values()) and len(shapes) > 1:
        return found
    if len(found) == len(loaded) and len(first.shape) == 1 and not first.problem:
        stack = _stack_of(loaded)
        return {
            None: Array(
                (len(loaded), *first.shape), first.dtype, stack, first.nbytes * len(loaded), first.capacity
            )
        }
    problem = (
        f"is a list of {len(loaded):,} {_described(loaded[0])}; save torch.cat(x) if they are batches of "
        "rows, or torch.stack(x) if they are views of the same items"
    )
    return {None: Array((len(loaded),), "list", unread, problem=problem)}


def _stack_of(vectors: Sequence[Tensor]) -> Callable[[Index], Any]:
    import torch

    def get(index: Index) -> Any:
        (part,) = index
        assert isinstance(part, slice)
        return torch.stack([x.detach() for x in vectors[part]])

    return get


def _described(held: Any) -> str:
    """Return what a file holds in place of tensors, in words."""
    import torch

    if isinstance(held, torch.Tensor):
        return f"tensors of shape {list(held.shape)}"
    if isinstance(held, dict) and held:
        return "a dict of " + listed(f"{key} ({type(value).__name__})" for key, value in held.items())
    if isinstance(held, list | tuple) and held:
        return f"a {type(held).__name__} of {type(held[0]).__name__}"
    return f"an empty {type(held).__name__}" if isinstance(held, list | tuple | dict) else type(held).__name__


def _kind(x: Tensor) -> str:
    """The dtype, with the layout and the device of a tensor whose numbers are not a plain block of memory."""
    import torch

    kind = str(x.dtype).removeprefix("torch.")
    is_plain = x.layout is torch.strided and x.device.type == "cpu"
    return kind if is_plain else f"{x.layout} {kind} on {x.device}"


def safetensors(file: File) -> dict[Key, Array]:
    """Map the tensors of a safetensors file; a slice reads its own bytes."""
    from safetensors import safe_open

    # It compares every shape with the size of the file.
    opened: Any = safe_open(file.path, framework="pt")
    slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118  # it is no dict
    return {
        key: Array(tuple(x.get_shape()), SAFETENSORS_DTYPES.get(x.get_dtype(), x.get_dtype()), x.__getitem__)
        for key, x in slices.items()
    }
