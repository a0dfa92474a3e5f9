"""Sums of Gaussian potentials for each row, over populations larger than memory.

For rows x_1 ... x_N, read block by block, and for each of several t,

    sums[i] = sum_{j != i} exp(-t ||x_i - x_j||^2)

of every row (`all_row_sums`) or of a few (`anchor_row_sums`), or those with the rows of another population
(`cross_row_sums`); `squares` is the sum of the squared potentials of those rows. Two blocks of rows are in
memory at a time, and one tile of their pairs (see `engine`). Within a population the tile loop visits only
the upper half of the pairs, the kernel visits both halves. With several processes each visits a share of the
blocks, and all of them get all sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform.engine import routes
from align_uniform.engine.mask import ALL_PAIRS, Mask
from align_uniform.engine.precision import Care, care, sum_dtype, widened
from align_uniform.engine.tiles import Columns, Left, all_tiles, upper_tiles
from align_uniform.measuring.populations import Population, block_slices, mean_squared_distance, take
from align_uniform.measuring.quantities_of_rows import NEAR_COSINE, WIDER_COSINE

COLLAPSED = 0.02
"""The mean of t ||x - y||^2 below which potentials in float32 differ by little more than rounding."""

Progress = Callable[[int], None]
"""A function that is called with the number of potentials summed since the last call."""


class RowSums(NamedTuple):
    """Sums of potentials, divided by exp(shift), and of their squares, divided by exp(2 shift)."""

    sums: Tensor
    """The sum of each row at each t, [T, rows], float64."""
    squares: Tensor
    """The sum of the squared potentials at each t, [T], float64."""
    shift: Tensor
    """The logarithm that was taken out at each t, [T], float64."""
    near: Tensor
    """Whether another row is a near duplicate, and whether one is within twice the angle of near duplicates,
    [2, rows]; for rows of unit norm.
    """


class Tile(NamedTuple):
    """The pairs of some rows with some columns."""

    rows: slice
    """The rows, by their place among the sums."""
    columns: slice | None
    """The columns, by their place; None if column sums are not needed, or if columns are also visited as
    rows.
    """
    exponents: Tensor
    """The values of -t ||x_i - x_j||^2 less a shift at the first t, [rows, columns]; -inf for a row and
    itself. The reader may overwrite them.
    """


def all_row_sums(population: Population, ts: Sequence[float], progress: Progress) -> RowSums:
    """Sum the potentials of every row with all others, which takes N (N - 1) / 2 potentials."""
    blocks = block_slices(population)
    pairs = [(rows, columns) for number, columns in enumerate(blocks, start=1) for rows in blocks[:number]]
    share = pairs[ranks.rank() :: ranks.world_size()]
    count = population.shape[0]
    if _takes_kernel(population, ts):
        visits = (visit for rows, columns in share for visit in _kernel_visits(population, ts, rows, columns))
        return _merge(population, count, ts, visits, progress)

    def tiles(shift: float, needs: Care) -> Iterator[Tile]:
        read, block = slice(0), population.centre.new_empty(0)
        for rows, columns in share:
            if columns != read:  # these columns are read once for all the blocks of rows that they meet
                read, block = columns, population[columns]
            yield from tiles_of_blocks(population, ts[0], rows, columns, shift, needs, block)

    return _accumulate(population, count, ts, tiles, progress)


def anchor_row_sums(
    population: Population, anchors: Tensor, ts: Sequence[float], progress: Progress
) -> RowSums:
    """Sum the potentials of the rows with these rising numbers with all others, which takes N for each."""
    anchor_rows = take(population, anchors)
    share = block_slices(population)[ranks.rank() :: ranks.world_size()]
    if _takes_kernel(population, ts):
        visits = (_kernel_visit_of_anchors(population, ts, anchor_rows, anchors, part) for part in share)
        return _merge(population, len(anchors), ts, visits, progress)

    def tiles(shift: float, needs: Care) -> Iterator[Tile]:
        for part in share:
            yield from _tiles_of_anchors(population, ts[0], anchor_rows, anchors, part, shift, needs)

    return _accumulate(population, len(anchors), ts, tiles, progress)


def cross_row_sums(
    x: Population, y: Population, ts: Sequence[float], progress: Progress, rows: Tensor | None = None
) -> RowSums:
    """Sum the potentials of every row of x with all of y, and of every row of y with all of x.

    The rows of x come first, [T, N + M]. With `rows`, rising row numbers of x, there are the sums of these
    rows alone, [T, rows].
    """
    both, count = _common_space(x, y), len(x)
    few = None if rows is None else take(x, rows)
    own = block_slices(x) if few is None else [slice(0, len(few))]
    pairs = [(part, columns) for part in own for columns in block_slices(y)]
    share = pairs[ranks.rank() :: ranks.world_size()]

    def blocks() -> Iterator[tuple[slice, slice | None, Tensor, Tensor]]:
        for part, columns in share:
            place = slice(count + columns.start, count + columns.stop) if few is None else None
            block, others = x[part] if few is None else few, y[columns]
            yield part, place, block.to(both.centre.dtype), others.to(both.centre.dtype)

    size = len(x) + len(y) if few is None else len(few)
    if _takes_kernel(both, ts):
        visits = (visit for block in blocks() for visit in _kernel_visits_across(both, ts, *block))
        return _merge(both, size, ts, visits, progress)

    def tiles(shift: float, needs: Care) -> Iterator[Tile]:
        for block in blocks():
            yield from _tiles_across(both, ts[0], *block, shift, needs)

    return _accumulate(both, size, ts, tiles, progress)


def cross_log_mean(
    x: Population, y: Population, t: float, progress: Progress, rows: Tensor | None = None
) -> float:
    """Return log mean exp(-t ||x_i - y_j||^2) over two populations, or over some rows of x and all of y."""
    result = cross_row_sums(x, y, [t], progress, rows)
    of_x = result.sums[0, : len(x)]
    return float(of_x.sum().log() - math.log(len(of_x) * len(y)) + result.shift[0])


class _Space(NamedTuple):
    """The place of the rows of two populations, as a `Population` has it of its own."""

    centre: Tensor
    """The mean of all rows, [m]."""
    diameter: float
    """An upper bound of the distance of two rows."""
    spread: float
    """The mean squared distance of a row of one and a row of the other."""


def _common_space(x: Population, y: Population) -> _Space:
    """Return the place of two populations, in the wider of their dtypes."""
    share = len(x) / (len(x) + len(y))
    dtype = torch.promote_types(x.centre.dtype, y.centre.dtype)
    centre = x.centre.to(dtype) * share + y.centre.to(dtype) * (1 - share)
    return _Space(centre, max(x.diameter, y.diameter), mean_squared_distance(x, y))


# ------------------------------------------------------------------------------------------- by the tile loop


def _accumulate(
    population: Population | _Space,
    count: int,
    ts: Sequence[float],
    tiles: Callable[[float, Care], Iterator[Tile]],
    progress: Progress,
) -> RowSums:
    """Sum over tiles, and take the largest exponent out where `exp` could underflow."""
    shift, needs = 0.0, care_of(population, ts)
    if needs.largest_out:
        own = max((float(tile.exponents.amax()) for tile in tiles(0.0, needs)), default=-math.inf)
        shift = max(ranks.gather_objects(own))
    centre = wide_enough(population.centre, needs)
    sums = centre.new_zeros(len(ts), count, dtype=sum_dtype(centre))
    squares = sums.new_zeros(len(ts))
    near = sums.new_zeros(2, count, dtype=torch.bool)
    limits = [limit - shift for limit in near_exponents(ts[0])]
    for rows, columns, tile in tiles(shift, needs):
        if not routes.may_ask(tile) or tile.amax() >= limits[1]:
            for found, limit in zip(near, limits, strict=True):
                is_near = tile >= limit
                found[rows] |= is_near.any(1)
                if columns is not None:
                    found[columns] |= is_near.any(0)
        for number, potentials in _potentials_at(ts, tile):
            sums[number, rows] += potentials.sum(1)
            squares[number] += _square(potentials) * (1 if columns is None else 2)
            if columns is not None:
                sums[number, columns] += potentials.sum(0)
        progress(tile.numel())
    shifts = torch.tensor([shift * t / ts[0] for t in ts], dtype=torch.float64, device="cpu")
    for total in (sums, squares):
        ranks.add_over_ranks_(total)
    near = ranks.add_over_ranks_(near.int()) > 0
    return RowSums(sums.cpu().double(), squares.cpu().double(), shifts, near.cpu())


def _potentials_at(ts: Sequence[float], exponents: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of each t and the potentials at it, from the exponents at the first, which comes last.

    The exponents are overwritten.
    """
    for number, t in reversed(list(enumerate(ts))):
        yield number, exponents.exp_() if number == 0 else (exponents * (t / ts[0])).exp_()


