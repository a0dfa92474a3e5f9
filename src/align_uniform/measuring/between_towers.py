"""Two towers as populations: how they differ without their means, and how near queries lie to a corpus."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align_uniform.engine.precision import widened
from align_uniform.functional import normalize_rows
from align_uniform.measuring.influence import centred_shares, of_pairs, stderr
from align_uniform.measuring.notable_rows import nearest_of
from align_uniform.measuring.populations import take
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import random_rows
from align_uniform.measuring.two_samples import TwoSamples

GAP_ROWS = 2000
"""The largest number of rows of each tower that the distribution gap is of."""

LEAST_ROWS = 4
"""The number of rows of each tower that the distribution gap needs."""

EXCHANGES = 20
"""The number of random exchanges of rows between the towers, for its deviation."""

NULL_ROWS = 400
"""The largest number of rows of each tower that are exchanged."""

NEAREST_ROWS = 1000
"""The largest number of rows of each tower whose nearest row is looked for, among all rows."""


def between_towers(asked: Subject, t: float, seed: int) -> dict[str, Any]:
    """Return the numbers of two towers that need pairs of some of their rows, by the fields of `Towers`."""
    return _distribution_gap(asked, t, seed) | _nearest(asked, seed)


def _distribution_gap(asked: Subject, t: float, seed: int) -> dict[str, Any]:
    r"""Return how far the towers differ without their means, and the same for towers of one distribution.

    .. math:: \frac{MMD^2(x', y')}{E_{i \neq j}\, G(x'_i, x'_j) + E_{i \neq j}\, G(y'_i, y'_j)}, \qquad
              x'_i = \frac{x_i - \bar x}{\lVert x_i - \bar x \rVert}

    A gap between the means shows in the modality gap, and can be closed by subtracting them; this is what is
    left then. Where the pairs match the towers one to one, the two rows of a pair are exchanged, and their
    own potential does not count; else all rows are.

    The means are those of the rows, which makes the value too small by about c/n. Halves of the rows, each
    less its own mean, are too small by 2c/n: twice the value less theirs is right, by Quenouille's jackknife.
    """
    order = _matched(asked)
    x, y = asked.populations
    of_x = _some_rows(len(x), GAP_ROWS, seed)
    of_y = _some_rows(len(y), GAP_ROWS, seed + 1) if order is None else order[of_x]
    rows = [take(side, numbers).cpu().double() for side, numbers in ((x, of_x), (y, of_y))]
    if min(map(len, rows)) < LEAST_ROWS:
        return {}
    gap = _gap(rows, t, paired=order is not None)
    if math.isnan(gap):
        return {}
    null = _deviation_of_equals(rows, t, paired=order is not None, seed=seed)
    return {
        "distribution_gap": gap,
        "distribution_gap_null": null,
        "distribution_gap_rows": max(map(len, rows)),
    }


def _gap(rows: Sequence[Tensor], t: float, *, paired: bool) -> float:
    """Return the distribution gap of the rows of two towers; NaN if all potentials are 0."""
    whole = _without_means(rows, t, paired=paired)
    halves = (_without_means([side[k::2] for side in rows], t, paired=paired) for k in (0, 1))
    squared_mmd = 2 * whole.squared_mmd - statistics.fmean(half.squared_mmd for half in halves)
    return squared_mmd / whole.within if whole.within else math.nan


def _without_means(rows: Sequence[Tensor], t: float, *, paired: bool) -> TwoSamples:
    """Return rows of both towers, each less their mean and normalised again, with their potentials."""
    x, y = (normalize_rows(side - side.mean(0)) for side in rows)
    return TwoSamples(x, y, t, paired=paired)


def _deviation_of_equals(rows: Sequence[Tensor], t: float, *, paired: bool, seed: int) -> float:
    """Return the standard deviation of the gap for as many rows of two towers of one distribution.

    Some rows, less their means, are exchanged at random between the towers, and measured again. For one
    distribution the deviation falls with the number of rows, as 1/n.
    """
    few = [side[_some_rows(len(side), NULL_ROWS, seed)] for side in rows]
    few = [normalize_rows(side - side.mean(0)) for side in few]
    pooled = torch.cat(few)
    first, last = map(len, few)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(EXCHANGES):
        if paired:
            flip = torch.randint(2, (first,), generator=generator, device="cpu") * first
            order = torch.arange(2 * first, device="cpu")
            order = torch.cat([order[:first] + flip, order[first:] - flip])
        else:
            order = torch.randperm(first + last, generator=generator, device="cpu")
        found.append(_gap(pooled[order].split([first, last]), t, paired=paired))
    per_row = [sum(1 / len(side) for side in sides) for sides in (rows, few)]
    return math.sqrt(statistics.fmean(each**2 for each in found)) * per_row[0] / per_row[1]


def _matched(asked: Subject) -> Tensor | None:
    """Return the row of the second tower that each row of the first is paired with, if it is one to one."""
    (pairs,) = asked.positives
    if any(entities is not None for entities in asked.entities):
        return None
    x_rows, y_rows = (
        torch.arange(len(side), device="cpu") if rows is None else rows
        for side, rows in ((pairs.x, pairs.x_rows), (pairs.y, pairs.y_rows))
    )
    counts = {len(x_rows), len(x_rows.unique()), len(y_rows.unique()), *map(len, asked.populations)}
    return y_rows[x_rows.argsort()] if len(counts) == 1 else None


def _some_rows(count: int, size: int, seed: int) -> Tensor:
    """Return the numbers of all rows, or of this many at random."""
    rows = random_rows(count, size, seed)
    return torch.arange(count, device="cpu") if rows is None else rows


def _nearest(asked: Subject, seed: int) -> dict[str, Any]:
    """Return the mean distances of queries, and of rows of the corpus, to the nearest row of the corpus.

    A distance belongs to a row and to the nearest, which may be the nearest of others too: the errors are
    those of pairs that share rows.
    """
    queries, corpus = asked.populations
    found: dict[str, Any] = {}
    for name, side in (("query", queries), ("corpus", corpus)):
        rows = _some_rows(len(side), NEAREST_ROWS, seed)
        own, split = (rows, None) if side is corpus else (None, len(queries))
        nearest, distances = nearest_of(widened(take(side, rows)), corpus, own=own)
        ends = rows, nearest + (split or 0)
        influence = of_pairs(centred_shares(distances), ends, (split or 0) + len(corpus), split=split)
        found[f"{name}_distance"] = float(distances.mean())
        found[f"{name}_distance_stderr"] = stderr(influence)
    return found
