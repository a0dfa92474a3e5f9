"""Reader of Parquet: a table of Arrow whose blocks are row groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from align_uniform.files.arrow import Blocks, columns_of, length_of_first, values_of
from align_uniform.files.columns import Columns
from align_uniform.files.held import File, Key, Values

PART_ROWS = 2**14
"""The rows of a row group that are decoded at a time, since a group of repeated values may be tiny."""


def arrays(file: File) -> Columns:
    """Open the columns as arrays. A slice reads the row groups that it touches; the last one is kept."""
    return columns_of(file, _blocks(file))


def table(file: File) -> dict[Key, Values]:
    """Open the columns of text and of numbers."""
    return values_of(file, _blocks(file))


def _blocks(file: File) -> Blocks:
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file.path, buffer_size=2**20)  # so that a first row costs no more
    size = file.path.stat().st_size

    def parts(group: int, names: list[str]) -> Iterator[Any]:
        for batch in opened.iter_batches(PART_ROWS, row_groups=[group], columns=names):
            yield pa.Table.from_batches([batch]).select(names)

    def length(name: str) -> int:
        # The counts of values in the footer would show it without reading, but Arrow ends the process where a
        # damaged footer has none.
        batches = opened.iter_batches(1, columns=[name])
        return next((length_of_first(batch.column(name)) for batch in batches), 0)

    return Blocks(
        schema=opened.schema_arrow,
        counts=tuple(opened.metadata.row_group(g).num_rows for g in range(opened.num_row_groups)),
        parts=parts,
        length=length,
        packed=lambda _: size,
    )
