"""The result of `measure`: numbers with their errors, which can be printed, subtracted and kept as JSON."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from align_uniform._extras import require
from align_uniform._messages import counted, side_by_side
from align_uniform.measuring import notebook, quantities, reference_points, verdict
from align_uniform.measuring.difference import Difference, difference
from align_uniform.measuring.fitness import Fitness, fitness
from align_uniform.measuring.heuristic import Finding
from align_uniform.measuring.plain import from_plain, to_plain
from align_uniform.measuring.prefix_result import Prefix, scalars_of, table, table_of_changes
from align_uniform.measuring.reference_points import Kind, Place
from align_uniform.measuring.results import Results

SCHEMA_VERSION = 2
"""The version of the JSON. A changed meaning or a removed field raises it, a new field does not."""

NARROWEST = 16
"""The least columns in which a note is folded."""

CENTERS = {"own means": "the mean", "given": "a given mean"}
"""The words for what was subtracted from all rows, by its name in provenance; a file is its own."""

READABLE = (1, SCHEMA_VERSION)
"""The versions that `Measurement.from_json` reads: every one that there ever was."""


@dataclass(frozen=True)
class Measurement(Results):
    """Alignment and uniformity of an embedding, and the measures that explain them.

    `print(measurement)` shows a table, `a - b` compares two measurements, `scalars` returns the numbers
    alone, and `to_json` and `from_json` keep a measurement.

    Example:
        >>> import torch
        >>> from align_uniform import Measurement, measure
        >>> found = measure(torch.eye(8), name="corners")
        >>> round(found.uniform.value, 3), found.dim, found.align is None
        (-4.0, 8, True)
        >>> Measurement.from_json(found.to_json()).uniform == found.uniform
        True
    """

    prefixes: Mapping[int, Prefix] = field(default_factory=dict)
    """The numbers of the first features of each row, by their number, with all features last; empty unless
    `dims` were asked for.
    """

    def __sub__(self, other: Measurement) -> Difference:
        """Compare with another measurement, item by item where both are known to be of the same items."""
        return self.difference(other)

    def difference(self, other: Measurement, *, paired: bool | None = None) -> Difference:
        """Subtract another measurement, as `a - b` does.

        Args:
            other: the measurement to subtract.
            paired: True to insist that both are of the same items in the same order, which makes the errors
                much smaller; False for the errors of two independent samples; None to compute them item by
                item where `items` says that both are of the same.

        Raises:
            ValueError: the two have different t or alpha, or `paired` is True and the numbers of each item
                are not at hand, not exact, or of different items or groups.

        Example:
            >>> import torch
            >>> from align_uniform import measure
            >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) + 1
            >>> a, b = measure(x), measure(0.9 * x + 0.1 * x.roll(1, 1))
            >>> apart, paired = a - b, a.difference(b, paired=True)
            >>> apart.paired, paired.uniform_stderr < apart.uniform_stderr / 2
            (False, True)
        """
        return difference(self, other, paired=paired)

    def __str__(self) -> str:
        """Return the table of the main numbers, alignment and uniformity first, and the verdict in a line."""
        warnings = [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(
            [
                self.heading,
                "",
                *self.table_lines(),
                *self.prefix_lines(),
                *warnings,
                "",
                verdict.headline(self.findings),
            ]
        )

    @property
    def heading(self) -> str:
        """The name, the numbers of rows and features, the method, and whether a mean was subtracted."""
        method = self.provenance.get("method", "exact")
        if (center := self.provenance.get("center")) is not None:
            method = f"{method}, less {CENTERS.get(center, center)}"
        return f"{self.name}: {counted(self.n, 'row')} of {counted(self.dim, 'feature')}, {method}"

    def table_lines(self, width: int | None = None) -> list[str]:
        """Return the lines of the table of the main numbers.

        Args:
            width: the columns of the screen, by which notes are folded below each other; None for lines of
                any length.
        """
        rows = [
            (record.label, record.text(part), record.remark(part))
            for _, part, records in quantities.groups(self, "table")
            for record in records
        ]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        heads = [f"{label:<{widths[0]}}  {value:<{widths[1]}}  " for label, value, _ in rows]
        return [
            head + _folded(note, len(head), width) for head, (_, _, note) in zip(heads, rows, strict=True)
        ]

    def prefix_lines(self, width: int = 80) -> list[str]:
        """Return the lines of the tables of first features, after an empty line; none without `dims`.

        Args:
            width: the columns of the screen; those of a table that do not fit come below the others.
        """
        if not self.prefixes:
            return []
        again = ", normalised again" if self.norms.normalized else ""
        lines = ["", f"first features of each row{again}", side_by_side(table(self.prefixes), width)]
        if changes := table_of_changes(self.prefixes):
            lines += ["", f"less those of all {counted(self.dim, 'feature')}", side_by_side(changes, width)]
        return "\n".join(lines).split("\n")

    def scalars(self, prefix: str = "") -> dict[str, float]:
        """Return all numbers and their standard errors in a flat dictionary, as loggers take them.

        A key is the path of its number in the JSON of the measurement, as in "uniform.gap". "align",
        "uniform" and "tolerance" stand for the `value` at that path, and "uniforms.1" is the uniformity at
        the second t. "prefixes.64.uniform.gap" is the gap of the first 64 features. Numbers that were not
        measured are left out.

        Args:
            prefix: a text to put before every key, such as "val/".

        Example:
            >>> import torch
            >>> from align_uniform import measure
            >>> numbers = measure(torch.eye(8)).scalars("val/")
            >>> round(numbers["val/uniform"], 3), numbers["val/rankme"] > 7
            (-4.0, True)
        """
        found = quantities.scalars(self, prefix)
        for dim, part in self.prefixes.items():
            found |= scalars_of(part, f"{prefix}prefixes.{dim}.")
        return found

    def places(self, kind: Kind | None = None) -> tuple[Place, ...]:
        """Return where the numbers that can be compared lie among those of known encoders.

        Args:
            kind: "sentences" or "images": the kind of the encoders to compare with. Default: the kind that
                `measure` was told, or else encoders of all kinds.

        Example:
            >>> import torch
            >>> from align_uniform import measure
            >>> rows = torch.randn(256, 32, generator=torch.Generator().manual_seed(0))
            >>> print(measure(rows + 2).places("images")[0])
            gap 3.0: between pixels of digits (2.5) and AugNet (3.1)
        """
        return reference_points.places(self, kind)

    @property
    def fitness(self) -> Fitness:
        """The answer to "is it fit for search?", with the reasons. See `fitness.fitness`."""
        return fitness(self, self.findings)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of the verdict, the worst first; often there are none. See `verdict.findings`."""
        return verdict.findings(self)

    def _repr_html_(self) -> str:
        """Return the verdict and the table of the main numbers, as notebooks show them."""
        return notebook.measurement_html(self)

    def report(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the report, one HTML page with the verdict, all numbers, figures, and the rows to look at.

        Args:
            path: the file to write.
            **options: `texts`, `images`, `map`, `force` and others, as `align_uniform.report.write_report`
                takes them.

        Returns:
            The path of the page.

        Raises:
            ModuleNotFoundError: a library of the extra `report` is missing.
            ValueError: the file exists and `force` is not given, or `write_report` refuses an option.

        Example:
            >>> import tempfile, torch
            >>> from align_uniform import measure
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     page = measure(torch.eye(8)).report(f"{folder}/report.html")
            ...     page.read_text(encoding="utf-8")[:15].lower()
            '<!doctype html>'
        """
        require("report")
        import_module("align_uniform.report").write_report(Path(path), self, **options)
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the details as dictionaries and lists, with the findings.

        A number that is not finite is None. The JSON Schema is `measuring/measurement.schema.json` in the
        package; see `measuring.schema`.
        """
        parts = {name: value for name, value in vars(self).items() if name != "details"}
        plain: dict[str, Any] = to_plain(parts | {"findings": self.findings})
        return {"schema_version": SCHEMA_VERSION} | plain

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, source: str = "the text") -> Measurement:
        """Read a measurement that `to_json` wrote, with this version of the package or with another.

        Fields that this version does not know are ignored. A missing field is None, empty, or its default
        where its type allows that. Findings are made again from the numbers, by the rules of this version.

        Args:
            text: the JSON.
            source: the origin of the text, for error messages.

        Raises:
            ValueError: the text is not the JSON of a measurement, has a schema version that is not known, or
                lacks a field that a measurement cannot do without.
        """
        try:
            parts = json.loads(text)
            version = parts.pop("schema_version")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{source} must be the JSON of a measurement, as `measure --json` prints it, but it is not; "
                "measure again with --json."
            ) from error
        if version not in READABLE:
            raise ValueError(
                f"{source} has schema version {version}, but this program reads "
                f"{' and '.join(map(str, READABLE))}; measure again."
            )
        parts.pop("details", None)
        if "uniform" in parts:
            parts.setdefault("uniforms", [parts["uniform"]])
        measurement: Measurement = from_plain(cls, parts, source)
        return measurement


def _folded(note: str, indent: int, width: int | None) -> str:
    """Return a note whose further lines begin below its first; on a narrow screen it is left as it is."""
    if width is None or width - indent < NARROWEST:
        return note
    return f"\n{' ' * indent}".join(textwrap.wrap(note, width - indent) or [""])
