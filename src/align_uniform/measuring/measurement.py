"""What `measure` finds: numbers with their errors, printed, compared, and kept as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_uniform._writing import written_whole

SCHEMA_VERSION = 1
"""Of the JSON; a change of meaning or a removed field raises it, a new field does not."""

NORMAL_95 = 1.959963984540054
"""The 97.5% quantile of the normal law: an estimate plus and minus so many standard errors is a 95% interval.
"""


@dataclass(frozen=True)
class Alignment:
    """How far apart positive pairs are, and how that compares with other pairs."""

    value: float
    """mean over pairs of ||x - y||^alpha; the rows of one item, or of one group, count as one"""
    stderr: float | None
    """of the pairs as a sample; None for a single item"""
    relative: float | None
    """mean squared distance of the pairs over that of rows that are no pair: 0 is perfect, 1 is no better
    than chance
    """
    alpha: float
    pairs: int
    of: str
    """what a pair is: "two views", "pairs with score > 4", "same class", ..."""
    relative_stderr: float | None = None
    """of `relative`, from the pairs alone: the mean over other rows is of so many more that its error is
    small beside it
    """


@dataclass(frozen=True)
class Uniformity:
    """How far the features are from the uniform distribution on the sphere, at one t."""

    t: float
    value: float
    """log mean over distinct pairs of exp(-t ||x - y||^2); of several views, the mean of their values"""
    stderr: float | None
    """of the rows as a sample of their population; None for fewer than 5 rows"""
    approximation_stderr: float
    """of the value as an estimate of the exact one for these very rows; 0 if it is exact"""
    optimum: float
    """of the uniform distribution in as many dimensions"""
    gap: float
    """value - optimum"""
    z: float
    """(exp(value) - exp(optimum)) over its deviation if the rows were independent and uniform; no normal law,
    see null_z
    """
    squared_mmd: float
    """exp(value) - exp(optimum): squared maximum mean discrepancy to the uniform law, unbiased"""
    equivalent_dim: float | None
    """the dimension whose uniform distribution has this value; None below -2t, where there is none"""
    equivalent_dim_stderr: float | None
    by_population: tuple[float, ...]
    """the value of each view, or of each tower"""

    @property
    def total_stderr(self) -> float | None:
        """Both errors together."""
        return None if self.stderr is None else math.hypot(self.stderr, self.approximation_stderr)

    @property
    def interval(self) -> tuple[float, float] | None:
        """A 95% interval for the population's value."""
        error = self.total_stderr
        return None if error is None else (self.value - NORMAL_95 * error, self.value + NORMAL_95 * error)


@dataclass(frozen=True)
class Tolerance:
    """The mean cosine of rows of one class."""

    value: float
    stderr: float | None
    """conditional on the classes"""
    classes: int
    """that have at least two rows"""
    skipped: int
    """classes of a single row"""


@dataclass(frozen=True)
class Towers:
    """Two populations of different kinds, and how they lie to each other."""

    rows: tuple[int, int]
    """distinct entities of each tower"""
    modality_gap: float
    """|| mean x - mean y ||"""
    cross_uniform: float
    """log mean over all x and y of exp(-t ||x - y||^2), at the first t"""


@dataclass(frozen=True)
class Duplicates:
    """Rows that are there more than once, in all views or towers together, each looked at by itself."""

    exact: int
    """rows that equal an earlier row"""
    near: int
    """rows with another row within `NEAR_COSINE`; estimated from the anchors if the method is that"""


@dataclass(frozen=True)
class Norms:
    """The norms of the rows as they came."""

    smallest: float
    mean: float
    largest: float
    normalized: bool
    """whether the rows were divided by them"""


@dataclass(frozen=True)
class PairDistance:
    """A positive pair."""

    x: int
    y: int
    distance: float


@dataclass(frozen=True)
class CrowdedRow:
    """A row with many near."""

    view: int
    row: int
    mean_potential: float
    """mean over the other rows of exp(-t ||x_i - x_j||^2)"""
    neighbour: int
    """the row that is nearest"""
    distance: float
    """to it"""


