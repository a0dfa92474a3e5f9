"""The subject of a measurement: the arguments of `measure` as populations and positive pairs."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._messages import counted
from align_uniform.measuring.columns import codes_of, names_of
from align_uniform.measuring.populations import Population, Source
from align_uniform.measuring.positives import PairChoice, Positives, chosen_pairs
from align_uniform.measuring.sources import device_of, sources

PAIRS_OF_TOWERS = "pairs of two towers"


@dataclass(frozen=True)
class Subject:
    """An embedding that is to be measured."""

    name: str
    """The name for tables."""
    rows: Population
    """All rows of the first view or tower, in the order of the labels."""
    everyone: tuple[Population, ...]
    """All rows of every view or tower."""
    populations: tuple[Population, ...]
    """The populations whose uniformity is measured: one, every view, or two towers."""
    are_towers: bool
    """Whether the populations are two towers."""
    positives: tuple[Positives, ...]
    """The positive pairs: none, one set, or one set for each pair of views."""
    of: str
    """The kind of the positive pairs, in words."""
    entities: tuple[Tensor | None, ...]
    """The entity of each row of `everyone`, by its number in `populations`; None if all are different."""
    ids: tuple[Sequence[Hashable] | None, ...]
    """The ids of the rows of `everyone`; None without ids."""

    def pairs_of_entities(self, number: int) -> Positives:
        """Return the positive pairs of this number as pairs of entities, by their rows in `populations`."""
        pairs = self.positives[number]
        sides = []
        for population, rows in ((pairs.x, pairs.x_rows), (pairs.y, pairs.y_rows)):
            # Two views of one object are one.
            place = next(place for place, each in enumerate(self.everyone) if each is population)
            codes = self.entities[place]
            of_entities = codes if codes is None or rows is None else codes[rows]
            sides.append((self.populations[place], rows if codes is None else of_entities))
        (x, x_rows), (y, y_rows) = sides
        return Positives(x, y, x_rows, y_rows)


def subject(
    features: Any,
    second: Any,
    choice: PairChoice,
    *,
    ids: Any,
    normalize: bool,
    device: str | torch.device | None,
    name: str | None,
) -> Subject:
    """Interpret the arguments of `measure`, which documents them."""
    place = checks.usable_device(device) if device is not None else device_of(features)
    rows = tuple(
        Population(source, label, normalize=normalize, device=place)
        for label, source in _named_sources(features, second)
    )
    are_matched = choice.pairs is not None or ids is not None
    if are_matched and second is None and len(rows) > 1:
        raise ValueError(
            f"pairs and ids are of [N, m] features, got {counted(len(rows), 'view')}, which are pairs "
            "already."
        )
    are_towers = are_matched and second is not None
    names = _names_of_entities(ids, rows, second is not None)
    positives, of = _positives(rows, choice, are_towers, (names[0], names[-1]))
    entities: tuple[Tensor | None, ...] = (None,) * len(rows)
    populations = rows
    if ids is not None:
        entities, populations = _distinct(rows, names)
    for population in populations:
        if len(population) < 2:
            raise ValueError(
                f"{population.name} must have at least 2 distinct rows, got {len(population)}: uniformity "
                "needs pairs."
            )
    return Subject(
        name or _name_of(features), rows[0], rows, populations, are_towers, positives, of, entities, names
    )


def _named_sources(features: Any, second: Any) -> list[tuple[str, Source]]:
    """Return every view or tower with the name that messages give it; all have one dimension."""
    found = sources("features", features)
    if second is None:
        labels = ["features"] if len(found) == 1 else [f"view {v}" for v in range(len(found))]
    elif len(found) > 1:
        raise ValueError(
            f"features must be [N, m] where positives are given, got {counted(len(found), 'view')}; pass one "
            "of them."
        )
    else:
        found += sources("positives", second)
        labels = ["features", "positives"]
    if len({source.shape[1] for source in found}) > 1:
        raise ValueError(
            f"features and positives must have one dimension, got {' and '.join(_shapes(found))}."
        )
    return list(zip(labels, found, strict=True))


def _positives(
    rows: tuple[Population, ...], choice: PairChoice, are_towers: bool, ids: tuple[Any, ...]
) -> tuple[tuple[Positives, ...], str]:
    """Return the positive pairs and their kind in words."""
    first, last = rows[0], rows[-1]
    pairs, has_scores = choice.pairs, choice.scores is not None or choice.threshold is not None
    if pairs is None and len(rows) == 1:
        if has_scores:
            raise ValueError("scores and threshold are of pairs; pass pairs too.")
        return (), ""
    if pairs is None and len({len(population) for population in rows}) > 1:
        raise ValueError(
            f"row i of features and row i of positives are a pair, got {len(first)} and "
            f"{counted(len(last), 'row')}; pass pairs if they are matched otherwise."
        )
    if pairs is None:
        _check_same_ids(rows)
    if pairs is None and not has_scores:
        of = PAIRS_OF_TOWERS if are_towers else "two views" if len(rows) == 2 else counted(len(rows), "view")
        return tuple(Positives(x, y, None, None) for x, y in combinations(rows, 2)), of
    if pairs is None:
        if len(rows) > 2:
            raise ValueError(f"scores are of the pairs of two views, got {counted(len(rows), 'view')}.")
        choice = replace(choice, pairs=(torch.arange(len(first), device="cpu"),) * 2)
    x_rows, y_rows, of = chosen_pairs(
        choice, (len(first), len(last)), PAIRS_OF_TOWERS if are_towers else "pairs", ids
    )
    if first is last and (same := int((x_rows == y_rows).sum())):
        raise ValueError(
            f"pairs must be of two different rows, got {same} of a row with itself; leave those out."
        )
    return (Positives(first, last, x_rows, y_rows),), of


def _check_same_ids(rows: Sequence[Population]) -> None:
    """Refuse views whose files have other ids for the rows that would be pairs."""
    found = [(each.name, getattr(each.source, "ids", None)) for each in rows]
    known = [(name, ids) for name, ids in found if ids is not None]
    for name, ids in known[1:]:
        first, expected = known[0]
        if odd := [row for row, (a, b) in enumerate(zip(expected, ids, strict=True)) if a != b]:
            raise ValueError(
                f"row i of {first} and row i of {name} are a pair, but the ids of row {odd[0]} are "
                f"{expected[odd[0]]!r} and {ids[odd[0]]!r}; save both in one order, or pass pairs."
            )


def _names_of_entities(
    ids: Any, rows: tuple[Population, ...], are_two: bool
) -> tuple[list[Hashable] | None, ...]:
    """Return the ids of the rows of each view or tower; None without ids."""
    if ids is None:
        return (None,) * len(rows)
    if are_two and (not isinstance(ids, tuple | list) or len(ids) != 2):
        raise ValueError("ids must be a tuple of two, those of features and those of positives.")
    sides = ids if are_two else (ids,)
    return tuple(names_of("ids", side, len(part)) for side, part in zip(sides, rows, strict=True))


def _distinct(
    rows: tuple[Population, ...], ids: tuple[Any, ...]
) -> tuple[tuple[Tensor | None, ...], tuple[Population, ...]]:
    """Return the entity of each row, and the populations of entities; the first row of one stands for it."""
    entities: list[Tensor | None] = []
    populations = []
    for population, names in zip(rows, ids, strict=True):
        codes = codes_of("ids", names, len(population))  # numbered by first rows, which is their order below
        entities.append(codes)
        order = codes.sort(stable=True).indices
        starts = torch.cat([torch.ones(1, dtype=torch.bool, device="cpu"), codes[order].diff() > 0])
        kept = order[starts].sort().values
        is_whole = len(kept) == len(population)
        populations.append(
            population
            if is_whole
            else Population(
                population.source,
                population.name,
                normalize=population.normalize,
                device=population.device,
                kept=kept,
            )
        )
    return tuple(entities), tuple(populations)


def _name_of(features: Any) -> str:
    return Path(features).stem if isinstance(features, str | os.PathLike) else "embedding"


def _shapes(sources: Sequence[Source]) -> list[str]:
    return [str(list(source.shape)) for source in sources]
