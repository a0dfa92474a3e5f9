"""The items of a measurement and their groups: hashes that show whether two measurements have the same."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from align_uniform.measuring.columns import names_of
from align_uniform.measuring.results import Items
from align_uniform.measuring.subject import Subject

TELLING_BITS = 64
"""The information in labels, in bits, from which equal labels are not a coincidence."""


def items_of(asked: Subject, items: Any, labels: Any, groups: Tensor | None) -> Items:
    """Return a hash of the names of all items in their order and of the chosen pairs, and one of the groups.

    The names are the items, or else the ids, also those that files have, or else the labels if their order
    could hardly be a coincidence: rows that were sorted by class have the labels of any other rows of as
    many classes.

    Args:
        asked: the subject of the measurement.
        items: the names of the rows of features; None if they are not given.
        labels: the classes of the rows; None if they are not given.
        groups: the group of each row, [N], whole numbers in the order of first rows; None without groups.
    """
    return replace(_names(asked, items, labels), groups=_groups(asked, groups))


def _groups(asked: Subject, groups: Tensor | None) -> str | None:
    """Return a hash of which rows are one unit, by their groups or ids; None if each row is one by itself."""
    found, is_any = hashlib.sha256(), False
    for codes in asked.entities if groups is None else (groups,):
        if codes is not None and int(codes.max()) + 1 < len(codes):
            is_any = True
            found.update(repr(codes.tolist()).encode())
        found.update(b"|")
    return f"sha256:{found.hexdigest()}" if is_any else None


def _names(asked: Subject, items: Any, labels: Any) -> Items:
    """Return a hash of the names of all items; None if they are not known."""
    count = len(asked.rows)
    if items is not None:
        return _hashed(asked, "items", [names_of("items", items, count)])
    if names := [names for names in asked.ids if names is not None]:
        return _hashed(asked, "ids", names)
    if (known := known_ids(asked)) is not None:
        return _hashed(asked, "ids", known[: 2 if asked.are_towers else 1])
    if labels is not None:
        classes = names_of("labels", labels, count)
        if _are_telling(classes):
            return _hashed(asked, "labels", [classes])
    return Items(None, "unknown")


def known_ids(asked: Subject) -> list[Sequence[str]] | None:
    """Return the ids that the files have for the rows of every view or tower, or None if one has none."""
    known = [getattr(rows.source, "ids", None) for rows in asked.everyone]
    return [ids for ids in known if ids is not None] if None not in known else None


def _are_telling(classes: Sequence[Hashable]) -> bool:
    """Return whether the order of classes says which items they are of."""
    counts = Counter(classes)
    runs = sum(1 for _ in itertools.groupby(classes))
    bits = -sum(number * math.log2(number / len(classes)) for number in counts.values())
    return runs > 2 * len(counts) and bits >= TELLING_BITS


def _hashed(asked: Subject, kind: str, names: Sequence[Sequence[Hashable]]) -> Items:
    found = hashlib.sha256()
    for side in names:
        for name in side:
            text = repr(name).encode()
            found.update(b"%d:" % len(text) + text)
        found.update(b"|")
    for positives in asked.positives:
        for rows in (positives.x_rows, positives.y_rows):
            found.update(b"|" if rows is None else rows.numpy().tobytes())
    return Items(f"sha256:{found.hexdigest()}", kind)
