"""A mask of the pairs of rows that do not count."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Mask(NamedTuple):
    """The pairs of rows and columns that do not count."""

    skip: int | None = None
    """The offset at which row i and column `skip + i` are the same row; None if no two are."""
    ids: Tensor | None = None
    """The ids of the rows, [..., N]. Pairs of one id do not count."""
    column_ids: Tensor | None = None
    """The ids of the columns, [..., M]."""

    def within(self) -> Mask:
        """Return the mask of one population, whose rows are its columns too."""
        return Mask(0, self.ids, self.ids)

    def exchanged(self) -> Mask:
        """Return the mask with rows and columns exchanged."""
        return Mask(None if self.skip is None else -self.skip, self.column_ids, self.ids)

    def flat(self) -> Mask:
        """Return the mask with one leading dimension."""
        ids, column_ids = (
            z if z is None else z.reshape(-1, z.shape[-1]) for z in (self.ids, self.column_ids)
        )
        return Mask(self.skip, ids, column_ids)

    def excluded(self, matrix: Tensor) -> Tensor | None:
        """Return the pairs of the matrix that do not count, as booleans; None if all count."""
        excluded = None
        if self.skip is not None:
            itself = torch.arange(matrix.shape[-2], device=matrix.device).unsqueeze(-1) + self.skip
            excluded = itself == torch.arange(matrix.shape[-1], device=matrix.device)
        if self.ids is not None and self.column_ids is not None:
            same = self.ids.unsqueeze(-1) == self.column_ids.unsqueeze(-2)
            excluded = same if excluded is None else excluded | same
        return excluded

    def apply_(self, matrix: Tensor) -> Tensor:
        """Set the exponents of pairs that do not count to -inf."""
        if self.ids is not None and self.column_ids is not None:
            matrix.masked_fill_(self.ids.unsqueeze(-1) == self.column_ids.unsqueeze(-2), -math.inf)
        if self.skip is not None and -matrix.shape[-2] < self.skip < matrix.shape[-1]:
            matrix.diagonal(self.skip, -2, -1).fill_(-math.inf)
        return matrix

    def part(self, rows: slice, columns: slice) -> Mask:
        """Return the mask of the tile of these rows and columns."""
        ids, column_ids = (
            z if z is None else z[..., part] for z, part in ((self.ids, rows), (self.column_ids, columns))
        )
        return Mask(None if self.skip is None else self.skip + rows.start - columns.start, ids, column_ids)


ALL_PAIRS = Mask()
"""The mask that leaves out nothing, except the pair of a row and itself within one population."""
