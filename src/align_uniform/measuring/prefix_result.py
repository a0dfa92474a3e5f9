"""The numbers of the first features of each row, as a measurement has them, and their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from align_uniform.measuring.answers import Classes, Retrieval
from align_uniform.measuring.quantities import quantity
from align_uniform.measuring.quantity import Quantity, at, with_error
from align_uniform.measuring.results import Alignment, Uniformity

SHOWN = (
    "uniform.gap",
    "align.relative",
    "retrieval.forward.recall_1",
    "classes.knn",
    "rankme",
    "align",
    "uniform",
)
"""The keys of the numbers that tables show, in this order."""

COMPARED = (*SHOWN[:4], "align")
"""The keys of the numbers with an error that can be compared between dimensions; tables leave out the last,
which relative alignment says better.
"""


@dataclass(frozen=True)
class Change:
    """A number of the first features less that of all features.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> change = measure(x, dims=[8]).prefixes[8].changes["uniform.gap"]
        >>> print(f"{change.value:+.3f} ± {change.stderr:.3f}")
        +0.007 ± 0.015
    """

    value: float
    """The difference."""
    stderr: float | None
    """The standard error of `value`. It is computed from the same items, except for the gap of anchors."""


@dataclass(frozen=True)
class Prefix:
    """The numbers of the first features of each row, divided by their norms again.

    A number has the path that it has in a measurement, so that `quantities.quantity(key)` reads and spells
    both.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> prefixes = measure(x, dims=[4, 8]).prefixes
        >>> [(dim, round(prefix.uniform.gap, 3)) for dim, prefix in prefixes.items()]
        [(4, -0.004), (8, 0.014), (16, 0.007)]
    """

    dim: int
    """The number of features that were kept."""
    uniform: Uniformity
    """The uniformity at the first t, with the gap to the optimum in `dim` dimensions."""
    align: Alignment | None
    """The alignment of positive pairs; None for features alone."""
    rankme: float
    """The number of dimensions in use."""
    rankme_uniform: float | None = None
    """The expected `rankme` of as many uniform rows."""
    retrieval: Retrieval | None = None
    """The search for the partners of pairs; None without pairs."""
    classes: Classes | None = None
    """The classes of the nearest rows, without the table of classes; None without labels."""
    changes: Mapping[str, Change] = field(default_factory=dict)
    """The numbers less those of all features, by their keys; empty for all features."""


def columns(prefixes: Mapping[int, Prefix]) -> list[Quantity]:
    """Return the records of the numbers that tables show."""
    records = map(quantity, SHOWN)
    return [each for each in records if any(each.value(prefix) is not None for prefix in prefixes.values())]


def table(prefixes: Mapping[int, Prefix]) -> list[list[str]]:
    """Return a table of the numbers: the headings, and a row for each number of features."""
    shown = columns(prefixes)
    return [
        ["features", *(record.label for record in shown)],
        *([f"{dim:,}", *(record.text(each) for record in shown)] for dim, each in prefixes.items()),
    ]


def table_of_changes(prefixes: Mapping[int, Prefix]) -> list[list[str]]:
    """Return a table of the differences from all features; no rows if there are no differences."""
    shown = [record for record in columns(prefixes) if record.key in COMPARED[:-1]]
    rows = [[f"{dim:,}", *_changes(each.changes, shown)] for dim, each in prefixes.items() if each.changes]
    return [["features", *(record.label for record in shown)], *rows] if rows else []


def scalars_of(prefix: Prefix, before: str) -> dict[str, float]:
    """Return the numbers that tables show, and their errors, by their paths."""
    paths = [path for record in map(quantity, SHOWN) for path in (record.key, *record.errors)]
    found = {path: at(prefix, path) for path in paths}
    return {f"{before}{path}": float(value) for path, value in found.items() if value is not None}


def _changes(changes: Mapping[str, Change], shown: list[Quantity]) -> Iterator[str]:
    for record in shown:
        change = changes.get(record.key)
        if change is None:
            yield ""
        else:
            sign = "+" if change.value > 0 else ""
            yield sign + with_error(change.value, change.stderr)
