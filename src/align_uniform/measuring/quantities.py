"""The numbers of a measurement: the name, the meaning and the spelling of each, once.

`QUANTITIES` has one record for each number. The printed table, the report, `align-uniform compare`,
`Measurement.scalars` and the table in docs/measuring.md read these records, so a new number needs a field of
a `Measurement` and one record here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from align_uniform.measuring.results import Results

NEAR_COSINE = 0.999
"""The cosine from which two rows are near duplicates; they are then at most 2.6 degrees apart."""

Face = Literal["table", "report", "compare", "difference", "scalars"]
"""A place that shows numbers; "difference" is a line of `a - b`."""

Group = Literal["Alignment", "Uniformity", "Two towers", "Shape", "Rows"]

GROUPS: tuple[Group, ...] = ("Alignment", "Uniformity", "Two towers", "Shape", "Rows")
"""The groups in the order in which they are shown."""


# ------------------------------------------------------------------------------------ how numbers are written


def with_error(value: float, stderr: float | None) -> str:
    """Return the value with its standard error, as in `-2.927 ± 0.021`.

    The error has two digits, the value as many decimals. Without a finite error the value has three decimals.
    """
    if stderr is None or not math.isfinite(stderr):
        return fixed(value)
    digits = 3 if stderr == 0 else min(7, max(0, 1 - math.floor(math.log10(stderr))))
    return f"{fixed(value, digits)} ± {stderr:.{digits}f}"


def fixed(value: float, digits: int = 3) -> str:
    """Return the value with the given number of decimals, and without a minus sign before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _dimensions(value: float) -> str:
    return f"{value:,.1f}"


def _four_digits(value: float) -> str:
    return f"{value:.4g}"


# ------------------------------------------------------------------------------------------------ the records


@dataclass(frozen=True)
class Quantity:
    """A number of a measurement, or a few numbers that are shown together."""

    key: str
    """The path of the number in a measurement and in its JSON. The number at an object is its `value`."""
    label: str
    """The name that people read."""
    group: Group
    """The group of numbers that this one is shown in."""
    meaning: str
    """The definition, without a full stop."""
    note: Callable[[Results], str] | None = None
    """The remark next to the value: what to compare the value with, in this measurement."""
    caution: str = ""
    """The case in which the number misleads, for the documentation."""
    errors: tuple[str, ...] = ()
    """The paths of the independent standard errors of the number."""
    form: Callable[[float], str] = fixed
    """The spelling of the value where it has no error."""
    between: str = "; "
    """The words between several values."""
    applies: Callable[[Results], bool] = lambda _: True
    """Whether the value says anything about a measurement that has it."""
    faces: frozenset[Face] = frozenset({"report", "scalars"})
    """The places that show the number."""

    def value(self, measurement: Results) -> Any:
        """Return the number, a tuple of several numbers, or None if the measurement has none."""
        return _at(measurement, self.key)

    def error(self, measurement: Results) -> float | None:
        """Return the standard error of the number, all `errors` combined, or None if one is missing."""
        errors = [_at(measurement, path) for path in self.errors]
        return None if not errors or None in errors else math.hypot(*errors)

    def is_shown(self, measurement: Results, face: Face) -> bool:
        """Whether a face shows this number of a measurement."""
        return face in self.faces and self.value(measurement) is not None and self.applies(measurement)

    def text(self, measurement: Results) -> str:
        """Return the number with its error as people read it; nothing if there is no number."""
        value, error = self.value(measurement), self.error(measurement)
        if value is None:
            return ""
        if isinstance(value, tuple):
            return self.between.join(map(self.form, value))
        return self.form(value) if error is None else with_error(value, error)

    def remark(self, measurement: Results) -> str:
        """Return the note on this measurement, or the meaning if there is no note."""
        return self.meaning if self.note is None else self.note(measurement)

    def explanation(self, measurement: Results) -> str:
        """Return the meaning, followed by the note on this measurement if there is one."""
        return self.meaning if self.note is None else f"{self.meaning}; {self.note(measurement)}"


def _at(measurement: Results, path: str) -> Any:
    """Return what a path leads to, or None if the measurement lacks a part on the way."""
    part: Any = measurement
    for name in path.split("."):
        if part is None:
            return None
        part = getattr(part, name)
    return getattr(part, "value", part)


def _norms(measurement: Results) -> str:
    return "then divided by their norms" if measurement.norms.normalized else "measured as they are"


def _classes(measurement: Results) -> str:
    tolerance = measurement.tolerance
    assert tolerance is not None
    skipped = f"; {tolerance.skipped:,} classes of one row left out" if tolerance.skipped else ""
    return f"within {tolerance.classes:,} classes{skipped}"