@dataclass(frozen=True)
class Details:
    """What a measurement is made of, a number per pair, row or dimension. Not part of the JSON; `save_rows`
    keeps it.
    """

    distances: Tensor | None
    """[P]: of every positive pair"""
    align: Tensor | None
    """[items]: ||x - y||^alpha, averaged over the pairs of an item or group"""
    uniform: Tensor | None
    """[items]: mean potential of a row over the mean of all, averaged over the rows of an item or group; None
    for towers
    """
    row_means: tuple[Tensor, ...]
    """[N] for each view or tower: mean potential of a row with all others, at the first t; of the anchors if
    it is those
    """
    cosines: Tensor
    """of up to 100,000 distinct pairs of rows, drawn at random"""
    spectrum: Tensor
    """[m]: eigenvalues of the covariance, the largest first"""

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        import numpy as np

        arrays = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        arrays |= {f"row_means_{number}": value for number, value in enumerate(self.row_means)}
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **{name: value.numpy() for name, value in arrays.items()})

    @classmethod
    def load(cls, path: Path) -> Details:
        """Read what `save` wrote."""
        import numpy as np

        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: torch.from_numpy(file[name]) for name in file.files}
            means = tuple(
                arrays.pop(f"row_means_{number}")
                for number in range(sum("row_means" in name for name in arrays))
            )
            optional = {name: arrays.pop(name, None) for name in ("distances", "align", "uniform")}
            return cls(**optional, **arrays, row_means=means)  # type: ignore[arg-type]  # what is missing is a TypeError
        except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} must hold the rows of a measurement, as --rows-out writes them; it does not."
            ) from error


