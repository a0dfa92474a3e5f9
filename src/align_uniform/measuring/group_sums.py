"""Sums of Gaussian potentials between groups of rows: only pairs of rows of different groups count.

For groups a and b, and each of several t,

    M_ab = sum of exp(-t ||x_i - x_j||^2) over i in a, j in b

is added up tile by tile. The rows are brought into the order of their groups first, so that the blocks of
rows consist of whole groups, and each M_ab is complete after one pair of blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform.engine.precision import Care, sum_dtype
from align_uniform.measuring.influence import sums_by
from align_uniform.measuring.populations import Population, take
from align_uniform.measuring.row_sums import (
    Progress,
    Tile,
    care_of,
    near_exponents,
    tiles_of_blocks,
    wide_enough,
)

BLOCK_ROWS = 2048
"""The number of rows of a block of several groups. The sums between two blocks of groups are in memory."""


class GroupSums(NamedTuple):
    """Sums over the rows of other groups, divided by exp(shift), and over pairs of groups."""

    sums: Tensor
    """The sum of each row at each t, [T, N], float64."""
    squares: Tensor
    """The sum of M_ab^2 over ordered pairs of groups, divided by exp(2 shift), [T], float64."""
    weighted: Tensor
    """The sum of n_a n_b M_ab over ordered pairs of groups, divided by exp(shift), [T], float64."""
    shift: Tensor
    """The logarithm that was taken out at each t, [T], float64."""
    near: Tensor
    """Whether a row of another group is a near duplicate, and whether one is within twice the angle of near
    duplicates, [2, N]; for rows of unit norm.
    """


class _Block(NamedTuple):
    """Some groups with all of their rows."""

    rows: slice
    groups: slice


@dataclass
class _Totals:
    """The sums so far, of rows in the order of their groups."""

    sums: Tensor
    squares: Tensor
    weighted: Tensor
    near: Tensor


def group_sums(population: Population, groups: Tensor, ts: Sequence[float], progress: Progress) -> GroupSums:
    """Sum the potentials of every row with the rows of all other groups.

    Rows that do not come group by group are copied into memory in that order.

    Args:
        population: the rows, [N, m].
        groups: the group of each row, [N], whole numbers from 0, none of them without a row.
        ts: inverse squared widths of the Gaussian.
        progress: called with the number of potentials summed since the last call.
    """
    order = groups.sort(stable=True).indices
    codes = groups[order]
    if not torch.equal(groups, codes):
        rows = take(population, order)
        population = Population(rows, population.name, normalize=False, device=population.device)
    sizes = codes.bincount()
    blocks = _blocks(sizes)
    pairs = [(a, b) for number, b in enumerate(blocks, start=1) for a in blocks[:number]]
    share = pairs[ranks.rank() :: ranks.world_size()]
    needs, shift = care_of(population, ts), 0.0
    if needs.largest_out:
        own = max(
            (
                float(tile.exponents.amax())
                for a, b in share
                for tile in _tiles(population, codes, ts[0], a, b, 0.0, needs)
            ),
            default=-math.inf,
        )
        shift = max(ranks.gather_objects(own))
    centre = wide_enough(population.centre, needs)
    sums = centre.new_zeros(len(ts), len(codes), dtype=sum_dtype(centre))
    near = sums.new_zeros(2, len(codes), dtype=torch.bool)
    totals = _Totals(sums, sums.new_zeros(len(ts)), sums.new_zeros(len(ts)), near)
    weights = sizes.to(sums.device, sums.dtype)
    for a, b in share:
        tiles = _tiles(population, codes, ts[0], a, b, shift, needs, totals.near)
        _add_blocks(totals, tiles, ts, codes.to(sums.device), weights, (a, b), progress)
    for total in (totals.sums, totals.squares, totals.weighted):
        ranks.add_over_ranks_(total)
    near = ranks.add_over_ranks_(totals.near.int()) > 0
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device="cpu")
    return GroupSums(
        totals.sums.cpu().double()[:, back],
        totals.squares.cpu().double(),
        totals.weighted.cpu().double(),
        torch.tensor([shift * t / ts[0] for t in ts], dtype=torch.float64, device="cpu"),
        near.cpu()[:, back],
    )


def _blocks(sizes: Tensor) -> list[_Block]:
    """Cut groups of these sizes into blocks of at most `BLOCK_ROWS` rows, or of a single group."""
    blocks: list[_Block] = []
    row = start = first = 0
    for group, size in enumerate(sizes.tolist()):
        if row > start and row + size - start > BLOCK_ROWS:
            blocks.append(_Block(slice(start, row), slice(first, group)))
            start, first = row, group
        row += size
    return [*blocks, _Block(slice(start, row), slice(first, len(sizes)))]


def _tiles(
    population: Population,
    codes: Tensor,
    t: float,
    a: _Block,
    b: _Block,
    shift: float,
    needs: Care,
    near: Tensor | None = None,
) -> Iterator[Tile]:
    """Yield the tiles of two blocks with -inf for two rows of a group, and flag near rows of two groups."""
    limits = [limit - shift for limit in near_exponents(t)]
    for tile in tiles_of_blocks(population, t, a.rows, b.rows, shift, needs):
        rows, columns, exponents = tile
        if a == b:
            others = rows if columns is None else columns
            same = codes[rows, None] == codes[None, others]
            exponents.masked_fill_(same.to(exponents.device), -math.inf)
        if near is not None and exponents.amax() >= limits[1]:
            for found, limit in zip(near, limits, strict=True):
                is_near = exponents >= limit
                found[rows] |= is_near.any(1)
                if columns is not None:
                    found[columns] |= is_near.any(0)
        yield tile


def _add_blocks(
    totals: _Totals,
    tiles: Iterator[Tile],
    ts: Sequence[float],
    codes: Tensor,
    weights: Tensor,
    blocks: tuple[_Block, _Block],
    progress: Progress,
) -> None:
    """Add up all pairs of two blocks of groups."""
    first, second = (block.groups for block in blocks)
    between = totals.sums.new_zeros(len(ts), first.stop - first.start, second.stop - second.start)
    for rows, columns, exponents in tiles:
        others = rows if columns is None else columns
        for number, t in enumerate(ts):
            potentials = (exponents * (t / ts[0])).exp_()
            totals.sums[number, rows] += potentials.sum(1)
            by_column = sums_by(potentials, codes[rows] - first.start, between.shape[1])
            part = sums_by(by_column.T.to(between.dtype), codes[others] - second.start, between.shape[2]).T
            between[number] += part
            if columns is not None:
                totals.sums[number, columns] += potentials.sum(0)
                if first == second:
                    between[number] += part.T
        progress(exponents.numel())
    twice = 1 if first == second else 2
    totals.squares += twice * between.square().sum((1, 2))
    totals.weighted += twice * (weights[first] @ between @ weights[second])