def _alignment(measurement: Results) -> str:
    assert measurement.align is not None
    return f"α = {measurement.align.alpha:g}, {measurement.align.of}; 0 is best"


def _faces(*extra: Face) -> frozenset[Face]:
    return frozenset({"report", "scalars", *extra})


QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "align",
        "alignment",
        "Alignment",
        "mean of ‖x − y‖^α over positive pairs",
        note=_alignment,
        caution="A cone or a collapse makes it small: see relative alignment.",
        errors=("align.stderr",),
        faces=_faces("table", "compare", "difference"),
    ),
    Quantity(
        "align.relative",
        "relative alignment",
        "Alignment",
        "mean squared distance of positive pairs, divided by the mean of all other pairs of rows",
        note=lambda _: "0 is perfect, 1 is chance",
        errors=("align.relative_stderr",),
        faces=_faces("table", "compare"),
    ),
    Quantity(
        "align.pairs",
        "positive pairs",
        "Alignment",
        "number of positive pairs",
        note=lambda m: "" if m.align is None else m.align.of,
        form=_count,
    ),
    Quantity(
        "uniform",
        "uniformity",
        "Uniformity",
        "log of the mean of exp(−t ‖x − y‖²) over distinct pairs of rows",
        note=lambda m: f"t = {m.uniform.t:g}; lower is more even",
        caution="Values at different t, or in different dimensions, cannot be compared: see the gap.",
        errors=("uniform.stderr", "uniform.approximation_stderr"),
        faces=_faces("table", "compare", "difference"),
    ),
    Quantity(
        "uniform.interval",
        "95% interval",
        "Uniformity",
        "95% confidence interval of the uniformity of the population that the rows are a sample of",
        between=" to ",
        faces=frozenset({"report"}),
    ),
    Quantity(
        "uniform.approximation_stderr",
        "approximation error",
        "Uniformity",
        "standard error of uniformity as an estimate of the value over all pairs of these very rows",
        caution="It is 0 if all pairs were summed, and is part of the error of uniformity.",
        form=lambda value: f"± {value:.2g}",
        applies=lambda m: m.uniform.approximation_stderr != 0,
        faces=frozenset({"report"}),
    ),
    Quantity(
        "uniform.gap",
        "gap",
        "Uniformity",
        "uniformity less its optimum, the value of the uniform distribution in as many dimensions",
        note=lambda m: f"the optimum is {fixed(m.uniform.optimum)}",
        caution="A gap of 0.001 can be a collapse to half of the dimensions: see RankMe.",
        faces=_faces("table", "compare"),
    ),
    Quantity(
        "uniform.squared_mmd",
        "squared MMD",
        "Uniformity",
        "squared maximum mean discrepancy to the uniform distribution",
        note=lambda _: "unbiased, so it may fall below 0",
        form=_four_digits,
    ),
    Quantity(
        "uniform.equivalent_dim",
        "equivalent dimension",
        "Uniformity",
        "dimension in which the uniform distribution has this uniformity",
        note=lambda m: f"the rows have {m.dim:,} {'feature' if m.dim == 1 else 'features'}",
        caution="It shows how spread the rows are, not how many directions they use.",
        errors=("uniform.equivalent_dim_stderr",),
        faces=_faces("table", "compare"),
    ),
    Quantity(
        "uniform.z",
        "z",
        "Uniformity",
        "exp(uniformity) less exp(optimum), in standard deviations of that difference for uniform rows",
        caution="It does not follow a normal distribution, and is astronomical for a real encoder.",
        faces=frozenset({"scalars"}),
    ),
    Quantity(
        "uniform.by_population",
        "each view or tower",
        "Uniformity",
        "uniformity of each view or tower, whose mean is uniformity",
        applies=lambda m: len(m.uniform.by_population) > 1,
    ),
    Quantity(
        "towers.rows",
        "rows of each tower",
        "Two towers",
        "number of distinct entities of each tower",
        form=_count,
        between=" and ",
    ),
    Quantity(
        "towers.modality_gap",
        "modality gap",
        "Two towers",
        "distance between the means of the two towers",
        faces=_faces("table"),
    ),
    Quantity(
        "towers.cross_uniform",
        "cross-uniformity",
        "Two towers",
        "log of the mean of exp(−t ‖x − y‖²) over all pairs of a row of one tower and a row of the other",
        note=lambda m: f"t = {m.uniform.t:g}, between the towers",
        faces=_faces("table"),
    ),
    Quantity(
        "rankme",
        "RankMe",
        "Shape",
        "number of dimensions in use: the exponential of the entropy of the singular values",
        note=lambda m: f"of at most {min(m.n, m.dim):,}",
        caution="It is blind to a cone, which is one large singular value.",
        form=_dimensions,
        faces=_faces("table", "compare"),
    ),
    Quantity(
        "participation_ratio",
        "participation ratio",
        "Shape",
        "number of dimensions that carry most of the variance",
        caution="A few large eigenvalues decide it.",
        form=_dimensions,
    ),
    Quantity(
        "w2",
        "W2 to uniform",
        "Shape",
        "Wasserstein distance to the uniform distribution, computed from the first two moments",
        note=lambda m: f"about {fixed(m.w2_floor)} for as many uniform rows",
        faces=_faces("table"),
    ),
    Quantity(
        "w2_floor",
        "W2 of uniform rows",
        "Shape",
        "expected W2 of as many rows drawn from the uniform distribution",
        faces=frozenset({"scalars"}),
    ),
    Quantity(
        "mean_cosine",
        "mean cosine",
        "Shape",
        "mean cosine of two distinct rows",
        note=lambda _: "0 for rows centred on the sphere",
        caution="It sees a cone and nothing else.",
        faces=_faces("table"),
    ),
    Quantity(
        "tolerance",
        "tolerance",
        "Shape",
        "mean cosine of two distinct rows of one class",
        note=_classes,
        caution="Its error is conditional on the classes.",
        errors=("tolerance.stderr",),
        faces=_faces("table"),
    ),
    Quantity("n", "rows", "Rows", "number of rows of one view", form=_count, faces=frozenset({"scalars"})),
    Quantity("dim", "features", "Rows", "number of features", form=_count, faces=frozenset({"scalars"})),
    Quantity(
        "norms.smallest", "smallest norm", "Rows", "smallest norm of a row as it was given", form=_four_digits
    ),
    Quantity(
        "norms.mean",
        "mean norm",
        "Rows",
        "mean norm of the rows as they were given",
        note=_norms,
        form=_four_digits,
    ),
    Quantity(
        "norms.largest", "largest norm", "Rows", "largest norm of a row as it was given", form=_four_digits
    ),
    Quantity(
        "duplicates.exact",
        "exact duplicates",
        "Rows",
        "number of rows that equal an earlier row",
        form=_count,
    ),
    Quantity(
        "duplicates.near",
        "near duplicates",
        "Rows",
        f"number of rows that have a cosine of at least {NEAR_COSINE:g} with another row",
        form=_count,
    ),
)
"""All numbers of a measurement, group by group."""


