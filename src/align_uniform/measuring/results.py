"""The numbers that `measure` finds, as plain data."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from align_uniform.measuring.answers import Classes, Retrieval
from align_uniform.measuring.influence import Influence, stderr
from align_uniform.measuring.results_of_rows import (
    CrowdedRow,
    Duplicates,
    Hubs,
    Norms,
    PairDistance,
    RowSample,
)
from align_uniform.measuring.row_files import load_arrays, save_arrays

NORMAL_95 = 1.959963984540054
"""The 97.5% quantile of the normal distribution: the half width of a 95% interval, in standard errors."""


@dataclass(frozen=True)
class Alignment:
    """The distance of positive pairs, and how it compares with the distance of other pairs.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
        >>> align = measure(x, x + 0.5 * noise).align
        >>> print(f"{align.value:.3f} ± {align.stderr:.3f} over {align.pairs} pairs")
        0.232 ± 0.009 over 200 pairs
        >>> print(f"{align.relative:.3f} of the distance of other pairs")
        0.116 of the distance of other pairs
    """

    value: float
    """The mean of ||x - y||^alpha over pairs."""
    stderr: float | None
    """The standard error of `value`, the pairs being a sample; None for a single item."""
    relative: float | None
    """The mean squared distance of pairs, over the mean of all other pairs: 0 is perfect, 1 is chance."""
    alpha: float
    """The exponent of the distance."""
    pairs: int
    """The number of pairs."""
    of: str
    """The kind of the pairs: "two views", "pairs with score > 4", "same class", ..."""
    relative_stderr: float | None = None
    """The standard error of `relative`."""
    far: float | None = None
    """The share of pairs that are farther apart than half of all pairs of random rows; None for classes."""


@dataclass(frozen=True)
class Uniformity:
    """The distance of the features from the uniform distribution on the sphere, at one t.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> uniform = measure(x).uniform
        >>> print(f"{uniform.value:.3f} ± {uniform.total_stderr:.3f}, at best {uniform.optimum:.3f}")
        -3.506 ± 0.010, at best -3.513
        >>> low, high = uniform.interval
        >>> low < uniform.optimum < high
        True
    """

    t: float
    """The inverse squared width of the Gaussian."""
    value: float
    """The log of the mean of exp(-t ||x - y||^2) over distinct pairs; the mean of these values for several
    views.
    """
    stderr: float | None
    """The standard error of `value`, the rows being a sample of a population; None for fewer than 5 rows."""
    approximation_stderr: float
    """The standard error of `value` as an estimate of the exact value for these very rows; 0 if exact."""
    optimum: float
    """The value of the uniform distribution in as many dimensions."""
    gap: float
    """The value less the optimum."""
    z: float
    """exp(value) - exp(optimum), in standard deviations of that difference for independent uniform rows, or
    for as many views of them. It does not follow a normal distribution: see `sphere.null_z`.
    """
    squared_mmd: float
    """The squared maximum mean discrepancy to the uniform distribution, exp(value) - exp(optimum)."""
    equivalent_dim: float | None
    """The dimension whose uniform distribution has this value; None for values below -2t, which no dimension
    has.
    """
    equivalent_dim_stderr: float | None
    """The standard error of `equivalent_dim`."""
    by_population: tuple[float, ...]
    """The value of each view, or of each tower."""
    gap_stderr: float | None = None
    """The standard error of `gap`, which is that of `value`: `total_stderr`."""

    @property
    def total_stderr(self) -> float | None:
        """The standard error that combines `stderr` and `approximation_stderr`."""
        return None if self.stderr is None else math.hypot(self.stderr, self.approximation_stderr)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% confidence interval of the population's value."""
        error = self.total_stderr
        return None if error is None else (self.value - NORMAL_95 * error, self.value + NORMAL_95 * error)


@dataclass(frozen=True)
class Tolerance:
    """The mean cosine of rows of one class.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> classes = torch.arange(200) % 4
        >>> x[:, :4] += 3 * torch.eye(4)[classes]
        >>> tolerance = measure(x, labels=classes).tolerance
        >>> print(f"{tolerance.value:.2f}, over {tolerance.classes} classes")
        0.35, over 4 classes
        >>> tolerance.within_between < 1
        True
    """

    value: float
    """The mean over pairs of distinct rows of one class, all classes pooled."""
    stderr: float | None
    """The standard error of `value`, conditional on the classes."""
    classes: int
    """The number of classes with at least two rows."""
    skipped: int
    """The number of classes of a single row, which have no pair."""
    z: float | None = None
    """The value less its mean over permuted labels, in standard deviations over permuted labels.

    With groups, each of one class, it is that of the mean directions of groups, whose labels are permuted.
    None for rows that were not normalised, of one class, or that depend on each other otherwise. See
    `geometry.permuted_tolerance`.
    """
    explained: float | None = None
    """The share of the variance of the rows that the classes explain, adjusted for chance: see
    `geometry.explained_variance`.
    """
    within_between: float | None = None
    """The mean squared distance of rows of one class, over that of rows of different classes."""
    within_between_stderr: float | None = None
    """The standard error of `within_between`, conditional on the classes."""


