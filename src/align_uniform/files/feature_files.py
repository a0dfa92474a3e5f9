"""Files of features that are written, a row for each item, with the path and the label of each item.

`.npy` and `.safetensors` hold rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align_uniform._extras import needs
from align_uniform._writing import written_whole

ENDINGS = (".npy", ".npz", ".safetensors", ".h5", ".parquet")
"""The endings of such files."""

WITH_COLUMNS = (".npz", ".h5", ".parquet")
"""The endings of the files that also hold columns of text."""


def check_feature_file(path: Path, option: str = "--out") -> None:
    """Refuse a file of features that no format is known for, or whose library is missing.

    Args:
        path: the file.
        option: the option that names it.

    Raises:
        ValueError: it has another ending.
        ModuleNotFoundError: the library is missing that writes it.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(
            f"{option} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, got {path}; use {option} "
            f"{path.with_suffix('.npy')}."
        )
    with needs("files"):
        if path.suffix == ".safetensors":
            import safetensors.numpy  # noqa: F401  # whether it is there
        elif path.suffix == ".h5":
            import h5py  # noqa: F401  # whether it is there
        elif path.suffix == ".parquet":
            import pyarrow.parquet  # noqa: F401  # whether it is there


def write_features(path: Path, rows: Any, columns: Mapping[str, Sequence[str]]) -> None:
    """Write a file whole, or leave it as it was.

    Args:
        path: the file, with one of `ENDINGS`.
        rows: an array [N, m].
        columns: a text for each row, by name; left out where the format holds rows alone.

    Raises:
        OSError: the file cannot be written.
    """
    import numpy as np

    with written_whole(path) as partial:
        if path.suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file({"features": np.ascontiguousarray(rows)}, partial)
        elif path.suffix == ".h5":
            _write_hdf5(partial, rows, columns)
        elif path.suffix == ".parquet":
            _write_parquet(partial, rows, columns)
        else:
            with partial.open("wb") as file:
                if path.suffix == ".npy":
                    np.save(file, rows)
                else:
                    texts: dict[str, Any] = {name: np.array(list(each)) for name, each in columns.items()}
                    np.savez(file, features=rows, **texts)


def _write_hdf5(path: Path, rows: Any, columns: Mapping[str, Sequence[str]]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["features"] = rows
        for name, values in columns.items():
            file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())


def _write_parquet(path: Path, rows: Any, columns: Mapping[str, Sequence[str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    pq.write_table(
        pa.table({**{name: list(values) for name, values in columns.items()}, "features": vectors}), path
    )
