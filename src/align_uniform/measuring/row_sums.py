"""Sums of Gaussian potentials row by row, over populations larger than memory: what measuring needs of all pairs.

For rows x_1 ... x_N, read block by block, and for each of several t,

    sums[i] = sum_{j != i} exp(-t ||x_i - x_j||^2)      of every row (`all_row_sums`), or of a few (`anchor_row_sums`),
    squares = the same with squared potentials, summed over those rows.

Two blocks of rows are in memory at a time, and one tile of their pairs (see `_pairs`). Of the pairs of all rows only the upper
half is visited. Under many processes each visits a share of the blocks, and all end with the sums of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from align_uniform import _pairs as engine
from align_uniform import _ranks as ranks

BLOCK_BYTES = 2**25
"""Of a block of float32 rows. A block is read anew for every block that it meets: larger ones spare reading."""

NEAR_COSINE = 0.999
"""Unit rows of at least this cosine, 2.6 degrees apart, are near duplicates."""

Progress = Callable[[int], None]
"""Called with the number of potentials summed since the last call."""


class Population(Protocol):
    """Rows that are read in parts."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and m."""

    @property
    def device(self) -> torch.device:
        """Where the rows are."""

    @property
    def centre(self) -> Tensor:
        """[m]: a point amid the rows."""

    @property
    def diameter(self) -> float:
        """No two rows are farther apart."""

    def __getitem__(self, part: slice) -> Tensor:
        """[b, m], float32 or float64, on the device."""


class RowSums(NamedTuple):
    """Sums are over exp(shift), sums of squares over exp(2 shift)."""

    sums: Tensor
    """[T, rows], float64"""
    squares: Tensor
    """[T], float64"""
    shift: Tensor
    """[T], float64"""
    near: Tensor
    """[rows]: whether another row is a near duplicate, if the rows are of unit norm"""


class _Tile(NamedTuple):
    """Some rows against some columns."""

    rows: slice
    columns: slice | None
    """None where the sums of the columns are not asked for, or are there as rows"""
    exponents: Tensor
    """[rows, columns]: -t ||x_i - x_j||^2 less a shift at the first t, -inf for a row and itself; to be overwritten"""


def all_row_sums(population: Population, ts: Sequence[float], progress: Progress) -> RowSums:
    """Sum over the others of every row: N (N - 1) / 2 potentials are computed."""
    blocks = block_slices(population)
    pairs = [(rows, columns) for number, columns in enumerate(blocks, start=1) for rows in blocks[:number]]
    share = pairs[ranks.rank() :: ranks.world_size()]

    def tiles(shift: float) -> Iterator[_Tile]:
        for rows, columns in share:
            yield from _tiles_of_blocks(population, ts[0], rows, columns, shift)

    return _accumulate(population, population.shape[0], ts, tiles, progress)


def anchor_row_sums(population: Population, anchors: Tensor, ts: Sequence[float], progress: Progress) -> RowSums:
    """Sum over the others of the rows with these indices, which rise: N potentials for each are computed."""
    anchor_rows = take(population, anchors)
    share = block_slices(population)[ranks.rank() :: ranks.world_size()]

    def tiles(shift: float) -> Iterator[_Tile]:
        for part in share:
            yield from _tiles_of_anchors(population, ts[0], anchor_rows, anchors, part, shift)

    return _accumulate(population, len(anchors), ts, tiles, progress)


def cross_log_mean(x: Population, y: Population, t: float, progress: Progress, rows: Tensor | None = None) -> float:
    """Return `log mean exp(-t ||x_i - y_j||^2)` over two populations, or over some rows of x and all of y."""
    count = x.shape[0] if rows is None else len(rows)
    few = None if rows is None else take(x, rows)
    pairs = [(part, columns) for part in (block_slices(x) if few is None else [slice(None)]) for columns in block_slices(y)]
    logs = []
    for part, columns in pairs[ranks.rank() :: ranks.world_size()]:
        block, others = x[part] if few is None else few, y[columns]
        dtype = torch.promote_types(block.dtype, others.dtype)
        logs.append(float(engine.sweep(block.to(dtype), others.to(dtype), t, count * y.shape[0]).log_potential))
        progress(len(block) * len(others))
    everyones = [log for share in ranks.gather_objects(logs) for log in share]
    return float(torch.tensor(everyones, dtype=torch.float64).logsumexp(0))


def nearest_rows(population: Population, indices: Tensor) -> tuple[Tensor, Tensor]:
    """The index of the row that is nearest to each of these rows, itself apart, and its distance."""
    queries = take(population, indices)
    half_squares = queries.new_full((len(indices),), math.inf)
    nearest = torch.zeros_like(indices)
    for part in block_slices(population):
        block = population[part]
        halves = block.square().sum(1) / 2 - queries @ block.mT  # less half of the query's square
        own = indices - part.start
        here = ((own >= 0) & (own < len(block))).nonzero().squeeze(1)
        halves[here.to(halves.device), own[here].to(halves.device)] = math.inf
        least, position = halves.min(1)
        nearest = torch.where((least < half_squares).cpu(), position.cpu() + part.start, nearest)
        half_squares = torch.minimum(half_squares, least)
    distances = torch.linalg.vector_norm(queries - take(population, nearest), dim=1)  # where near, products have cancelled
    return nearest, distances.double().cpu()


