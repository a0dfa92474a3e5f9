"""Rows as they come, from memory or from a file, made into a population: read by blocks, checked once,
normalised.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform.functional import normalize_rows
from align_uniform.geometry import Moments
from align_uniform.measuring.row_sums import block_slices

SURVEY_BYTES = 2**22
"""Of a block of float32 rows in the first pass, which makes several wider copies of it."""


class Source(Protocol):
    """What rows are read from: a tensor, a numpy array, a `files.Rows`."""

    @property
    def shape(self) -> Sequence[int]:
        """N and m."""

    def __getitem__(self, part: slice, /) -> Any:
        """Rows, as a tensor or an array."""


class Population:
    """The rows of one view or one tower.

    Args:
        source: [N, m], real numbers of any width.
        name: for messages.
        normalize: divide rows by their norm.
        device: where rows are brought to.
        kept: indices, rising, of the rows that belong to the population; None for all.

    Raises:
        ValueError: a row has a NaN or an infinity, or no direction to normalise to.
    """

    def __init__(
        self, source: Source, name: str, *, normalize: bool, device: torch.device, kept: Tensor | None = None
    ) -> None:
        self.source, self.name, self.normalize, self.device, self.kept = source, name, normalize, device, kept
        self.shape = (source.shape[0] if kept is None else len(kept), int(source.shape[1]))
        self.survey = _survey(self)
        self._refuse(
            self.survey.invalid,
            "a NaN or an infinity",
            "leave them out, or find out why the encoder makes them",
        )
        if normalize:
            self._refuse(
                self.survey.zero,
                "norm 0, and so without a direction",
                "leave them out, or pass normalize=False",
            )
        self.centre = (self.survey.moments.sum / self.shape[0]).to(self.device, self[slice(0, 1)].dtype)
        self.diameter = 2 * (1.0 if normalize else self.survey.largest)

    def __getitem__(self, part: slice) -> Tensor:
        """Rows as they are measured."""
        rows = self.raw(part)
        return normalize_rows(rows) if self.normalize else rows

    def raw(self, part: slice) -> Tensor:
        """Rows as they came, in float32, or float64 if that is theirs."""
        if self.kept is None:
            rows = _tensor(self.source[part])
        else:
            indices = self.kept[part]
            first = int(indices[0])
            rows = _tensor(self.source[first : int(indices[-1]) + 1])[indices - first]
        return rows.to(self.device, torch.float64 if rows.dtype == torch.float64 else torch.float32)

    def number_of(self, rows: Tensor) -> Tensor:
        """What these rows are numbered in the source."""
        return rows if self.kept is None else self.kept[rows]

    @property
    def dtype_name(self) -> str:
        """The source's dtype."""
        return str(getattr(self.source, "dtype", "unknown")).removeprefix("torch.")

    def __len__(self) -> int:
        return self.shape[0]

    def _refuse(self, rows: Tensor, what: str, remedy: str) -> None:
        if len(rows):
            first = ", ".join(str(index) for index in self.number_of(rows)[:5].tolist()) + (
                ", ..." if len(rows) > 5 else ""
            )
            raise ValueError(
                f"{self.name} has {len(rows):,} of {self.shape[0]:,} rows with {what} (rows {first}); "
                f"{remedy}."
            )


def _tensor(rows: Any) -> Tensor:
    # An array may be a read-only view of a file, which torch does not like to share.
    return rows.detach() if isinstance(rows, Tensor) else torch.from_numpy(rows.copy())


@dataclass(frozen=True)
class Survey:
    """What one pass over rows, or over some of them, tells."""

    moments: Moments
    """of the rows as they are measured"""
    smallest: float
    """norm"""
    largest: float
    norms: float
    """their sum"""
    fourth: float
    """the sum of |x|^4 of the rows as they are measured"""
    invalid: Tensor
    """indices of rows with a NaN or an infinity"""
    zero: Tensor
    """indices of rows of norm 0"""
    hashes: Tensor
    """[N], int64: equal for equal rows"""

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            moments=self.moments + other.moments,
            smallest=min(self.smallest, other.smallest),
            largest=max(self.largest, other.largest),
            norms=self.norms + other.norms,
            fourth=self.fourth + other.fourth,
            invalid=torch.cat([self.invalid, other.invalid]).sort().values,
            zero=torch.cat([self.zero, other.zero]).sort().values,
            hashes=torch.cat([self.hashes, other.hashes]),
        )

    @property
    def duplicates(self) -> int:
        """How many rows equal an earlier one."""
        return len(self.hashes) - len(self.hashes.unique())


def _survey(population: Population) -> Survey:
    """Read all rows once, each process its share of them."""
    parts = block_slices(population, SURVEY_BYTES)[ranks.rank() :: ranks.world_size()]
    own = (
        [functools.reduce(operator.add, (_survey_block(population, part) for part in parts))] if parts else []
    )
    return functools.reduce(
        operator.add, (survey for everyones in ranks.gather_objects(own) for survey in everyones)
    )


def _survey_block(population: Population, part: slice) -> Survey:
    rows = population.raw(part)
    norms = torch.linalg.vector_norm(
        rows, dim=1, dtype=torch.float64 if rows.device.type != "mps" else None
    ).cpu()
    is_valid = rows.isfinite().all(1).cpu()
    measured = normalize_rows(rows) if population.normalize else rows
    return Survey(
        moments=Moments.of(measured.masked_fill(~is_valid.to(rows.device).unsqueeze(1), 0)),
        smallest=float(norms.min()),
        largest=float(norms.max()),
        norms=float(norms.sum()),
        fourth=float(len(rows) if population.normalize else norms.pow(4).sum()),
        invalid=(~is_valid).nonzero().squeeze(1) + part.start,
        zero=(is_valid & (norms == 0)).nonzero().squeeze(1) + part.start,
        hashes=_hashes(rows).cpu(),
    )


def _hashes(rows: Tensor) -> Tensor:
    """64 bits a row: a sum, over its numbers' bits, of products with random odd numbers, modulo 2^64."""
    bits = (
        (rows + 0.0).view(torch.int32 if rows.dtype == torch.float32 else torch.int64).long()
    )  # -0.0 + 0.0 is 0.0
    # Round numbers end in zero bits, which a product keeps: the high bits are folded onto the low ones first.
    bits = bits * -7046029254386353131
    bits ^= bits >> 32
    odd = torch.randint(-(2**62), 2**62, rows.shape[1:], generator=torch.Generator().manual_seed(0)) * 2 + 1
    return bits.mul_(odd.to(rows.device)).sum(1)
