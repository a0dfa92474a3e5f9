"""Reader of HDF5: its datasets by their paths. No file leads to another."""

from __future__ import annotations

import math
from typing import Any

from align_uniform.files.held import DEFLATE_RATIO, Array, File, Index, Key, check_unpacked, unread


def arrays(file: File) -> dict[Key, Array]:
    """Open the datasets by their paths; a slice reads the chunks that it touches."""
    import h5py

    opened = h5py.File(file.path, "r")
    found: dict[Key, Array] = {}

    def visit(key: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            found[key] = _elsewhere(f"{link.filename}, another file")
        elif isinstance(link, h5py.SoftLink):
            found[key] = Array(
                (), "link", unread, problem=f"is a link; give what it leads to: {file.keyed(link.path)}"
            )
        elif isinstance(held := opened[key], h5py.Dataset):
            found[key] = _array(file.named(key), held)

    opened.visititems_links(visit)
    return found


def _array(name: str, dataset: Any) -> Array:
    shape, dtype = dataset.shape or (), dataset.dtype
    if dataset.is_virtual:
        return _elsewhere("the files of a virtual dataset")
    if dataset.external:
        return _elsewhere(f"{dataset.external[0][0]}, another file")
    is_filtered = dataset.id.get_create_plist().get_nfilters() > 0
    stored = dataset.id.get_storage_size()
    capacity = stored * (DEFLATE_RATIO if is_filtered else 1)

    def get(index: Index) -> Any:
        if is_filtered and dataset.chunks:
            check_unpacked(f"a chunk of {name}", math.prod(dataset.chunks) * dtype.itemsize, stored)
        return dataset[index]

    return Array(shape, dtype.name, get, math.prod(shape) * dtype.itemsize, capacity)


def _elsewhere(place: str) -> Array:
    """Return a dataset whose numbers are not in the file, and which is not read."""
    reason = f"leads to {place}, and is not followed; copy its numbers into the file"
    return Array((), "elsewhere", unread, problem=reason)
