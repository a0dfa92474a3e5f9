"""Classes: whether the nearest rows are of one class, and a table of the classes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform.engine.precision import widened
from align_uniform.functional import uniform_loss
from align_uniform.geometry import ClassSums
from align_uniform.geometry.neighbours import majority, nearest_in_blocks
from align_uniform.measuring.alignment import class_sums
from align_uniform.measuring.answers import Classes, ClassRow
from align_uniform.measuring.influence import Influence, centred_shares, of_mean, share_stderr, sums_by
from align_uniform.measuring.populations import Population, block_slices, take
from align_uniform.measuring.quantities_of_classes import NEIGHBOURS
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import random_rows
from align_uniform.measuring.units import Units

PRODUCTS = 10**8
"""The number of pairs of rows up to which every row looks for its neighbours."""

SAMPLE = 5000
"""The number of random rows that look for their neighbours where there are more."""

QUERIES = 1024
"""The number of rows that look for their neighbours at a time."""

LONGEST = 1000
"""The most classes that the table has: those with the most rows."""

ROWS_OF_CLASS = 2000
"""The most rows of a class whose pairs make its uniformity; of more, random ones are taken."""

FETCHED_BYTES = 2**28
"""The size of the rows, in float64, that are in memory at a time for the uniformity of classes."""


def classes(
    asked: Subject,
    labels: Sequence[Hashable] | None,
    codes: Tensor | None,
    units: Units,
    t: float,
    seed: int,
) -> tuple[Classes | None, dict[str, Influence]]:
    """Measure the neighbours of rows, and each class by itself.

    Args:
        asked: the subject; the classes are those of its first view or tower.
        labels: the label of each row; without labels there are no classes.
        codes: the class of each row, [N], whole numbers from 0 in the order of first rows.
        units: the units of its rows; rows of a row's own unit are not among its neighbours.
        t: the inverse squared width of the Gaussian, for uniformity.
        seed: of the samples.

    Returns:
        The results, and the influences of the units by the keys of the numbers.
    """
    if labels is None or codes is None:
        return None, {}
    rows, sums = asked.rows, class_sums(asked.rows, codes)
    found, influences, matches = accuracy(asked, codes, units, seed)
    shares = _shares(matches, sums)
    table = tuple(_table(rows, _names(labels, codes), codes, sums, t, seed, shares))
    return replace(found, table=table), influences


class Matches(NamedTuple):
    """The classes of the rows that looked for their neighbours, and of those that they found."""

    own: Tensor
    """The class of each row that looked, [queries]."""
    near: Tensor
    """The classes of the rows nearest to it, the nearest first, [queries, k]; -1 where there is no row."""


def accuracy(
    asked: Subject, codes: Tensor, units: Units, seed: int
) -> tuple[Classes, dict[str, Influence], Matches]:
    """Let the nearest rows of each row vote for its class.

    Returns:
        The results without the table of classes, the influences of the units, and the classes of neighbours.
    """
    rows = asked.rows
    sample = random_rows(len(rows), None if len(rows) ** 2 <= PRODUCTS else SAMPLE, seed)
    queries = torch.arange(len(rows), device="cpu") if sample is None else sample
    of_rows = units.of_rows[0]
    numbers = _neighbours(rows, queries, of_rows)
    own, near = codes[queries], _of_rows(codes, numbers)
    hits = (majority(near) == own).double()
    matches = (near == own.unsqueeze(1)).double()
    influence = _influence(hits, matches, of_rows[queries], _of_rows(of_rows, numbers), units.count)
    share = float(hits.mean())
    found = Classes(
        k=near.shape[1],
        queries=len(queries),
        knn=share,
        knn_stderr=share_stderr(share, influence),
        count=int(codes.max()) + 1,
        table=(),
    )
    # Other embeddings have other neighbours: in a difference the pairs of rows are not the same.
    influences = {} if influence is None else {"classes.knn": replace(influence, dyads=None)}
    return found, influences, Matches(own, near)


def _neighbours(rows: Population, queries: Tensor, units: Tensor) -> Tensor:
    """Return the numbers of the rows nearest to each query, the nearest first; -1 where there is no row."""
    k = min(NEIGHBOURS, len(rows) - 1)
    centre = widened(rows.centre)
    found = []
    for part in queries.split(QUERIES):
        blocks = ((block.start, widened(rows[block]) - centre) for block in block_slices(rows))
        proximities, numbers = nearest_in_blocks(
            widened(take(rows, part)) - centre, blocks, k, groups=(units[part], units)
        )
        found.append(numbers.cpu().masked_fill(proximities.cpu() == -torch.inf, -1))
    return torch.cat(found)


def _of_rows(codes: Tensor, numbers: Tensor) -> Tensor:
    """Return the code of each row by its number; -1 where there is no row."""
    return codes[numbers].masked_fill(numbers < 0, -1)


def _influence(hits: Tensor, matches: Tensor, units: Tensor, of_near: Tensor, count: int) -> Influence | None:
    r"""Return the influences on the share of hits, in which a row counts by itself and as a neighbour.

    A hit depends on the row and on the k rows near it, which are a sample as well. To first order it follows
    the share of these that are of its class, :math:`h_i \approx a + b \sum_j m_{ij} / k`, a mean over pairs
    of a row and a neighbour. A unit has the hits of its rows, and b times the pairs in which it is the
    neighbour. Such a pair is part of both of its units, as in `of_pairs`.

    Args:
        hits: whether the neighbours name the class of a row, h, [Q].
        matches: whether each neighbour is of that class, m, [Q, k].
        units: the unit of each row, [Q].
        of_near: the unit of each neighbour, [Q, k]; -1 where there is none.
        count: the number of units.
    """
    by_itself = of_mean(hits, units)
    if by_itself is None:
        return None
    shares = matches.mean(1) - matches.mean()
    slope = float(shares @ hits) / max(float(shares @ shares), 1e-300)
    is_there = of_near >= 0
    pairs = slope * centred_shares(matches[is_there])
    ends = units.unsqueeze(1).expand_as(of_near)[is_there], of_near[is_there]
    codes, number = (torch.minimum(*ends) * count + torch.maximum(*ends)).unique(return_inverse=True)
    values = torch.zeros(count, dtype=torch.float64, device="cpu")
    values[: len(by_itself.values)] = by_itself.values
    return Influence(
        values + sums_by(pairs, ends[1], count),
        dyads=sums_by(pairs, number, len(codes)),
        used=len(units.unique()),
    )


def _shares(matches: Matches, sums: ClassSums) -> list[float | None]:
    """Return the share of the neighbours of each class that are of it; None if none of its rows looked."""
    own, near = matches
    known = near >= 0
    size = len(sums.counts)
    of_own = torch.zeros(size, dtype=torch.float64, device="cpu")
    every = torch.zeros_like(of_own)
    of_own.index_add_(0, own, (near == own.unsqueeze(1)).sum(1).double())
    every.index_add_(0, own, known.sum(1).double())
    return [float(a / b) if b else None for a, b in zip(of_own, every, strict=True)]


def _names(labels: Sequence[Hashable], codes: Tensor) -> list[str]:
    """Return the name of each class, in the order of their numbers."""
    names: dict[int, str] = {}
    for label, code in zip(labels, codes.tolist(), strict=True):
        names.setdefault(code, str(label))
    return [names[code] for code in range(len(names))]


def _table(
    rows: Population,
    names: list[str],
    codes: Tensor,
    sums: ClassSums,
    t: float,
    seed: int,
    shares: list[float | None],
) -> Iterator[ClassRow]:
    """Yield the line of each class, the class with the most rows first."""
    order = sums.counts.argsort(descending=True, stable=True)[:LONGEST].tolist()
    nearest = _nearest_classes(sums, order)
    by_class = codes.argsort(stable=True).split(sums.counts.tolist())
    uniforms = _uniformities(rows, [by_class[number] for number in order], t, seed)
    squares = (sums.counts * sums.squares - sums.sums.square().sum(1)).clamp(min=0)
    for number, other, uniform in zip(order, nearest, uniforms, strict=True):
        size = int(sums.counts[number])
        yield ClassRow(
            name=names[number],
            rows=size,
            align=2 * float(squares[number]) / (size * (size - 1)) if size > 1 else None,
            uniform=uniform,
            nearest=None if other is None else names[other],
            own=shares[number],
        )


def _uniformities(rows: Population, members: Sequence[Tensor], t: float, seed: int) -> Iterator[float | None]:
    """Yield the uniformity of each class, of at most 2,000 of its rows; None for a single row.

    The rows of as many classes as fit are fetched at once: classes lie scattered, and each fetch reads nearly
    the whole embedding.
    """
    samples = [random_rows(len(each), ROWS_OF_CLASS, seed) for each in members]
    chosen = [each if some is None else each[some] for each, some in zip(members, samples, strict=True)]
    for together in _batches(chosen, FETCHED_BYTES // (8 * rows.shape[1])):
        fetched = take(rows, torch.cat(together))
        for part in fetched.split([len(each) for each in together]):
            yield float(uniform_loss(widened(part), t, normalize=False)) if len(part) > 1 else None


def _batches(parts: Sequence[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Yield successive parts together, as many as have at most `size` elements, but one at least."""
    batch: list[Tensor] = []
    for part in parts:
        if batch and sum(map(len, batch)) + len(part) > size:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _nearest_classes(sums: ClassSums, of: list[int]) -> list[int | None]:
    """Return the class whose mean is nearest to that of each of these classes; None for a single class."""
    if len(sums.counts) < 2:
        return [None] * len(of)
    means = sums.sums / sums.counts.unsqueeze(1)
    means = means - means.mean(0)
    own = torch.tensor(of, device="cpu")
    blocks = iter([(0, means)])
    return list(nearest_in_blocks(means[own.to(means.device)], blocks, own=own)[1].squeeze(1).tolist())