def _square(matrix: Tensor) -> Tensor:
    """Return the sum of the squares of a matrix that is contiguous, or the transpose of one that is.

    It is summed row by row: the variance of potentials is a small difference of such sums.
    """
    norms: Tensor = torch.linalg.vector_norm(matrix if matrix.is_contiguous() else matrix.mT, dim=1)
    return norms.to(sum_dtype(norms)).square_().sum()


def near_exponents(t: float) -> tuple[float, float]:
    """Return the exponents from which rows are near duplicates, and within twice the angle."""
    return t * (2 * NEAR_COSINE - 2), t * (2 * WIDER_COSINE - 2)


def care_of(population: Population | _Space, ts: Sequence[float]) -> Care:
    """Return the care that exponents need: no two rows are farther apart than the diameter.

    Where float32 is not precise enough, they are computed in float64, on the CPU if the device lacks it. That
    is also so where nearly all rows lie in one place: their potentials are all about 1, and the sum of their
    squares would not show how they differ.
    """
    reach = max(ts) * population.diameter**2 / 4
    needs = care(reach, population.centre.dtype)
    is_float32 = population.centre.dtype == torch.float32
    if needs.wider or (is_float32 and min(ts) * population.spread < COLLAPSED):
        return care(reach, torch.float64)._replace(wider=True)
    return needs