def block_slices(population: Population, size: int = BLOCK_BYTES) -> list[slice]:
    """The blocks of so many bytes that a population is read in; several for each process, that all have something to do."""
    count, dim = population.shape
    return engine._slices(count, max(1, min(size // (4 * dim), math.ceil(count / (2 * ranks.world_size() - 1)))))


def take(population: Population, indices: Tensor) -> Tensor:
    """The rows of these indices, in this order, wherever they lie."""
    rising, order = indices.sort()
    parts = []
    for block in block_slices(population):
        first, last = torch.searchsorted(rising, torch.tensor([block.start, block.stop])).tolist()
        if first < last:
            within = slice(int(rising[first]), int(rising[last - 1]) + 1)
            parts.append(population[within][(rising[first:last] - within.start).to(population.device)])
    rows = torch.empty_like(sorted_rows := torch.cat(parts))
    rows[order.to(rows.device)] = sorted_rows
    return rows


def _accumulate(
    population: Population, count: int, ts: Sequence[float], tiles: Callable[[float], Iterator[_Tile]], progress: Progress
) -> RowSums:
    """Sum the tiles, with the largest exponent taken out where `exp` could underflow."""
    shift = 0.0
    if -max(ts) * population.diameter**2 < math.log(torch.finfo(torch.float32).tiny) / 2:  # half, for the squares' sake
        shift = max(ranks.gather_objects(max((float(tile.exponents.amax()) for tile in tiles(0.0)), default=-math.inf)))
    wide = {"dtype": engine._wide(population.centre), "device": population.device}
    sums, squares = torch.zeros(len(ts), count, **wide), torch.zeros(len(ts), **wide)  # type: ignore[call-overload]
    near = torch.zeros(count, dtype=torch.bool, device=population.device)
    nearest_exponent = ts[0] * (2 * NEAR_COSINE - 2) - shift
    buffer = None
    for rows, columns, tile in tiles(shift):
        if tile.amax() >= nearest_exponent:
            is_near = tile >= nearest_exponent
            near[rows] |= is_near.any(1)
            if columns is not None:
                near[columns] |= is_near.any(0)
        if len(ts) > 1 and (buffer is None or buffer.numel() < tile.numel()):
            buffer = torch.empty_like(tile).view(-1)
        for number, t in reversed(list(enumerate(ts))):  # the first t last, in place
            if number == 0:
                potentials = tile.exp_()
            else:
                assert buffer is not None
                potentials = torch.mul(tile, t / ts[0], out=buffer[: tile.numel()].view(tile.shape)).exp_()
            flat = potentials.view(-1)
            sums[number, rows] += potentials.sum(1)
            squares[number] += flat.dot(flat) * (1 if columns is None else 2)
            if columns is not None:
                sums[number, columns] += potentials.sum(0)
        progress(tile.numel())
    shifts = torch.tensor([shift * t / ts[0] for t in ts], dtype=torch.float64)
    for total in (sums, squares):
        ranks.add_over_ranks_(total)
    near = ranks.add_over_ranks_(near.int()) > 0
    return RowSums(sums.double().cpu(), squares.double().cpu(), shifts, near.cpu())


def _tiles_of_blocks(population: Population, t: float, rows: slice, columns: slice, shift: float) -> Iterator[_Tile]:
    """All distinct pairs of two blocks of one population, or of one block."""
    scale = math.sqrt(2 * t)
    a = (population[rows] - population.centre).mul_(scale)[None]
    halves = engine._half_squares(a)
    lift = halves.new_tensor([shift])
    if rows == columns:
        for above, left, tile in engine._upper_tiles(a, halves, lift):
            yield _Tile(_within(rows, above), None if above == left else _within(rows, left), tile[0])
        return
    centre = population.centre[None, None]
    for above, left, _, tile in engine._all_tiles(a, halves, population[columns][None], centre, scale, None, lift):
        yield _Tile(_within(rows, above), _within(columns, left), tile[0])


def _tiles_of_anchors(
    population: Population, t: float, anchor_rows: Tensor, anchors: Tensor, part: slice, shift: float
) -> Iterator[_Tile]:
    """All pairs of the anchors with one block, but for an anchor and itself."""
    scale = math.sqrt(2 * t)
    a = (anchor_rows - population.centre).mul_(scale)[None]
    halves = engine._half_squares(a)
    lift = halves.new_tensor([shift])
    centre = population.centre[None, None]
    for above, left, _, tile in engine._all_tiles(a, halves, population[part][None], centre, scale, None, lift):
        own = anchors[above] - part.start - left.start
        here = ((own >= 0) & (own < tile.shape[2])).nonzero().squeeze(1)
        tile[0, here.to(tile.device), own[here].to(tile.device)] = -math.inf
        yield _Tile(above, None, tile[0])


def _within(part: slice, inner: slice) -> slice:
    return slice(part.start + inner.start, part.start + inner.stop)
