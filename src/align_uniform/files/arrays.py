"""Readers of files of arrays: .npy, .npz, .pt, .safetensors and HDF5. Each returns the arrays by key."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from align_uniform.files.held import DEFLATE_RATIO, Array, File, FileError, Key

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path

    from torch import Tensor

SAFETENSORS_DTYPES = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I8": "int8", "U8": "uint8"
}  # fmt: skip
"""The names by which safetensors calls the dtypes of rows."""

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

    # numpy.load would also open a zip or a pickle of that name.
    array = np.lib.format.open_memmap(file.path, mode="r")
    size = file.path.stat().st_size
    return {None: Array(array.shape, array.dtype.name, array.__getitem__, array.nbytes, size)}


def npz(file: File) -> dict[Key, Array]:
    """Read the headers of the arrays that numpy.savez wrote; the first slice reads its array whole."""
    import zipfile

    with zipfile.ZipFile(file.path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        return {
            member.filename.removesuffix(".npy"): _npz_member(file, archive, member) for member in members
        }


def _npz_member(file: File, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    import zipfile

    import numpy as np

    with archive.open(member) as stream:
        is_1_0 = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_1_0 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)

    @cache
    def load() -> Any:  # numpy cannot map the members of a zip archive
        with zipfile.ZipFile(file.path) as archive, archive.open(member) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    packed = member.compress_size * (1 if member.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO)
    capacity = min(packed, member.file_size, file.path.stat().st_size * DEFLATE_RATIO)
    return Array(shape, dtype.name, lambda index: load()[index], math.prod(shape) * dtype.itemsize, capacity)


def pt(file: File) -> dict[Key, Array]:
    """Map the tensors that torch.save wrote; a file of torch before 1.6 is read whole."""
    import zipfile

    import torch

    check_loads_safely(file.path, "save the rows as .npy or .safetensors")
    # Only zip archives, which torch writes since 1.6, can be mapped.
    loaded = torch.load(file.path, map_location="cpu", mmap=zipfile.is_zipfile(file.path), weights_only=True)
    tensors = loaded if isinstance(loaded, dict) else {None: loaded}
    size = file.path.stat().st_size
    return {
        None if key is None else str(key): Array(
            tuple(x.shape), _kind(x), x.__getitem__, x.numel() * x.element_size(), size
        )
        for key, x in tensors.items()
        if isinstance(x, torch.Tensor)
    }


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


def hdf5(file: File) -> dict[Key, Array]:
    """Open the datasets of an HDF5 file by their paths; a slice reads the chunks that it touches."""
    import h5py

    opened = h5py.File(file.path, "r")
    datasets: dict[Key, Any] = {}
    # Neither soft nor external links are visited: no file leads to another.
    opened.visititems(
        lambda key, held: datasets.update({key: held} if isinstance(held, h5py.Dataset) else {})
    )
    return {key: _hdf5_array(dataset) for key, dataset in datasets.items()}


def _hdf5_array(dataset: Any) -> Array:
    shape, dtype = dataset.shape or (), dataset.dtype
    is_filtered = dataset.id.get_create_plist().get_nfilters() > 0
    capacity = dataset.id.get_storage_size() * (DEFLATE_RATIO if is_filtered else 1)
    return Array(shape, dtype.name, dataset.__getitem__, math.prod(shape) * dtype.itemsize, capacity)