def tiles_of_blocks(
    population: Population,
    t: float,
    rows: slice,
    columns: slice,
    shift: float,
    needs: Care,
    block: Tensor | None = None,
) -> Iterator[Tile]:
    """Yield all distinct pairs of two blocks of one population, or of one block.

    The second block is read unless it is given.
    """
    block = population[columns] if block is None else block
    a = _left(population, block if rows == columns else population[rows], t, needs)
    lift = a.halves.new_full((1,), shift)
    if rows == columns:
        for above, left, tile in upper_tiles(a, Mask(0), lift, at_most_0=needs.at_most_0):
            yield Tile(_within(rows, above), None if above == left else _within(rows, left), tile[0])
        return
    others = _columns(population, block, t, needs)
    for above, left, _, tile in all_tiles(a, others, Mask(), lift, at_most_0=needs.at_most_0):
        yield Tile(_within(rows, above), _within(columns, left), tile[0])


def _tiles_of_anchors(
    population: Population,
    t: float,
    anchor_rows: Tensor,
    anchors: Tensor,
    part: slice,
    shift: float,
    needs: Care,
) -> Iterator[Tile]:
    """Yield all pairs of the anchors with one block, except the pairs of an anchor and itself."""
    a = _left(population, anchor_rows, t, needs)
    others = _columns(population, population[part], t, needs)
    lift = a.halves.new_full((1,), shift)
    for above, left, _, tile in all_tiles(a, others, Mask(), lift, at_most_0=needs.at_most_0):
        own = anchors[above] - part.start - left.start
        here = ((own >= 0) & (own < tile.shape[2])).nonzero().squeeze(1)
        tile[0, here.to(tile.device), own[here].to(tile.device)] = -math.inf
        yield Tile(above, None, tile[0])


def _tiles_across(
    both: _Space,
    t: float,
    rows: slice,
    columns: slice | None,
    block: Tensor,
    block_of_others: Tensor,
    shift: float,
    needs: Care,
) -> Iterator[Tile]:
    """Yield all pairs of a block of one population with a block of another."""
    a, others = _left(both, block, t, needs), _columns(both, block_of_others, t, needs)
    lift = a.halves.new_full((1,), shift)
    for above, left, _, tile in all_tiles(a, others, Mask(), lift, at_most_0=needs.at_most_0):
        yield Tile(_within(rows, above), None if columns is None else _within(columns, left), tile[0])


def _left(population: Population | _Space, rows: Tensor, t: float, needs: Care) -> Left:
    """Return rows in the form that tiles take."""
    centre = wide_enough(population.centre, needs)[None, None]
    return Left(wide_enough(rows, needs)[None], centre, math.sqrt(2 * t))


def _columns(population: Population | _Space, columns: Tensor, t: float, needs: Care) -> Columns:
    """Return columns in the form that tiles take."""
    centre = wide_enough(population.centre, needs)[None, None]
    return Columns(wide_enough(columns, needs)[None], centre, math.sqrt(2 * t))


def wide_enough(z: Tensor, needs: Care) -> Tensor:
    """Return rows in float64 where their exponents need it."""
    return widened(z) if needs.wider else z


def _within(part: slice, inner: slice) -> slice:
    return slice(part.start + inner.start, part.start + inner.stop)


