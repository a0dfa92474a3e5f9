"""The numbers of rows and pairs as files that a page holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.results import Details

LARGEST = 20_000
"""The most rows of a file; a page with more would be too large to send. `--rows-out` keeps all."""


def files(measurement: Measurement) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file: the potentials of all rows, and the distances of all pairs."""
    details = measurement.details
    if details is None:
        return
    if measurement.provenance.get("method") == "exact" and sum(map(len, details.row_means)) <= LARGEST:
        yield "rows.csv", _csv(("view", "row", "mean_potential"), _rows(details))
    if details.distances is not None and len(details.distances) <= LARGEST:
        distances = enumerate(details.distances.tolist())
        yield "pairs.csv", _csv(("pair", "distance"), ((pair, f"{value:.6g}") for pair, value in distances))


def _rows(details: Details) -> Iterator[tuple[int, int, str]]:
    numbers = details.row_numbers or (None,) * len(details.row_means)
    for view, (means, rows) in enumerate(zip(details.row_means, numbers, strict=True), 1):
        numbered = range(len(means)) if rows is None else rows.tolist()
        for row, mean in zip(numbered, means.tolist(), strict=True):
            yield view, row, f"{mean:.6g}"


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
