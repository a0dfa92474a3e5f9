"""The rows of an embedding, from memory or from a file: read in blocks, checked once, normalised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform.engine.precision import has_float64, sum_dtype, widened
from align_uniform.engine.tiles import slices
from align_uniform.files.rows import to_tensor
from align_uniform.functional import normalize_rows
from align_uniform.geometry import Moments, cross_mean_squared_distance

BLOCK_BYTES = 2**25
"""The size of a block of float32 rows. Every block is read again for each block that it meets, so larger
blocks save reading.
"""

SURVEY_BYTES = 2**22
"""The size of a block of float32 rows in the first pass, which makes several wider copies of it."""


class Source(Protocol):
    """The origin of rows: a tensor, a numpy array, or a `files.Rows`."""

    @property
    def shape(self) -> Sequence[int]:
        """The numbers of rows and features, N and m."""

    def __getitem__(self, part: slice, /) -> Any:
        """Return some rows as a tensor or an array."""


class Population:
    """The rows of one view or one tower.

    Args:
        source: the rows, [N, m], real numbers of any width.
        name: the name of the population in messages.
        normalize: whether to divide rows by their norms.
        device: the device that rows are moved to.
        kept: the numbers, rising, of the rows that belong to the population; None for all rows.

    Attributes:
        shape: the numbers of rows and features, N and m.
        survey: the results of one pass over all rows.
        centre: the mean of the rows, [m].
        diameter: an upper bound of the distance of two rows.
        spread: the mean squared distance of two rows, about.

    Raises:
        ValueError: a row has a NaN or an infinity, or has norm 0 and is to be normalised.
    """

    def __init__(
        self, source: Source, name: str, *, normalize: bool, device: torch.device, kept: Tensor | None = None
    ) -> None:
        self.source, self.name, self.normalize, self.device, self.kept = source, name, normalize, device, kept
        self.shape = (source.shape[0] if kept is None else len(kept), int(source.shape[1]))
        self.survey = _survey(self)
        checks.refuse_not_finite(name, self.number_of(self.survey.invalid).tolist(), len(self))
        if normalize:
            checks.refuse_zero(name, self.number_of(self.survey.zero).tolist(), len(self))
        self.centre = (self.survey.moments.sum / self.shape[0]).to(self.device, self[slice(0, 1)].dtype)
        self.diameter = 2 * (1.0 if normalize else float(self.survey.norms.max()))
        self.spread = mean_squared_distance(self, self)

    def __getitem__(self, part: slice) -> Tensor:
        """Return rows as they are measured, in float32 or float64."""
        rows = self.raw(part)
        return normalize_rows(rows) if self.normalize else rows

    def raw(self, part: slice) -> Tensor:
        """Return rows as they were given, in float32, or in float64 if they have it and the device has it."""
        if self.kept is None:
            rows = _tensor(self.source[part])
        else:
            indices = self.kept[part]
            first = int(indices[0])
            rows = _tensor(self.source[first : int(indices[-1]) + 1])[indices - first]
        is_wide = rows.dtype == torch.float64 and has_float64(self.device)
        return rows.to(self.device, torch.float64 if is_wide else torch.float32)

    def number_of(self, rows: Tensor) -> Tensor:
        """Return the numbers of these rows in the source."""
        return rows if self.kept is None else self.kept[rows]

    def widened(self, raw: Tensor) -> Tensor:
        """Return raw rows as they are measured, normalised in float64, on the CPU if the device lacks it."""
        rows = widened(raw)
        return normalize_rows(rows) if self.normalize else rows

    @property
    def dtype_name(self) -> str:
        """The name of the source's dtype."""
        return str(getattr(self.source, "dtype", "unknown")).removeprefix("torch.")

    def __len__(self) -> int:
        return self.shape[0]


def _tensor(rows: Any) -> Tensor:
    return rows.detach() if isinstance(rows, Tensor) else to_tensor(rows)


def block_slices(population: Population, size: int | None = None) -> list[slice]:
    """Cut rows into blocks of at most `size` bytes, and into enough blocks for every process to get work.

    Args:
        population: the rows.
        size: bytes of a block of float32 rows; by default `BLOCK_BYTES`.
    """
    count, dim = population.shape
    rows = (BLOCK_BYTES if size is None else size) // (4 * dim)
    return slices(count, max(1, min(rows, math.ceil(count / (2 * ranks.world_size() - 1)))))


def take(population: Population, indices: Tensor) -> Tensor:
    """Return the rows with these numbers, in this order, wherever they lie."""
    rising, order = indices.sort()
    parts = []
    for block in block_slices(population):
        first, last = torch.searchsorted(
            rising, torch.tensor([block.start, block.stop], device="cpu")
        ).tolist()
        if first < last:
            within = slice(int(rising[first]), int(rising[last - 1]) + 1)
            parts.append(population[within][(rising[first:last] - within.start).to(population.device)])
    rows = torch.empty_like(sorted_rows := torch.cat(parts))
    rows[order.to(rows.device)] = sorted_rows
    return rows