@dataclass(frozen=True)
class Towers:
    """Two populations of different kinds, and their position relative to each other.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> users = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> towers = measure(users, users + 2, pairs=[[row, row] for row in range(200)]).towers
        >>> print(f"the means are {towers.modality_gap:.2f} apart, {towers.modality_gap_floor:.2f} by chance")
        the means are 0.91 apart, 0.04 by chance
    """

    rows: tuple[int, int]
    """The number of distinct entities of each tower."""
    modality_gap: float
    """The distance of the means, || mean x - mean y ||."""
    cross_uniform: float
    """The log of the mean of exp(-t ||x - y||^2) over all x and y, at the first t."""
    modality_gap_stderr: float | None = None
    """The standard error of `modality_gap`."""
    modality_gap_floor: float | None = None
    """The `modality_gap` that sampling alone gives to as many rows of two towers with one mean, about."""
    cross_uniform_stderr: float | None = None
    """The standard error of `cross_uniform`."""
    distribution_gap: float | None = None
    """The squared maximum mean discrepancy of the towers without their means, over the sum of the mean
    potentials within either: see `between_towers`. It is 0 for one distribution, up to noise that may be
    negative, and 1 where no row of one tower is near a row of the other.
    """
    distribution_gap_null: float | None = None
    """The standard deviation of `distribution_gap` for as many rows of two towers of one distribution."""
    distribution_gap_rows: int | None = None
    """The number of rows of each tower that `distribution_gap` is of, at most."""
    query_distance: float | None = None
    """The mean distance of a query, a row of the first tower, to the nearest row of the corpus, the other."""
    query_distance_stderr: float | None = None
    """The standard error of `query_distance`, for this corpus."""
    corpus_distance: float | None = None
    """The mean distance of a row of the second tower, the corpus, to the nearest other row of it."""
    corpus_distance_stderr: float | None = None
    """The standard error of `corpus_distance`."""


@dataclass(frozen=True)
class Details:
    """One number for each pair, row or dimension of a measurement.

    Details are not part of the JSON; `save` and `load` keep them in a file of their own.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
        >>> details = measure(x, x + 0.5 * noise).details
        >>> details.distances.argmax()  # the pair that is farthest apart
        tensor(59)
        >>> [means.shape for means in details.row_means], details.spectrum.shape
        ([torch.Size([200]), torch.Size([200])], torch.Size([16]))
    """

    distances: Tensor | None
    """The distance of every positive pair, [P]."""
    influences: Mapping[str, Influence]
    """The influence of each unit on a number, by the key of the number: see `influence`. Differences of two
    measurements of the same units have their errors from these.
    """
    row_means: tuple[Tensor, ...]
    """The mean potential of each row with all others at the first t, [N] for each view or tower.

    Under `method="anchors"` the rows are the anchors.
    """
    cosines: Tensor
    """The cosines of about 100,000 distinct pairs of rows, drawn at random from every view or tower; of all
    pairs of few rows. Pairs of one group are left out.
    """
    spectrum: Tensor
    """The eigenvalues of the covariance, [m], the largest first, averaged over the views or towers."""
    row_numbers: tuple[Tensor | None, ...] = ()
    """The numbers of the rows that `row_means` are of, for each view or tower; None for all rows in order."""
    samples: tuple[RowSample, ...] = ()
    """Random rows with their features, of the first view or of both towers; `save` leaves them out."""

    def save(self, path: Path) -> None:
        """Write the details to an .npz file, or to a .parquet file of a column for each array."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        arrays |= {f"row_means_{number}": value for number, value in enumerate(self.row_means)}
        numbers = enumerate(self.row_numbers)
        arrays |= {f"row_numbers_{number}": value for number, value in numbers if value is not None}
        for key, influence in self.influences.items():
            arrays |= {f"influence {key} {part}": value for part, value in influence.arrays().items()}
        save_arrays(path, arrays)

    def are_of(self, results: Results) -> bool:
        """Return whether these are the details of a measurement: their errors are those that it states."""
        stated = {"uniform": results.uniform.stderr}
        if results.align is not None:
            stated["align"] = results.align.stderr
        return all(
            (found := stderr(self.influences.get(key))) == error
            or (found is not None and error is not None and math.isclose(found, error, rel_tol=1e-6))
            for key, error in stated.items()
        )

    @classmethod
    def load(cls, path: Path) -> Details:
        """Read a file that `save` wrote."""
        try:
            arrays = load_arrays(path)
            means = tuple(
                arrays.pop(f"row_means_{number}")
                for number in range(sum("row_means" in name for name in arrays))
            )
            numbers = tuple(arrays.pop(f"row_numbers_{number}", None) for number in range(len(means)))
            return cls(
                distances=arrays.get("distances"),
                influences=_influences(arrays),
                row_means=means,
                cosines=arrays["cosines"],
                spectrum=arrays["spectrum"],
                row_numbers=numbers,
            )
        except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} must hold the rows of a measurement, as `measure --rows-out` writes them, but it "
                "does not; measure again with --rows-out."
            ) from error


def _influences(arrays: Mapping[str, Tensor]) -> dict[str, Influence]:
    """Return the influences among the arrays of a file, by the keys of their numbers."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in arrays.items():
        if name.startswith("influence "):
            _, key, part = name.split(" ")
            parts.setdefault(key, {})[part] = value
    return {key: Influence.from_arrays(found) for key, found in parts.items()}


