"""The subject of a comparison: the arguments of `drift` as two populations, perhaps of the same items."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from align_uniform import _checks as checks
from align_uniform._messages import counted
from align_uniform.measuring.columns import values_of
from align_uniform.measuring.populations import Population
from align_uniform.measuring.sources import device_of, sources

LEAST_ROWS = 5
"""The number of rows of either side below which no difference has an error."""


@dataclass(frozen=True)
class Items:
    """The arguments of `drift` that say which items the rows are."""

    positives: Any
    """A tuple of two second views, or None."""
    ids: Any
    """A tuple of two columns of ids, or None."""
    texts: Any
    """A tuple of two columns of texts, or None."""
    paired: bool | None
    """Whether row i of both sides is one item; None if the ids are to say so."""


@dataclass(frozen=True)
class TwoSides:
    """Two embeddings that are to be compared."""

    sides: tuple[Population, Population]
    """The rows of both sides."""
    positives: tuple[Any, Any]
    """The second view of each side, as `measure` takes it; None without one."""
    paired: bool
    """Whether row i of both sides is one item."""
    texts: tuple[list[Any], list[Any]] | None
    """The texts that name rows, of each side: those given, or else the ids."""
    common: int
    """The number of ids that occur on both sides, where rows are not paired."""
    are_named: bool
    """Whether ids were given."""
    reason: str | None
    """The reason to compare only what no rotation changes; None to compare rows."""

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of rows."""
        return len(self.sides[0]), len(self.sides[1])


def two_sides(
    a: Any,
    b: Any,
    items: Items,
    *,
    normalize: bool,
    device: str | torch.device | None,
    names: tuple[str, str] | None,
    rotation_invariant: bool,
) -> TwoSides:
    """Interpret the arguments of `drift`, which documents them."""
    place = checks.usable_device(device) if device is not None else device_of(a)
    called = names or _names(a, b)
    sides = (
        _population(a, called[0], normalize=normalize, device=place),
        _population(b, called[1], normalize=normalize, device=place),
    )
    ids = _columns("ids", items.ids, sides)
    return TwoSides(
        sides=sides,
        positives=_views(items.positives),
        paired=_are_paired(items.paired, ids, sides),
        texts=_columns("texts", items.texts, sides) or ids,
        common=len(set(ids[0]) & set(ids[1])) if ids else 0,
        are_named=ids is not None,
        reason=_reason(*sides, rotation_invariant),
    )


def _names(a: Any, b: Any) -> tuple[str, str]:
    """Return the names of two files, as long as it takes to tell them apart, or "a" and "b"."""
    if not all(isinstance(each, str | os.PathLike) for each in (a, b)):
        return "a", "b"
    short = Path(a).stem, Path(b).stem
    return short if short[0] != short[1] else (str(a), str(b))


def _population(features: Any, name: str, *, normalize: bool, device: torch.device) -> Population:
    found = sources(name, features)
    if len(found) > 1:
        raise ValueError(
            f"{name} must be rows [N, m], got {counted(len(found), 'view')} of them; pass one view, and "
            "another as its positives."
        )
    if (count := found[0].shape[0]) < LEAST_ROWS:
        raise ValueError(f"{name} must have at least {LEAST_ROWS} rows, got {count}; pass more of them.")
    return Population(found[0], name, normalize=normalize, device=device)


def _views(positives: Any) -> tuple[Any, Any]:
    if positives is None:
        return None, None
    if not isinstance(positives, tuple | list) or len(positives) != 2:
        raise ValueError("positives must be a tuple of two: a second view of either side.")
    return positives[0], positives[1]


def _columns(
    name: str, values: Any, sides: tuple[Population, Population]
) -> tuple[list[Hashable], list[Hashable]] | None:
    """Return one value for each row of both sides."""
    if values is None:
        return None
    if not isinstance(values, tuple | list) or len(values) != 2:
        raise ValueError(f"{name} must be a tuple of two, one for the rows of either side.")
    first, second = values_of(name, values[0]), values_of(name, values[1])
    for column, side in zip((first, second), sides, strict=True):
        if len(column) != len(side):
            raise ValueError(
                f"{name} must be one for each of the {counted(len(side), 'row')} of {side.name}, got "
                f"{len(column):,}."
            )
    return first, second


def _are_paired(
    said: bool | None,
    ids: tuple[list[Hashable], list[Hashable]] | None,
    sides: tuple[Population, Population],
) -> bool:
    """Return whether row i of both sides is one item, as was said, or as the ids say."""
    (a, b), same_ids = sides, ids is None or ids[0] == ids[1]
    if said and (len(a) != len(b) or not same_ids):
        got = f"{len(a):,} and {counted(len(b), 'row')}" if len(a) != len(b) else "different ids"
        raise ValueError(
            f"paired rows must be of the same items in the same order, but {a.name} and {b.name} have {got}; "
            "leave out items that one side lacks, sort the others, or compare unpaired."
        )
    if said is None and ids is not None and not same_ids and sorted_equal(*ids):
        raise ValueError(
            f"{a.name} and {b.name} have the same ids in another order; sort the rows of one side like those "
            "of the other."
        )
    is_paired = bool(said) if ids is None else same_ids and said is not False
    if is_paired and ids is not None and (repeated := len(ids[0]) - len(set(ids[0]))):
        raise ValueError(
            f"ids must name each row once to make pairs, got {repeated:,} that repeat an earlier one; "
            "average the rows of an item first."
        )
    return is_paired


def sorted_equal(first: list[Hashable], second: list[Hashable]) -> bool:
    """Return whether two lists have the same values, each as often, in whatever order."""
    return Counter(first) == Counter(second)


def _reason(a: Population, b: Population, asked: bool) -> str | None:
    """Return why only rotation-invariant numbers are compared, or None if rows are."""
    if a.shape[1] != b.shape[1]:
        return (
            f"{a.name} has {counted(a.shape[1], 'feature')} and {b.name} {b.shape[1]:,}, so their rows have "
            "no axes in common, and only numbers that no rotation changes are compared"
        )
    if asked:
        return (
            "each side is taken to have axes of its own, so only numbers that no rotation changes are "
            "compared"
        )
    return None
