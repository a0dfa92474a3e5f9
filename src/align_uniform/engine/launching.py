"""The rows as the kernels take them, and the shape of a launch: what all launches of kernels share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from align_uniform.engine import configurations, kernels, routes
from align_uniform.engine.mask import Mask
from align_uniform.engine.routes import HALVES

F = TypeVar("F", bound=Callable[..., Any])

MULTIPROCESSORS = 132
"""The number of programs that are to run at a time: as many as an H100 has multiprocessors."""

ALIGNMENT = 16
"""The multiple of numbers, and of bytes, at which rows begin."""

FARTHEST = 2**24
"""The largest stride of rows; with larger strides rows are copied, since offsets in a block have 32 bits."""

SURVEYS = 32
"""The largest number of programs that look at the rows of one population before they are split in terms."""

FEW = 1024
"""The number of rows up to which every program that splits them looks at all rows by itself."""

LEAST_TILES = 4
"""The least number of tiles of a program; fewer would not be worth the combination of their results."""


def operator(name: str, schema: str, like: Callable[..., Any]) -> Callable[[F], F]:
    """Make a function that launches kernels an operator of torch.

    Where nothing but eager computation is under way it is called as it is: torch's dispatch takes longer than
    a launch.

    Args:
        name: of the operator.
        schema: its arguments, of which the first is a tensor, and its results.
        like: a function of the same arguments that returns empty results.
    """

    def decorate(launch: F) -> F:
        dispatched = torch.library.custom_op(name, launch, mutates_args=(), schema=schema)
        dispatched.register_fake(like)

        @functools.wraps(launch)
        def call(x: Tensor, *args: Any) -> Any:
            return (launch if routes.is_eager(x) else dispatched)(x, *args)

        return call  # type: ignore[return-value]  # it takes what the function takes

    return decorate


# ------------------------------------------------------------------------------------------- rows and columns


class Rows(NamedTuple):
    """Rows as kernels load them, and their squared norms."""

    values: Tensor
    """[B, N, P] in half precision, or [B, N, 2 P] in float16, two terms of each number."""
    squares: Tensor | None = None
    """[B, N], float32; None if nobody needs them."""
    units: Tensor | None = None
    """The units of the terms of each batch entry, [B], float32; None if the values are given as they are."""


class Pairs(NamedTuple):
    """The rows and columns as the kernels read them, and the pairs that are left out."""

    x: Rows
    y: Rows
    width: int
    """The number of features, counting the zeros that were added: P."""
    skip: int
    x_ids: Tensor | None
    y_ids: Tensor | None

    @property
    def terms(self) -> int:
        """The number of terms of each number."""
        return 1 if self.x.units is None else 2

    @property
    def values(self) -> tuple[Tensor, Tensor]:
        """The values of both sides."""
        return self.x.values, self.y.values

    @property
    def squares(self) -> tuple[Tensor | None, Tensor | None]:
        """The squared norms of both sides."""
        return self.x.squares, self.y.squares

    @property
    def units(self) -> tuple[Tensor | None, Tensor | None]:
        """The units of both sides."""
        return self.x.units, self.y.units

    @property
    def counts(self) -> tuple[int, int, int]:
        """The number of rows, of columns, and of features, counting the zeros that were added."""
        return self.x.values.shape[1], self.y.values.shape[1], self.width

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """The strides of batch entries and rows of both sides."""
        x, y = self.values
        return x.stride(0), x.stride(1), y.stride(0), y.stride(1)

    def exchanged(self) -> Pairs:
        """Return the pairs with rows and columns exchanged."""
        return self._replace(x=self.y, y=self.x, skip=-self.skip, x_ids=self.y_ids, y_ids=self.x_ids)


def pairs(
    x: Tensor,
    y: Tensor,
    mask: Mask,
    *,
    units: tuple[Tensor, Tensor] | None = None,
    squared_distances: bool,
) -> Pairs:
    """Prepare rows and columns, [B, N, m] and [B, M, m] in one dtype, for the kernels.

    Half-precision rows stay as they are, and are copied only if they begin at odd places. Float32 rows become
    two terms; for squared distances they are centred before. With `units` they are terms already, as `split`
    returns them.
    """
    # At the ends no pair is left out.
    skip = y.shape[1] if mask.skip is None else max(-x.shape[1], min(mask.skip, y.shape[1]))
    x_ids, y_ids = (z if z is None else z.contiguous() for z in (mask.ids, mask.column_ids))
    if units is not None:
        rows, width = [Rows(x, units=units[0]), Rows(y, units=units[1])], x.shape[2] // 2
    else:
        populations = (x,) if y is x else (x, y)
        rows = (
            _halves(populations, squared_distances)
            if x.dtype in HALVES
            else _terms(populations, squared_distances)
        )
        width = x.shape[2] + -x.shape[2] % ALIGNMENT
    return Pairs(rows[0], rows[-1], width, skip, x_ids, y_ids)


def _split_like(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width = 2 * (x.shape[2] + -x.shape[2] % ALIGNMENT)
    rows, columns = (z.new_empty((*z.shape[:2], width), dtype=torch.float16) for z in (x, y))
    return rows, columns, x.new_empty(x.shape[0]), y.new_empty(y.shape[0])


@operator("align_uniform::split", "(Tensor x, Tensor y) -> (Tensor, Tensor, Tensor, Tensor)", _split_like)
def split(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return float32 rows, [B, N, m], and columns, [B, M, m], as two terms of float16, and their units.

    Several sums over the same rows then split them only once.

    Returns:
        The terms of the rows, [B, N, 2 P], and of the columns, [B, M, 2 P], where P is m rounded up to a
        multiple of 16; and the units of the batch entries of either, [B].
    """
    with torch.cuda.device_of(x):
        rows, columns = _terms((x, y), False)
    assert rows.units is not None
    assert columns.units is not None
    return rows.values, columns.values, rows.units, columns.units