@dataclass(frozen=True)
class Measurement:
    """Alignment and uniformity of an embedding, and the measures that explain them.

    `print(measurement)` shows a table, `a - b` compares two, `to_json` and `from_json` keep one.
    """

    name: str
    n: int
    """items: rows of one view, pairs or entities"""
    dim: int
    align: Alignment | None
    """None for features alone"""
    uniform: Uniformity
    """at the first t"""
    uniforms: tuple[Uniformity, ...]
    """at every t, the first included"""
    rankme: float
    w2: float
    w2_floor: float
    participation_ratio: float
    mean_cosine: float
    tolerance: Tolerance | None
    towers: Towers | None
    duplicates: Duplicates
    norms: Norms
    worst_pairs: tuple[PairDistance, ...]
    """the farthest first"""
    crowded: tuple[CrowdedRow, ...]
    """the most crowded first"""
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]
    """method, sources, versions, device, seconds: what it takes to measure again"""
    details: Details | None = field(default=None, repr=False, compare=False)

    def __sub__(self, other: Measurement) -> Difference:
        """Compare with another: paired, row by row, where both hold the same rows exactly, else unpaired."""
        return Difference.between(self, other)

    def __str__(self) -> str:
        return "\n".join(
            [self._heading(), "", *self._lines(), *(f"warning: {warning}" for warning in self.warnings)]
        )

    def _heading(self) -> str:
        method = self.provenance.get("method", "exact")
        return f"{self.name}: {self.n:,} rows of {self.dim:,} features, {method}"

    def _lines(self) -> list[str]:
        """The two quantities first; the rest explains them."""
        rows: list[tuple[str, str, str]] = []
        if self.align is not None:
            chance = ""
            if self.align.relative is not None:
                chance = (
                    f"; relative {with_error(self.align.relative, self.align.relative_stderr)}, "
                    "where 1 is chance"
                )
            rows.append(
                (
                    "alignment",
                    with_error(self.align.value, self.align.stderr),
                    f"α = {self.align.alpha:g}, {self.align.of}{chance}",
                )
            )
        for uniform in self.uniforms:
            dimensions = (
                ""
                if uniform.equivalent_dim is None
                else f"; as even as in {uniform.equivalent_dim:.3g} dimensions"
            )
            side = "above" if uniform.gap >= 0 else "below"
            note = (
                f"t = {uniform.t:g}, {abs(uniform.gap):.3f} {side} "
                f"the optimum {uniform.optimum:.3f}{dimensions}"
            )
            rows.append(("uniformity", with_error(uniform.value, uniform.total_stderr), note))
        rows.append(("RankMe", f"{self.rankme:.1f}", f"of at most {min(self.n, self.dim):,}"))
        rows.append(
            ("W2 to uniform", f"{self.w2:.3f}", f"about {self.w2_floor:.3f} for so many uniform rows")
        )
        rows.append(("mean cosine", fixed(self.mean_cosine), "0 for rows centred on the sphere"))
        if self.tolerance is not None:
            rows.append(
                (
                    "tolerance",
                    with_error(self.tolerance.value, self.tolerance.stderr),
                    "mean cosine within a class",
                )
            )
        if self.towers is not None:
            rows.append(
                ("modality gap", f"{self.towers.modality_gap:.3f}", "between the means of the towers")
            )
            rows.append(
                (
                    "cross-uniformity",
                    f"{self.towers.cross_uniform:.3f}",
                    f"t = {self.uniform.t:g}, between the towers",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return [f"{label:<{widths[0]}}  {value:<{widths[1]}}  {note}" for label, value, note in rows]

    def to_json(self) -> str:
        """Everything but the details, as JSON; a number that is not finite is null."""
        parts = {name: value for name, value in vars(self).items() if name != "details"}
        return json.dumps(
            {"schema_version": SCHEMA_VERSION} | _plain(parts), indent=2, allow_nan=False, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str, source: str = "the text") -> Measurement:
        """Read what `to_json` wrote."""
        try:
            parts = json.loads(text)
            version = parts.pop("schema_version")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{source} must be the JSON of a measurement, as `measure --json` prints it; it is not."
            ) from error
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{source} has schema version {version}, this program reads {SCHEMA_VERSION}; measure again."
            )
        try:
            return cls(**{name: _revive(name, value) for name, value in parts.items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{source} lacks a field of a measurement, or holds one too many; measure again."
            ) from error


@dataclass(frozen=True)
class Difference:
    """The first measurement less the second."""

    names: tuple[str, str]
    align: float | None
    align_stderr: float | None
    uniform: float
    uniform_stderr: float | None
    paired: bool
    """whether the errors were taken row by row, which needs the details of both, exact and of the same items
    """

    @classmethod
    def between(cls, a: Measurement, b: Measurement) -> Difference:
        """Subtract; both must be at the same t and, if both have an alignment, the same alpha."""
        if a.uniform.t != b.uniform.t:
            raise ValueError(
                f"both must be measured at one t, got {a.uniform.t:g} and {b.uniform.t:g}; measure one again."
            )
        if a.align and b.align and a.align.alpha != b.align.alpha:
            raise ValueError(
                f"both must have one alpha, got {a.align.alpha:g} and {b.align.alpha:g}; measure one again."
            )
        aligned = a.align is not None and b.align is not None
        pair = _paired_errors(a, b)
        if pair is None:
            align_stderr = _unpaired_error(*(part.align.stderr if part.align else None for part in (a, b)))
            uniform_stderr = _unpaired_error(a.uniform.total_stderr, b.uniform.total_stderr)
        else:
            align_stderr, uniform_stderr = pair
        return cls(
            names=(a.name, b.name),
            align=a.align.value - b.align.value if a.align and b.align else None,
            align_stderr=align_stderr if aligned else None,
            uniform=a.uniform.value - b.uniform.value,
            uniform_stderr=uniform_stderr,
            paired=pair is not None,
        )

    def __str__(self) -> str:
        heading = f"{self.names[0]} − {self.names[1]} ({'paired' if self.paired else 'unpaired'})"
        lines = [heading]
        if self.align is not None:
            lines.append(f"{'alignment':<17}{with_error(self.align, self.align_stderr)}")
        lines.append(f"{'uniformity':<17}{with_error(self.uniform, self.uniform_stderr)}")
        return "\n".join(lines)


def _paired_errors(a: Measurement, b: Measurement) -> tuple[float | None, float] | None:
    """Standard errors of the differences from the items' own differences; None where items cannot be matched.

    The influence of item i on L_U is 2 (h_i / U - 1) / n. Near the optimum the noise in h_i makes this error
    too wide, by up to the square root of 2; the correction for one measurement has no counterpart for two.
    """
    if (
        a.details is None
        or b.details is None
        or a.uniform.approximation_stderr
        or b.uniform.approximation_stderr
    ):
        return None
    rows = a.details.uniform, b.details.uniform
    if rows[0] is None or rows[1] is None or rows[0].shape != rows[1].shape or len(rows[0]) < 2:
        return None
    uniform = 2 * standard_error(rows[0] - rows[1])
    align = None
    if a.details.align is not None and b.details.align is not None:
        if a.details.align.shape != b.details.align.shape:
            return None
        align = standard_error(a.details.align - b.details.align)
    return align, uniform


def standard_error(values: Tensor) -> float:
    """Of the mean of at least two values."""
    return float(values.std()) / math.sqrt(len(values))


def _unpaired_error(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else math.hypot(a, b)


def with_error(value: float, stderr: float | None) -> str:
    """`-2.927 ± 0.021`: two digits of the error, and as many decimals of the value."""
    if stderr is None or not math.isfinite(stderr):
        return fixed(value)
    digits = 3 if stderr == 0 else min(7, max(0, 1 - math.floor(math.log10(stderr))))
    return f"{fixed(value, digits)} ± {stderr:.{digits}f}"


def fixed(value: float, digits: int = 3) -> str:
    """So many decimals, and no minus before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


_PARTS: dict[str, type] = {
    "align": Alignment,
    "uniform": Uniformity,
    "uniforms": Uniformity,
    "tolerance": Tolerance,
    "towers": Towers,
    "duplicates": Duplicates,
    "norms": Norms,
    "worst_pairs": PairDistance,
    "crowded": CrowdedRow,
}


def _plain(value: Any) -> Any:
    """Dataclasses to dicts, tuples to lists, what is not finite to None."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _revive(name: str, value: Any) -> Any:
    """The field of a Measurement from its JSON."""
    if isinstance(value, list):
        return tuple(_revive(name, part) for part in value)
    if isinstance(value, dict) and name in _PARTS:
        return _PARTS[name](
            **{key: tuple(part) if isinstance(part, list) else part for key, part in value.items()}
        )
    return value
