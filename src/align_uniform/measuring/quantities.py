"""The numbers of a measurement: the name, the meaning and the spelling of each, once.

`QUANTITIES` has one record for each number. The printed table, the report, `align-uniform compare`,
`Measurement.scalars` and the table in docs/measuring.md read these records, so a new number needs a field of
a `Measurement` and one record here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from align_uniform._messages import counted
from align_uniform.measuring.quantities_of_classes import OF_CLASSES
from align_uniform.measuring.quantities_of_retrieval import OF_RETRIEVAL
from align_uniform.measuring.quantities_of_rows import OF_ROWS
from align_uniform.measuring.quantities_of_towers import OF_TOWERS
from align_uniform.measuring.quantity import (
    GROUPS,
    Face,
    Quantity,
    at,
    count,
    faces,
    fixed,
    four_digits,
    with_error,
)
from align_uniform.measuring.results import Results

__all__ = [
    "QUANTITIES",
    "Quantity",
    "fixed",
    "groups",
    "markdown_table",
    "quantity",
    "scalars",
    "shown_by",
    "with_error",
]

# ------------------------------------------------------------------------------------------------ the records


def _alignment(measurement: Results) -> str:
    assert measurement.align is not None
    return f"α = {measurement.align.alpha:g}, {measurement.align.of}; 0 is best"


QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "align",
        "alignment",
        "Alignment",
        "mean of ‖x − y‖^α over positive pairs",
        note=_alignment,
        caution="A cone or a collapse makes it small: see relative alignment.",
        errors=("align.stderr",),
        faces=faces("table", "compare", "difference"),
        better="smaller",
    ),
    Quantity(
        "align.relative",
        "relative alignment",
        "Alignment",
        "mean squared distance of positive pairs, divided by the mean of all other pairs of rows",
        note=lambda _: "0 is perfect, 1 is chance",
        errors=("align.relative_stderr",),
        faces=faces("table", "compare", "difference"),
        better="smaller",
    ),
    Quantity(
        "align.pairs",
        "positive pairs",
        "Alignment",
        "number of positive pairs",
        note=lambda m: "" if m.align is None else m.align.of,
        form=count,
    ),
    Quantity(
        "align.far",
        "far pairs",
        "Alignment",
        "share of positive pairs that are farther apart than half of all pairs of random rows",
        note=lambda _: "0.5 for random pairs, half of the share of wrong ones",
    ),
    Quantity(
        "uniform",
        "uniformity",
        "Uniformity",
        "log of the mean of exp(−t ‖x − y‖²) over distinct pairs of rows",
        note=lambda m: f"t = {m.uniform.t:g}; lower is more even",
        caution="Values at different t, or in different dimensions, cannot be compared: see the gap.",
        errors=("uniform.stderr", "uniform.approximation_stderr"),
        faces=faces("table", "compare", "difference"),
        better="smaller",
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
        errors=("uniform.gap_stderr",),
        faces=faces("table", "compare", "difference"),
        better="smaller",
    ),
    Quantity(
        "uniform.squared_mmd",
        "squared MMD",
        "Uniformity",
        "squared maximum mean discrepancy to the uniform distribution",
        note=lambda _: "unbiased, so it may fall below 0",
        form=four_digits,
    ),
    Quantity(
        "uniform.equivalent_dim",
        "equivalent dimension",
        "Uniformity",
        "dimension in which the uniform distribution has this uniformity",
        note=lambda m: f"the rows have {counted(m.dim, 'feature')}",
        caution="It shows how spread the rows are, not how many directions they use.",
        errors=("uniform.equivalent_dim_stderr",),
        faces=faces("table", "compare", "difference"),
        better="larger",
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
    *OF_RETRIEVAL,
    *OF_CLASSES,
    Quantity(
        "centered.align",
        "centred: alignment",
        "Centred rows",
        "alignment of the rows less their mean, normalised again",
        caution="The centred numbers are measured where rows form a cone.",
        errors=("centered.align.stderr",),
    ),
    Quantity(
        "centered.align.relative",
        "centred: relative alignment",
        "Centred rows",
        "relative alignment of the rows less their mean",
        note=lambda _: "of the rows less their mean",
        errors=("centered.align.relative_stderr",),
        faces=faces("table"),
    ),
    Quantity(
        "centered.uniform",
        "centred: uniformity",
        "Centred rows",
        "uniformity of the rows less their mean, normalised again; from the pairs of at most 2,000 rows",
        note=lambda m: f"t = {m.uniform.t:g}, of the rows less their mean",
        errors=("centered.uniform.stderr", "centered.uniform.approximation_stderr"),
        faces=faces("table"),
    ),
    Quantity(
        "centered.uniform.gap",
        "centred: gap",
        "Centred rows",
        "uniformity of the rows less their mean, less the optimum",
        errors=("centered.uniform.gap_stderr",),
    ),
    Quantity(
        "centered.uniform.equivalent_dim",
        "centred: equivalent dimension",
        "Centred rows",
        "equivalent dimension of the rows less their mean",
        note=lambda _: "of the rows less their mean",
        errors=("centered.uniform.equivalent_dim_stderr",),
        faces=faces("table"),
    ),
    Quantity(
        "centered.retrieval.forward.recall_1",
        "centred: recall@1",
        "Centred rows",
        "recall@1 of the rows less their mean",
        note=lambda _: "of the rows less their mean",
        errors=("centered.retrieval.forward.recall_1_stderr",),
        faces=faces("table"),
        better="larger",
        is_share=True,
    ),
    *OF_TOWERS,
    *OF_ROWS,
)
"""All numbers of a measurement, group by group."""


def quantity(key: str) -> Quantity:
    """Return the record of a key.

    Example:
        >>> from align_uniform.measuring.quantities import quantity
        >>> quantity("align.relative").meaning
        'mean squared distance of positive pairs, divided by the mean of all other pairs of rows'
    """
    return next(record for record in QUANTITIES if record.key == key)


# ---------------------------------------------------------------------------------------------- their readers


def shown_by(face: Face) -> tuple[Quantity, ...]:
    """Return the records of the numbers that a face may show.

    Example:
        >>> from align_uniform.measuring.quantities import shown_by
        >>> [quantity.label for quantity in shown_by("table")][:3]
        ['alignment', 'relative alignment', 'uniformity']
    """
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
                value = at(part, path)
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