def mean_squared_distance(x: Population, y: Population) -> float:
    """Return the mean squared distance of a row of x and a row of y, in closed form."""
    return cross_mean_squared_distance(x.survey.moments, y.survey.moments)


def products(population: Population, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the products of all rows with a few vectors, [N, k] for [m, k], and their squared norms, [N].

    One pass over the rows, in float64.
    """
    found, squares = [], []
    for part in block_slices(population):
        rows = population.widened(population.raw(part))
        found.append((rows @ vectors.to(rows)).cpu())
        squares.append(rows.square().sum(1).cpu())
    return torch.cat(found), torch.cat(squares)


# ------------------------------------------------------------------------------------------------- one pass


@dataclass(frozen=True)
class Survey:
    """The results of one pass over rows, or over some of them."""

    moments: Moments
    """The moments of the rows as they are measured; those of all rows are on the CPU."""
    norms: Tensor
    """The norm of each row as it was given, [N], float64; with several processes, process by process."""
    fourth: float
    """The sum of |x|^4 of the rows as they are measured."""
    invalid: Tensor
    """The numbers of the rows with a NaN or an infinity."""
    zero: Tensor
    """The numbers of the rows of norm 0."""
    hashes: Tensor
    """A number for each row, [N], int64, equal for equal rows."""

    @property
    def duplicates(self) -> int:
        """The number of rows that equal an earlier row."""
        return len(self.hashes) - len(self.hashes.unique())

    @property
    def twins(self) -> int:
        """The number of rows that equal another row."""
        counts = self.hashes.unique(return_counts=True)[1]
        return int(counts[counts > 1].sum())


def _survey(population: Population) -> Survey:
    """Read all rows once; each process reads a share of them."""
    parts = block_slices(population, SURVEY_BYTES)[ranks.rank() :: ranks.world_size()]
    own = []
    if parts:
        rows = sum(part.stop - part.start for part in parts)
        own = [_joined((_survey_block(population, part) for part in parts), rows)]
    surveys = (survey for everyones in ranks.gather_objects(own) for survey in everyones)
    return _joined(surveys, len(population))


def _joined(surveys: Iterable[Survey], rows: int) -> Survey:
    """Return the survey of all rows together; moments, each O(m^2), are added as they come."""
    norms = torch.empty(rows, dtype=torch.float64, device="cpu")
    hashes = torch.empty(rows, dtype=torch.int64, device="cpu")
    moments, fourth, start = None, 0.0, 0
    odd: tuple[list[int], list[int]] = [], []
    for each in surveys:
        part = slice(start, start := start + len(each.norms))
        # Kept as they are, small parts among large temporaries would pin the memory of these.
        norms[part], hashes[part] = each.norms, each.hashes
        moments = each.moments if moments is None else moments + each.moments
        fourth += each.fourth
        for numbers, found in zip(odd, (each.invalid, each.zero), strict=True):
            numbers += found.tolist()
    assert moments is not None
    invalid, zero = (torch.tensor(sorted(numbers), dtype=torch.int64, device="cpu") for numbers in odd)
    return Survey(moments.cpu(), norms, fourth, invalid, zero, hashes)


def _survey_block(population: Population, part: slice) -> Survey:
    rows = population.raw(part)
    norms = torch.linalg.vector_norm(rows, dim=1, dtype=sum_dtype(rows)).cpu().double()
    is_valid = rows.isfinite().all(1).cpu()
    measured = population.widened(rows)
    return Survey(
        moments=Moments.of(measured.masked_fill(~is_valid.to(measured.device).unsqueeze(1), 0)),
        norms=norms,
        fourth=float(len(rows) if population.normalize else norms.pow(4).sum()),
        invalid=(~is_valid).nonzero().squeeze(1) + part.start,
        zero=(is_valid & (norms == 0)).nonzero().squeeze(1) + part.start,
        hashes=_hashes(rows).cpu(),
    )


def _hashes(rows: Tensor) -> Tensor:
    """Return 64 bits a row: the sum of products of its numbers' bits with random odd numbers, modulo 2^64."""
    bits = (
        (rows + 0.0).view(torch.int32 if rows.dtype == torch.float32 else torch.int64).long()
    )  # -0.0 + 0.0 is 0.0
    # Round numbers end in zero bits, which a product keeps: the high bits are folded onto the low ones first.
    bits = bits * -7046029254386353131
    bits ^= bits >> 32
    odd = (
        torch.randint(
            -(2**62), 2**62, rows.shape[1:], generator=torch.Generator().manual_seed(0), device="cpu"
        )
        * 2
        + 1
    )
    return bits.mul_(odd.to(rows.device)).sum(1)
