"""Files of the numbers of single rows: .npz, an array each, and .parquet, a column each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_uniform._extras import needs
from align_uniform._writing import written_whole

ENDINGS = (".npz", ".parquet")
"""The endings of such files."""

SHAPES = b"align_uniform"
"""The key of the metadata of a .parquet file that has the shape of each array."""


def check_row_file(path: Path) -> None:
    """Refuse a file for the numbers of rows that no format is known for, or whose library is missing.

    Raises:
        ValueError: it ends in neither .npz nor .parquet.
        ModuleNotFoundError: pyarrow is missing, which writes .parquet.
    """
    if path.suffix not in ENDINGS:
        better = path.with_suffix(".parquet")
        raise ValueError(
            f"--rows-out must end in {' or '.join(ENDINGS)}, got {path}; use --rows-out {better}, which "
            "other programs read."
        )
    if path.suffix == ".parquet":
        with needs("files"):
            pass


def save_arrays(path: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write arrays by name. In .parquet each is a column, and is followed by nulls if others are longer."""
    if path.suffix == ".parquet":
        _save_columns(path, arrays)
        return
    import numpy as np

    columns: dict[str, Any] = {name: value.numpy() for name, value in arrays.items()}
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez(file, **columns)


def load_arrays(path: Path) -> dict[str, Tensor]:
    """Read what `save_arrays` wrote.

    Raises:
        ValueError: another program wrote it, or it is damaged.
        OSError: it cannot be read.
    """
    if path.suffix == ".parquet":
        return _load_columns(path)
    import numpy as np

    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def _save_columns(path: Path, arrays: Mapping[str, Tensor]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    longest = max((value.numel() for value in arrays.values()), default=0)
    columns = {}
    for name, value in arrays.items():
        column = pa.array(value.contiguous().numpy().ravel())
        columns[name] = pa.concat_arrays([column, pa.nulls(longest - len(column), column.type)])
    shapes = json.dumps({name: list(value.shape) for name, value in arrays.items()})
    table = pa.table(columns).replace_schema_metadata({SHAPES: shapes})
    with written_whole(path) as partial:
        pq.write_table(table, partial)


def _load_columns(path: Path) -> dict[str, Tensor]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    shapes: dict[str, list[int]] = json.loads((table.schema.metadata or {})[SHAPES])
    return {
        name: torch.from_numpy(table.column(name)[: math.prod(shape)].to_numpy().copy()).reshape(shape)
        for name, shape in shapes.items()
    }
