"""The result of `drift`: the numbers of two samples of rows, which can be printed and kept as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_uniform._messages import counted
from align_uniform.measuring import notebook
from align_uniform.measuring.difference import Difference
from align_uniform.measuring.discrepancy import Discrepancy, WitnessRow
from align_uniform.measuring.measurement import SCHEMA_VERSION, Measurement
from align_uniform.measuring.plain import to_plain
from align_uniform.measuring.quantity import fixed, with_error
from align_uniform.measuring.row_files import save_arrays
from align_uniform.measuring.shapes import ShapeChange
from align_uniform.measuring.significance import text_of_p
from align_uniform.measuring.two_samples import PermutationTest

WIDEST_TEXT = 70
"""The number of letters of a row's text that are printed; the JSON has all."""


@dataclass(frozen=True)
class Drift:
    """The answer to "has my embedding moved?": the differences of two embeddings, and how sure they are.

    `print(drift)` shows a table, `moved` is the decision, and `to_json` keeps all of it except single rows.

    Example:
        >>> import torch
        >>> from align_uniform import drift
        >>> x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
        >>> found = drift(x, x + 0.1, paired=True)
        >>> print(found.verdict)
        it moved: p = 0.0050 is at most 0.05.
        >>> found.discrepancy.relative < 0.05
        True
    """

    names: tuple[str, str]
    """The names of both sides."""
    paired: bool
    """Whether row i of both sides is one item."""
    p: float
    """The probability of a difference at least as large if nothing moved: the p of `test`. Where numbers are
    rotation-invariant, it is that of the difference of uniformity, or with positives the smaller one of
    uniformity and alignment, doubled.
    """
    significance: float
    """The largest p that counts as moved."""
    tolerance: float
    """The largest relative squared MMD that is tolerated, however significant it is."""
    discrepancy: Discrepancy | None
    """The squared MMD of all rows; None where numbers are rotation-invariant."""
    mean_share: float | None
    """The share of the squared MMD that goes when both sides are centred on their own means, from 0 to 1. It
    is None if the difference is not significant, since the share of noise means nothing.
    """
    test: PermutationTest | None
    """The permutation test; None where numbers are rotation-invariant."""
    shape: ShapeChange
    """The changes that no rotation makes."""
    measurements: tuple[Measurement, Measurement]
    """The measurements of both sides."""
    difference: Difference
    """The uniformity and alignment of the second side less those of the first."""
    rotation_invariant: str | None
    """The reason why all numbers are rotation-invariant; None if rows of both sides were compared."""
    warnings: tuple[str, ...]
    """The reasons to doubt the answer, as sentences."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Method, seed and versions: all it takes to compare again."""

    @property
    def moved(self) -> bool:
        """Whether the difference is significant, and larger than what is tolerated."""
        is_tolerated = self.discrepancy is not None and self.discrepancy.relative <= self.tolerance
        return self.p <= self.significance and not is_tolerated

    @property
    def verdict(self) -> str:
        """The decision and its reason, as a sentence."""
        found = text_of_p(self.p)
        if self.p > self.significance:
            return f"no movement was found: {found} is above {self.significance:g}."
        if not self.moved and self.discrepancy is not None:
            return (
                f"it moved, {found}, by a relative squared MMD of {self.discrepancy.relative:.2g}, which is "
                f"within the tolerance of {self.tolerance:g}."
            )
        return f"it moved: {found} is at most {self.significance:g}."

    def __str__(self) -> str:
        """Return the table of all numbers, the verdict, and the rows that are most typical of either side."""
        lines = self.lines()
        widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
        table = [
            f"{label:<{widths[0]}}  {value:<{widths[1]}}  {note}".rstrip() for label, value, note in lines
        ]
        reason = [] if self.rotation_invariant is None else [f"{self.rotation_invariant}.", ""]
        parts = [self.heading, "", *table, "", *reason, self.verdict, *self._typical_lines()]
        return "\n".join([*parts, *(f"warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        """Return the table of all numbers and the verdict, as notebooks show them."""
        return notebook.drift_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything except numbers of single rows as dictionaries and lists, as JSON has them.

        A number that is not finite is None.
        """
        parts = {name: value for name, value in vars(self).items() if name != "measurements"}
        plain: dict[str, Any] = to_plain(parts) | {"moved": self.moved, "verdict": self.verdict}
        if self.discrepancy is not None:
            del plain["discrepancy"]["witness"]
        if self.test is not None:
            plain["test"]["effect"] = to_plain(self.test.effect)
        plain["difference"] = self.difference.to_dict()
        plain["measurements"] = [each.to_dict() for each in self.measurements]
        return {"schema_version": SCHEMA_VERSION} | plain

    def to_json(self) -> str:
        """Return `to_dict` as JSON; a number that is not finite is null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)

    def save_rows(self, path: Path) -> None:
        """Write the witness of each row to an .npz or .parquet file, as arrays `old` and `new`.

        Raises:
            ValueError: rows were not compared.
        """
        if self.discrepancy is None:
            raise ValueError(f"{path} would hold the witness of rows, but {self.rotation_invariant}.")
        old, new = self.discrepancy.witness
        save_arrays(path, {"old": old, "new": new})

    @property
    def heading(self) -> str:
        """The names of both sides, the numbers of rows and features, and the method."""
        old, new = self.measurements
        rows = counted(old.n, "row") if old.n == new.n else f"{old.n:,} and {counted(new.n, 'row')}"
        dims = (
            counted(old.dim, "feature")
            if old.dim == new.dim
            else f"{old.dim:,} and {counted(new.dim, 'feature')}"
        )
        pairs = "paired" if self.paired else "unpaired"
        return f"{self.names[0]} → {self.names[1]}: {rows} of {dims}, {pairs}, {self.provenance['method']}"

    def lines(self) -> list[tuple[str, str, str]]:
        """Return the label, the value and the note of every number that is printed."""
        return [*self._moves(), *self._changes()]

    def _moves(self) -> list[tuple[str, str, str]]:
        """Return the lines on the squared MMD: label, value and note."""
        if self.discrepancy is None or self.test is None:
            return []
        found, test = self.discrepancy, self.test
        t = self.measurements[0].uniform.t
        of = (
            ""
            if test.rows == tuple(each.n for each in self.measurements)
            else f" of {_counts(test.rows)} rows"
        )
        lines = [
            (
                "squared MMD",
                _small(found.squared_mmd, found.total_stderr),
                f"t = {t:g}; 0 on average if nothing moved",
            ),
            ("relative", f"{found.relative:.3g}", "0: nothing moved; 1: the sides have nothing in common"),
            (
                "permutation test",
                text_of_p(test.p),
                f"{counted(test.permutations, 'exchange')} of {test.exchanged}{of}",
            ),
            ("effect", f"{test.effect:.1f}", "squared MMD in its standard deviations over the exchanges"),
        ]
        if self.mean_share is not None:
            lines.append(
                (
                    "shift of the mean",
                    f"{self.mean_share:.0%}",
                    "share of the squared MMD that centring both sides removes",
                )
            )
        return lines

    def _changes(self) -> list[tuple[str, str, str]]:
        """Return the lines on changes that no rotation makes: label, value and note."""
        (old, new), change, shape = self.measurements, self.difference, self.shape
        error = f" ({'paired' if change.paired else 'unpaired'})"
        lines = [
            (
                "uniformity",
                f"{fixed(old.uniform.value)} → {fixed(new.uniform.value)}",
                f"change {with_error(change.uniform, change.uniform_stderr)}{error}",
            )
        ]
        if old.align is not None and new.align is not None and change.align is not None:
            lines.append(
                (
                    "alignment",
                    f"{fixed(old.align.value)} → {fixed(new.align.value)}",
                    f"change {with_error(change.align, change.align_stderr)}{error}",
                )
            )
        return [
            *lines,
            ("RankMe", f"{old.rankme:,.1f} → {new.rankme:,.1f}", "of at most " + _limits(old, new)),
            ("mean cosine", f"{fixed(old.mean_cosine)} → {fixed(new.mean_cosine)}", ""),
            ("cosines", fixed(shape.cosines, 4), f"moved by; {fixed(shape.cosines_floor, 4)} by chance"),
            (
                "spectrum",
                fixed(shape.spectrum, 4),
                f"moved share; {fixed(shape.spectrum_floor, 4)} by chance",
            ),
        ]

    def _typical_lines(self) -> list[str]:
        if self.discrepancy is None or self.p > self.significance:  # what is typical of noise is noise
            return []
        lines = []
        for name, other, rows in zip(self.names, reversed(self.names), self.discrepancy.typical, strict=True):
            if rows:
                lines += ["", f"most typical of {name} (mean potential with {name}, with {other}):"]
                lines += [_row_line(row) for row in rows]
        return lines


def _small(value: float, stderr: float) -> str:
    """Return a number with its error, with exponents where both would be written as zeros."""
    return with_error(value, stderr) if stderr >= 1e-6 else f"{value:.2e} ± {stderr:.1e}"


def _counts(rows: tuple[int, int]) -> str:
    return f"{rows[0]:,}" if rows[0] == rows[1] else f"{rows[0]:,} and {rows[1]:,}"


def _limits(old: Measurement, new: Measurement) -> str:
    limits = [f"{min(each.n, each.dim):,}" for each in (old, new)]
    return limits[0] if limits[0] == limits[1] else " and ".join(limits)


def _row_line(row: WitnessRow) -> str:
    text = "" if row.text is None else f"  {textwrap.shorten(row.text, WIDEST_TEXT, placeholder=' …')}"
    return f"  row {row.row:<8,} {row.own:.4f}  {row.other:.4f}{text}"