@dataclass(frozen=True)
class Items:
    """The items of a measurement and their order, as far as they are known.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> measure(x).items.of, measure(x, items=[f"text {row}" for row in range(200)]).items.of
        ('unknown', 'items')
        >>> measure(x, groups=[row // 2 for row in range(200)]).items.groups[:7]
        'sha256:'
    """

    order: str | None
    """A hash of the names of all items in their order; None if the names are not known."""
    of: str
    """The names that the hash is of: "items", "ids", "labels", "unknown"."""
    groups: str | None = None
    """A hash of which rows are of one group, or have one id; None if no two are, and in older files."""


@dataclass(frozen=True)
class Centered:
    """The numbers of the rows less their mean, divided by their norms again, where rows form a cone.

    The mean is that of each view or tower. Uniformity rests on the pairs of at most 2,000 rows with all
    others.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0)) + 1  # a cone
        >>> found = measure(x)
        >>> found.uniform.gap > 1, abs(found.centered.uniform.gap) < 0.1
        (True, True)
    """

    align: Alignment | None
    """The alignment of positive pairs; None for features alone."""
    uniform: Uniformity
    """The uniformity at the first t."""
    retrieval: Retrieval | None = None
    """The search for the partners of pairs; None without pairs."""


@dataclass(frozen=True)
class Results:
    """All numbers of a measurement.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> found = measure(x, t=[2, 1])
        >>> found.n, found.dim, [uniform.t for uniform in found.uniforms]
        (200, 16, [2.0, 1.0])
        >>> print(f"RankMe {found.rankme:.1f}; uniform rows would have {found.rankme_uniform:.1f}")
        RankMe 15.8; uniform rows would have 15.8
    """

    name: str
    """The name of the embedding."""
    n: int
    """The number of items: the rows of one view, or the entities of the first tower."""
    dim: int
    """The number of features."""
    align: Alignment | None
    """The alignment of positive pairs; None for features alone."""
    uniform: Uniformity
    """The uniformity at the first t."""
    uniforms: tuple[Uniformity, ...]
    """The uniformity at every t, the first included."""
    rankme: float
    """The number of dimensions in use: see `geometry.rankme`."""
    w2: float
    """The Wasserstein distance to the uniform distribution: see `geometry.w2_uniformity`."""
    w2_floor: float
    """The expected `w2` of as many uniform rows: see `geometry.w2_floor`."""
    participation_ratio: float
    """The number of dimensions that carry most of the variance: see `geometry.participation_ratio`."""
    mean_cosine: float
    """The mean cosine of two distinct rows."""
    tolerance: Tolerance | None
    """The mean cosine within classes; None without labels."""
    towers: Towers | None
    """The measures between two towers; None for anything else."""
    duplicates: Duplicates
    """The rows that occur more than once."""
    norms: Norms
    """The norms of the rows as they were given."""
    worst_pairs: tuple[PairDistance, ...]
    """The positive pairs that are farthest apart, the farthest first."""
    crowded: tuple[CrowdedRow, ...]
    """The rows with the largest mean potential, the most crowded first."""
    warnings: tuple[str, ...]
    """The reasons to doubt a number, as sentences."""
    provenance: Mapping[str, Any]
    """Method, sources, versions, device and seconds: all it takes to measure again."""
    largest_share: float | None = None
    """The share of the variance in the direction that has most of it, averaged over the views or towers."""
    hubs: Hubs | None = None
    """The unevenness with which rows are neighbours of others; None for 10 rows or fewer."""
    centered: Centered | None = None
    """The numbers of the centred rows; None unless the rows form a cone: see `heuristics.is_cone`."""
    mean_cosine_stderr: float | None = None
    """The standard error of `mean_cosine`."""
    rankme_uniform: float | None = None
    """The expected `rankme` of as many uniform rows: see `geometry.rankme_of_uniform`."""
    participation_ratio_uniform: float | None = None
    """The expected `participation_ratio` of as many uniform rows: see
    `geometry.participation_ratio_of_uniform`.
    """
    isoscore: float | None = None
    """The share of the dimensions that are used evenly: see `geometry.isoscore`; None for one feature."""
    isoscore_uniform: float | None = None
    """The `isoscore` of as many uniform rows, about."""
    retrieval: Retrieval | None = None
    """The search for the partners of pairs; None without pairs."""
    classes: Classes | None = None
    """The classes of the nearest rows, and a table of the classes; None without labels."""
    items: Items = Items(None, "unknown")
    """The items that were measured, by which measurements of the same items are known."""
    details: Details | None = field(default=None, repr=False, compare=False)
    """One number for each pair, row or dimension; None after `from_json`."""