# ---------------------------------------------------------------------------------------------- by the kernel


def _takes_kernel(population: Population | _Space, ts: Sequence[float]) -> bool:
    """Whether the kernel computes these rows; rows that are far apart need float64, which it lacks."""
    return routes.takes_kernel(population.centre) and not care_of(population, ts).wider


class _Visit(NamedTuple):
    """The kernel's sums of some rows with one block, each divided by exp of the row's largest exponent."""

    rows: slice
    """The rows, by their place among the sums."""
    largest: Tensor
    """The largest exponent of each row at the first t, [rows]; -inf where there is none."""
    sums: Tensor
    """The sums, [T, rows], float64."""
    squares: Tensor
    """The sums of squares, [T, rows], float64."""
    potentials: int
    """The number of potentials that no earlier visit computed."""


def _kernel_visits(
    population: Population, ts: Sequence[float], rows: slice, columns: slice
) -> Iterator[_Visit]:
    """Sum over all distinct pairs of two blocks, for the rows of either, or of one block."""
    a = population[rows] - population.centre
    if rows == columns:
        yield _Visit(rows, *_kernel_sums(a, a, ts, Mask(0)), len(a) ** 2)
        return
    b = population[columns] - population.centre
    yield _Visit(rows, *_kernel_sums(a, b, ts), len(a) * len(b))
    yield _Visit(columns, *_kernel_sums(b, a, ts), 0)


def _kernel_visit_of_anchors(
    population: Population, ts: Sequence[float], anchor_rows: Tensor, anchors: Tensor, part: slice
) -> _Visit:
    """Sum over all pairs of the anchors with one block, except the pairs of an anchor and itself."""
    a, b = (rows - population.centre for rows in (anchor_rows, population[part]))
    numbers = torch.arange(part.start, part.stop, device=b.device)
    sums = _kernel_sums(a, b, ts, Mask(None, anchors.to(b.device), numbers))
    return _Visit(slice(0, len(a)), *sums, len(a) * len(b))


def _kernel_visits_across(
    both: _Space,
    ts: Sequence[float],
    rows: slice,
    columns: slice | None,
    block: Tensor,
    block_of_others: Tensor,
) -> Iterator[_Visit]:
    """Sum over all pairs of a block of one population with a block of another, for the rows of either."""
    a, b = block - both.centre, block_of_others - both.centre
    yield _Visit(rows, *_kernel_sums(a, b, ts), len(a) * len(b))
    if columns is not None:
        yield _Visit(columns, *_kernel_sums(b, a, ts), 0)


def _kernel_sums(
    a: Tensor, b: Tensor, ts: Sequence[float], mask: Mask = ALL_PAIRS
) -> tuple[Tensor, Tensor, Tensor]:
    from align_uniform.engine import triton as kernels  # loads triton

    largest, sums, squares = kernels.potential_sums(a[None], b[None], list(ts), mask.flat())
    return largest[0], sums[:, 0], squares[:, 0]


def _merge(
    population: Population | _Space,
    count: int,
    ts: Sequence[float],
    visits: Iterator[_Visit],
    progress: Progress,
) -> RowSums:
    """Add up the visits, in logarithms, since every row has a largest exponent of its own."""
    device = population.centre.device
    logs = torch.full((len(ts), count), -math.inf, dtype=torch.float64, device=device)
    log_squares = logs.new_full((len(ts),), -math.inf)
    near = torch.zeros(2, count, dtype=torch.bool, device=device)
    ratios = logs.new_tensor([t / ts[0] for t in ts]).unsqueeze(1)
    for rows, largest, sums, squares, potentials in visits:
        lift = largest.double() * ratios
        logs[:, rows] = torch.logaddexp(logs[:, rows], lift + sums.log())
        log_squares = torch.logaddexp(log_squares, (2 * lift + squares.log()).logsumexp(1))
        for found, limit in zip(near, near_exponents(ts[0]), strict=True):
            found[rows] |= largest >= limit
        if potentials:
            progress(potentials)
    shifts = torch.stack(ranks.gather_objects(logs.amax(1).cpu())).amax(0)
    sums = (logs - shifts.to(logs.device).unsqueeze(1)).exp()
    squares = (log_squares - 2 * shifts.to(logs.device)).exp()
    for total in (sums, squares):
        ranks.add_over_ranks_(total)
    near = ranks.add_over_ranks_(near.int()) > 0
    return RowSums(sums.cpu(), squares.cpu(), shifts, near.cpu())
