"""All numbers of a measurement, each with its error and a line that says what it is."""

from __future__ import annotations

import re

from align_uniform.measuring.measurement import Alignment, Measurement, Towers, Uniformity, fixed, with_error

Row = tuple[str, str, str]
"""Name, value, and what it says."""


def number_groups(measurement: Measurement) -> list[tuple[str, list[Row]]]:
    """All numbers in groups, alignment and uniformity in front."""
    groups = [] if measurement.align is None else [("Alignment", _align_rows(measurement.align))]
    groups += [
        (f"Uniformity, t = {uniform.t:g}", _uniform_rows(uniform, measurement))
        for uniform in measurement.uniforms
    ]
    if measurement.towers is not None:
        groups.append(("Two towers", _tower_rows(measurement, measurement.towers)))
    groups += [("Shape", _shape_rows(measurement)), ("Rows", _norm_rows(measurement))]
    return [
        (title, [(name, typeset(value), typeset(says)) for name, value, says in rows])
        for title, rows in groups
    ]


def typeset(text: str) -> str:
    """With true minus signs."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


def _align_rows(align: Alignment) -> list[Row]:
    rows = [
        (
            "alignment",
            with_error(align.value, align.stderr),
            f"mean ‖x − y‖ to the power α = {align.alpha:g}; 0 is best",
        ),
        ("pairs", f"{align.pairs:,}", align.of),
    ]
    if align.relative is not None:
        rows.insert(
            1,
            (
                "relative to chance",
                fixed(align.relative),
                "mean squared distance of pairs over that of non-pairs",
            ),
        )
    return rows


def _uniform_rows(uniform: Uniformity, measurement: Measurement) -> list[Row]:
    rows = [
        (
            "uniformity",
            with_error(uniform.value, uniform.total_stderr),
            "log mean potential of two rows; smaller is more even",
        )
    ]
    if uniform.interval is not None:
        low, high = map(fixed, uniform.interval)
        rows.append(("95% interval", f"{low} to {high}", "for the population that the rows are a sample of"))
    if uniform.approximation_stderr:
        rows.append(
            (
                "approximation",
                f"± {uniform.approximation_stderr:.2g}",
                "of the value for these very rows, from anchors",
            )
        )
    rows += [
        (
            "gap",
            fixed(uniform.gap),
            f"above {fixed(uniform.optimum)}, the optimum: the uniform law in {measurement.dim:,} dimensions",
        ),
        ("squared MMD", f"{uniform.squared_mmd:.4g}", "to the uniform law, unbiased, so it may fall below 0"),
    ]
    if uniform.equivalent_dim is not None:
        dimensions = with_error(uniform.equivalent_dim, uniform.equivalent_dim_stderr)
        rows.append(("equivalent dimension", dimensions, "in which the uniform law is as even as these rows"))
    if len(uniform.by_population) > 1:
        kind = "tower" if measurement.towers else "view"
        rows.append((f"by {kind}", "; ".join(map(fixed, uniform.by_population)), "uniformity is their mean"))
    return rows


def _shape_rows(measurement: Measurement) -> list[Row]:
    most = min(measurement.n, measurement.dim)
    rows = [
        ("RankMe", f"{measurement.rankme:,.1f}", f"dimensions in use, of at most {most:,}; sees no cone"),
        (
            "participation ratio",
            f"{measurement.participation_ratio:,.1f}",
            "dimensions that carry most of the variance",
        ),
        (
            "W2 to uniform",
            fixed(measurement.w2),
            f"Wasserstein distance; about {measurement.w2_floor:.3f} for so many uniform rows",
        ),
        ("mean cosine", fixed(measurement.mean_cosine), "of two rows; 0 for rows centred on the sphere"),
    ]
    if measurement.tolerance is not None:
        tolerance = measurement.tolerance
        says = (
            f"mean cosine within {tolerance.classes:,} classes; "
            f"{tolerance.skipped:,} classes of one row left out"
        )
        rows.append(("tolerance", with_error(tolerance.value, tolerance.stderr), says))
    return rows


def _tower_rows(measurement: Measurement, towers: Towers) -> list[Row]:
    return [
        ("rows", f"{towers.rows[0]:,} and {towers.rows[1]:,}", "distinct entities of each tower"),
        ("modality gap", fixed(towers.modality_gap), "distance between the means of the towers"),
        (
            "cross-uniformity",
            fixed(towers.cross_uniform),
            f"log mean potential between the towers, t = {measurement.uniform.t:g}",
        ),
    ]


def _norm_rows(measurement: Measurement) -> list[Row]:
    norms, duplicates = measurement.norms, measurement.duplicates
    made = "then divided by them" if norms.normalized else "measured as they are"
    return [
        (
            "norms",
            f"{norms.smallest:.4g} to {norms.largest:.4g}",
            f"as the rows came, on average {norms.mean:.4g}; {made}",
        ),
        ("exact duplicates", f"{duplicates.exact:,}", "rows that equal an earlier one"),
        ("near duplicates", f"{duplicates.near:,}", "rows with another within a cosine of 0.999"),
    ]
