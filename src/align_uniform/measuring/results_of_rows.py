"""The numbers that `measure` finds of rows and of single pairs, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class HubRow:
    """A row that is a neighbour of many others.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0)) + 1
        >>> hub = measure(x).hubs.top[0]
        >>> print(f"row {hub.row} is among the neighbours of {hub.occurrences:.0f} rows")
        row 130 is among the neighbours of 39 rows
    """

    view: int
    """The number of the view or tower, from 0."""
    row: int
    """The number of the row."""
    occurrences: float
    """The number of rows that have it among their 10 nearest; rows that tie for the last place share it."""


@dataclass(frozen=True)
class Hubs:
    """The unevenness with which rows are neighbours of others, among at most 2,000 random rows.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> hubs = measure(x).hubs
        >>> print(f"{hubs.antihubs:.1%} of {hubs.rows} rows are found by none; {hubs.largest}")
        0.0% of 200 rows are found by none; Row 82 is among those of 19 rows.
    """

    rows: int
    """The number of rows that were searched, each for its 10 nearest others among the same rows."""
    skewness: float
    """The skewness of the number of rows that a row is a neighbour of."""
    antihubs: float
    """The share of rows that are among the neighbours of no other row."""
    top: tuple[HubRow, ...] = ()
    """The rows that are neighbours of most others."""

    @property
    def largest(self) -> str:
        """The row that is a neighbour of most others, in a sentence; nothing where it is not known."""
        hubs = self.top[:1]
        return "".join(f"Row {hub.row:,} is among those of {hub.occurrences:,.0f} rows." for hub in hubs)


@dataclass(frozen=True)
class Duplicates:
    """The rows that occur more than once, counted in each view or tower by itself and added up.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> duplicates = measure(torch.cat([x, x[:3]])).duplicates
        >>> duplicates.exact, duplicates.near
        (3, 6)
    """

    exact: int
    """The number of rows that equal an earlier row."""
    near: int
    """The number of rows that have a cosine of at least `quantities_of_rows.NEAR_COSINE` with another row.

    It is estimated from the anchors under `method="anchors"`, and is at least the number of rows that equal
    another row. For rows that are not of unit norm it is that number.
    """
    near_growth: float | None = None
    """The number of pairs of rows within twice the angle of near duplicates, over the number within that
    angle, estimated from the pairs of up to 256 rows for each.

    It is about 1 where rows are duplicates, 2 on a smooth curve, and 4 on a smooth surface; None if no rows
    are near.
    """


@dataclass(frozen=True)
class Norms:
    """The norms of the rows as they were given.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> norms = measure(3 * x).norms
        >>> print(f"{norms.smallest:.1f} to {norms.largest:.1f}; normalised: {norms.normalized}")
        6.7 to 19.2; normalised: True
    """

    smallest: float
    """The smallest norm."""
    mean: float
    """The mean norm."""
    largest: float
    """The largest norm."""
    normalized: bool
    """Whether the rows were then divided by their norms."""
    median: float | None = None
    """The median norm."""
    largest_ratio: float | None = None
    """The largest norm over the median norm, of the view or tower in which it is largest."""
    measured: tuple[float, float] | None = None
    """The smallest and the largest norm of the rows as they were measured, perhaps less a mean; None if they
    were divided by their norms, or if an earlier version measured them.
    """

    @property
    def as_measured(self) -> tuple[float, float]:
        """The smallest and the largest norm of rows that were measured without normalisation."""
        return self.measured or (self.smallest, self.largest)

    @property
    def deviation(self) -> float | None:
        """The largest deviation of a measured norm from 1; None for rows divided by their norms."""
        return None if self.normalized else max(abs(norm - 1) for norm in self.as_measured)


@dataclass(frozen=True)
class PairDistance:
    """A positive pair and its distance.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> y = x.clone()
        >>> y[7] *= -1  # a wrong partner
        >>> worst = measure(x, y).worst_pairs[0]
        >>> worst.x, worst.y, round(worst.distance, 3)
        (7, 7, 2.0)
    """

    x: int
    """The number of the first row."""
    y: int
    """The number of the second row."""
    distance: float
    """The distance of the two rows."""


@dataclass(frozen=True)
class CrowdedRow:
    """A row with many others near it.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> x[:20] = x[0] + 0.1 * x[:20]  # a crowd
        >>> crowded = measure(x).crowded[0]
        >>> crowded.row < 20, crowded.neighbour < 20
        (True, True)
    """

    view: int
    """The number of the view or tower, from 0."""
    row: int
    """The number of the row."""
    mean_potential: float
    """The mean of exp(-t ||x_i - x_j||^2) over the other rows."""
    neighbour: int
    """The number of the nearest other row."""
    distance: float
    """The distance to that row."""


@dataclass(frozen=True)
class RowSample:
    """Random rows of a view or tower, and what is known of each.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> (sample,) = measure(x).details.samples
        >>> sample.total, sample.rows.shape
        (200, torch.Size([200, 16]))
        >>> int(sample.numbers[sample.potentials.argmax()])  # the most crowded row
        178
    """

    view: int
    """The number of the view or tower, from 0."""
    total: int
    """The number of rows that they were drawn from."""
    numbers: Tensor
    """The number of each row, [S]."""
    rows: Tensor
    """The rows as they were measured, [S, m]."""
    potentials: Tensor
    """The mean potential of each row with all others, [S]."""
    distances: Tensor | None
    """The mean distance of each row to its partners, [S], NaN without one; None without pairs."""
    classes: tuple[str, ...] | None
    """The label of each row; None without labels."""
