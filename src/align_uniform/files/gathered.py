"""Arrays of a file that belong together: one vector for each id as rows, and the parts of sparse matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from align_uniform.files.columns import Columns
from align_uniform.files.held import Array, File, FileError, Index, Key, unread
from align_uniform.files.rows import DTYPES, MOST_VIEWS, can_be_rows

SPARSE = {"data", "indices", "indptr"}, {"data", "format", "shape"}
"""The names of the arrays that a sparse matrix has, as groups of HDF5 hold it, and as scipy saves it."""


def gathered(file: File, arrays: Mapping[Key, Array]) -> Mapping[Key, Array]:
    """Add the rows that arrays without rows of their own make together, under None, or the reason why not.

    Vectors of one length are rows, and their keys are the ids of the rows. A few long ones are columns of
    other meanings, and are left alone.
    """
    if isinstance(arrays, Columns):
        return arrays
    names = [key for key in arrays if key is not None]
    is_saved_by_scipy = arrays.keys() >= SPARSE[1]  # whose data may look like rows
    if not is_saved_by_scipy and any(can_be_rows(array) for array in arrays.values()):
        return arrays
    if parts := _sparse_parts(names):
        what = f"a sparse matrix ({', '.join(parts)}); {_dense(file)}"
        whole = Array((), "sparse", unread, problem=f"is {what}")
        return {None: whole} | {
            key: replace(array, problem=f"is a part of {what}") if key in parts else array
            for key, array in arrays.items()
        }
    if not _are_vectors(arrays, names):
        return arrays
    of_one = {
        key: replace(
            arrays[key], problem=f"is one row; leave the key out to read all {len(names):,}, each with its id"
        )
        for key in names
    }
    return {None: _stacked(file, arrays, names)} | of_one


def _sparse_parts(names: Sequence[str]) -> list[str]:
    """Return the arrays of the first sparse matrix among these."""
    for group in dict.fromkeys(name.rpartition("/")[0] for name in names):
        members = {name.rpartition("/")[2]: name for name in names if name.rpartition("/")[0] == group}
        for wanted in SPARSE:
            if wanted <= members.keys():
                return [members[part] for part in sorted(wanted | (SPARSE[0] & members.keys()))]
    return []


def _dense(file: File) -> str:
    if file.path.suffix.lower() == ".npz":
        return f"save it dense: np.save('x.npy', scipy.sparse.load_npz({str(file.path)!r}).toarray())"
    return "save it dense, as by .toarray()"


def _are_vectors(arrays: Mapping[Key, Array], names: Sequence[str]) -> bool:
    if len(names) < 2 or len(names) < len(arrays):
        return False
    shapes = {array.shape for array in arrays.values()}
    kinds = {array.dtype for array in arrays.values()}
    if len(shapes) > 1 or not kinds <= set(DTYPES) or any(array.problem for array in arrays.values()):
        return False
    (shape,) = shapes
    return len(shape) == 1 and 0 < shape[0] <= max(len(names), shape[0] * (len(names) > MOST_VIEWS))


def _stacked(file: File, arrays: Mapping[Key, Array], names: Sequence[str]) -> Array:
    """Return the vectors as rows of the widest dtype among theirs, in the order of the file."""
    import torch

    from align_uniform.files.rows import to_tensor

    widest = arrays[names[0]].dtype
    for name in names:
        kind = torch.promote_types(getattr(torch, widest), getattr(torch, arrays[name].dtype))
        widest = str(kind).removeprefix("torch.")
    (features,) = arrays[names[0]].shape

    def get(index: Index) -> Any:
        (part,) = index
        assert isinstance(part, slice)
        rows = []
        for name in names[part]:
            arrays[name].check_claim(file.named(name))
            rows.append(to_tensor(arrays[name].get((slice(0, features),))).to(getattr(torch, widest)))
            if rows[-1].shape != (features,):
                raise FileError(
                    f"{file.named(name)} is damaged: it must have {features} numbers, got {len(rows[-1])}."
                )
        return torch.stack(rows)

    return Array((len(names), features), widest, get, ids=tuple(names))