def quantity(key: str) -> Quantity:
    """Return the record of a key."""
    return next(record for record in QUANTITIES if record.key == key)


# ---------------------------------------------------------------------------------------------- their readers


def shown_by(face: Face) -> tuple[Quantity, ...]:
    """Return the records of the numbers that a face may show."""
    return tuple(record for record in QUANTITIES if face in record.faces)


def groups(measurement: Results, face: Face) -> Iterator[tuple[str, Results, list[Quantity]]]:
    """Yield the title of each group, the measurement to read it from, and its records that a face shows.

    Uniformity is a group for each t, read from a measurement whose first t it is.
    """
    for group in GROUPS:
        for title, part in _at_each_t(measurement) if group == "Uniformity" else [(str(group), measurement)]:
            records = [record for record in shown_by(face) if record.group == group]
            if found := [record for record in records if record.is_shown(part, face)]:
                yield title, part, found


def _at_each_t(measurement: Results) -> Iterable[tuple[str, Results]]:
    for uniform in measurement.uniforms:
        yield f"Uniformity, t = {uniform.t:g}", replace(measurement, uniform=uniform)


def scalars(measurement: Results, prefix: str = "") -> dict[str, float]:
    """Return all numbers of a measurement and their errors, by their path in its JSON."""
    found: dict[str, float] = {}
    for number, uniform in enumerate(measurement.uniforms):
        part = replace(measurement, uniform=uniform) if number else measurement
        for record in shown_by("scalars"):
            if number and record.group != "Uniformity":
                continue
            for path in (record.key, *record.errors):
                value = _at(part, path)
                key = f"uniforms.{number}{path.removeprefix('uniform')}" if number else path
                if isinstance(value, tuple):
                    found |= {f"{prefix}{key}.{place}": float(each) for place, each in enumerate(value)}
                elif value is not None:
                    found[f"{prefix}{key}"] = float(value)
    return found


def markdown_table() -> str:
    """Return the table of all numbers that the documentation shows."""
    lines = ["| number | key | meaning | when it misleads |", "|---|---|---|---|"]
    lines += [
        f"| {record.label} | `{record.key}` | {record.meaning} | {record.caution} |" for record in QUANTITIES
    ]
    return "\n".join(lines)