def _halves(populations: Sequence[Tensor], with_squares: bool) -> list[Rows]:
    """Return half-precision rows as kernels load them, with squared norms if they are needed."""
    readable = [_readable(z) for z in populations]
    return [Rows(z, _squared_norms(z) if with_squares else None) for z in readable]


def _readable(z: Tensor) -> Tensor:
    """Return the rows as kernels load them, 16 numbers at a time: a copy, padded with zeros, if need be.

    Kernels for rows that begin anywhere would need more registers than there are.
    """
    if missing := -z.shape[2] % ALIGNMENT:
        return torch.nn.functional.pad(z, (0, missing))
    aligned = all(stride % ALIGNMENT == 0 for stride in z.stride()[:2]) and z.data_ptr() % ALIGNMENT == 0
    return _readable_once(z) if aligned else z.clone(memory_format=torch.contiguous_format)


def _readable_once(z: Tensor) -> Tensor:
    """Return rows whose features lie side by side, and whose offsets in a block have 32 bits."""
    if z.stride(2) == 1 and z.stride(1) <= FARTHEST:
        return z
    return z.clone(memory_format=torch.contiguous_format)


def _squared_norms(z: Tensor) -> Tensor:
    batch, count, features = z.shape
    squares = z.new_empty((batch, count), dtype=torch.float32)
    block = _block(features)
    kernels.squared_norms[(batch * pieces(count, block),)](
        z, squares, count, features, z.stride(0), z.stride(1), ROWS=block, FEATURES=padded(features)
    )
    return squares


def _terms(populations: Sequence[Tensor], centred: bool) -> list[Rows]:
    """Return float32 rows in two terms; centred around a common centre, and with squared norms, if asked.

    Centred populations share a unit, others have a unit each.
    """
    readable = [_readable_once(z) for z in populations]
    if centred:
        survey = _survey(readable, centred)
        return [_split(z, survey, centred) for z in readable]
    return [_split(z, _survey([z], centred), centred) for z in readable]


class _Survey(NamedTuple):
    """The largest number in each part of all rows, and the part's share of their centre."""

    largest: Tensor | None
    """[B, slots]; None if the rows are so few that every program looks at all of them by itself."""
    centres: Tensor | None
    """[B, slots, features]; None if the rows are not centred."""


def _survey(populations: Sequence[Tensor], centred: bool) -> _Survey:
    """Look at all rows of the populations."""
    first = populations[0]
    batch, count, features = first.shape
    if len(populations) == 1 and count <= FEW:
        return _Survey(None, None)
    block = _block(features)
    parts = [min(SURVEYS, pieces(z.shape[1], block)) for z in populations]
    slots = sum(parts)
    largest = first.new_empty((batch, slots))
    centres = first.new_empty((batch, slots, padded(features))) if centred else None
    for number, z in enumerate(populations):
        kernels.survey[(parts[number], batch)](
            z,
            centres,
            largest,
            1 / (len(populations) * z.shape[1]),
            z.shape[1],
            features,
            z.stride(0),
            z.stride(1),
            pieces(pieces(z.shape[1], block), parts[number]) * block,
            sum(parts[:number]),
            slots,
            ROWS=block,
            FEATURES=padded(features),
        )
    return _Survey(largest, centres)


def _split(z: Tensor, survey: _Survey, centred: bool) -> Rows:
    """Return the rows in two terms, in the unit that was found."""
    batch, count, features = z.shape
    width = features + -features % ALIGNMENT
    terms = z.new_empty((batch, count, 2 * width), dtype=torch.float16)
    squares = z.new_empty((batch, count)) if centred else None
    units = z.new_empty(batch)
    block = _block(features)
    kernels.split[(batch * pieces(count, block),)](
        z,
        survey.centres,
        survey.largest,
        terms,
        squares,
        units,
        count,
        features,
        width,
        z.stride(0),
        z.stride(1),
        0 if survey.largest is None else survey.largest.shape[1],
        CENTRED=centred,
        SLOTS=2 * SURVEYS,
        ROWS=block,
        FEATURES=padded(features),
    )
    return Rows(terms, squares, units)


def _block(features: int) -> int:
    """Return the number of rows that a program looks at at a time."""
    return max(16, min(64, 4096 // padded(features)))


# --------------------------------------------------------------------------------------------------- launches


class Plan(NamedTuple):
    """The grid and the compile-time constants of a launch."""

    grid: tuple[int, int, int]
    span: int
    """The number of columns of each split."""
    constants: dict[str, int]

    @property
    def splits(self) -> int:
        """The number of programs that share the columns of a block of rows."""
        return self.grid[1]


def plan(kernel: configurations.Kernel, pairs: Pairs, *, parts: bool) -> Plan:
    """Choose blocks and grid.

    With `parts`, rows of more than 128 features have a program for each 128 of their sums.
    """
    x, y = pairs.values
    features = counted(pairs.width)
    chosen = configurations.configuration(
        kernel, terms=pairs.terms, features=features, capability=_capability(x.get_device())
    )
    sizes = (*x.shape[:2], y.shape[1])
    return _plan(chosen, pairs.terms, features, sizes, MULTIPROCESSORS, parts)


@functools.lru_cache(maxsize=256)
def _plan(
    chosen: configurations.Configuration,
    terms: int,
    features: int,
    sizes: tuple[int, ...],
    programs: int,
    parts: bool,
) -> Plan:
    """Choose the grid for sizes [batch, rows, columns], of at least so many programs where it can be."""
    batch, rows, columns = sizes
    blocks = batch * pieces(rows, chosen.rows)
    values = min(features, 128)
    per_row = pieces(features, values) if parts else 1
    tiles = pieces(columns, chosen.columns)
    splits = min(pieces(tiles, LEAST_TILES), pieces(programs, blocks * per_row))
    span = pieces(tiles, splits) * chosen.columns
    constants = {
        "TERMS": terms,
        "ROWS": chosen.rows,
        "COLUMNS": chosen.columns,
        "FEATURES": features,
        "STEP": chosen.step,
        "VALUES": values,
        "num_warps": chosen.warps,
        "num_stages": chosen.stages,
    }
    return Plan((blocks, pieces(columns, span), per_row), span, constants)


def pieces(count: int, size: int) -> int:
    """Return the number of pieces of a size that cover a count."""
    return -(-count // size)


def counted(features: int) -> int:
    """Return the number of features that are multiplied: a power of two up to 256, then a multiple of 64."""
    return padded(features) if features <= 256 else pieces(features, 64) * 64


def padded(features: int) -> int:
    """Return the number of features of a block: a power of two that a matrix product takes."""
    return 1 << max(4, (features - 1).bit_length())


@functools.cache
def _capability(device: int) -> configurations.Capability | None:
    """Return the compute capability of a CUDA device, None for the CPU."""
    return None if device < 0 else torch.cuda.get_device_capability(device)
