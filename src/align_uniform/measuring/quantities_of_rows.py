"""The records of the numbers of the rows themselves: their shape, their norms, and how often they occur."""

from __future__ import annotations

from align_uniform._messages import counted
from align_uniform.measuring.quantity import Quantity, count, dimensions, faces, fixed, four_digits
from align_uniform.measuring.results import Results

NEAR_COSINE = 0.999
"""The cosine from which two rows are near duplicates; they are then at most 2.6 degrees apart."""

WIDER_COSINE = 2 * NEAR_COSINE**2 - 1
"""The cosine of rows that are twice as far apart, in degrees."""

EQUAL_COSINE = 1 - 1e-6
"""The mean cosine above which rows in float32 differ by little more than rounding."""

SAME_CLASS = "same class"
"""The kind of the pairs of rows of one class, in words."""


def _of_uniform_rows(value: float | None) -> str:
    return "" if value is None else f"about {dimensions(value)} for as many uniform rows"


def _norms_differ(measurement: Results) -> bool:
    """Return whether the norms of the rows differ by more than rounding."""
    norms = measurement.norms
    return norms.largest - norms.smallest > 1e-3 * norms.largest


def _norms(measurement: Results) -> str:
    return "then divided by their norms" if measurement.norms.normalized else "measured as they are"


def _hub_rows(measurement: Results) -> str:
    return "" if measurement.hubs is None else f"among {counted(measurement.hubs.rows, 'row')}"


OF_ROWS: tuple[Quantity, ...] = (
    Quantity(
        "rankme",
        "RankMe",
        "Shape",
        "number of dimensions in use: the exponential of the entropy of the singular values",
        note=lambda m: _of_uniform_rows(m.rankme_uniform),
        caution="It is blind to a cone, which is one large singular value.",
        form=dimensions,
        faces=faces("table", "compare"),
    ),
    Quantity(
        "participation_ratio",
        "participation ratio",
        "Shape",
        "number of dimensions that carry most of the variance",
        note=lambda m: _of_uniform_rows(m.participation_ratio_uniform),
        caution="A few large eigenvalues decide it.",
        form=dimensions,
    ),
    Quantity(
        "isoscore",
        "IsoScore",
        "Shape",
        "share of the dimensions that are used evenly: the participation ratio from 0 for one to 1 for all",
        note=lambda m: (
            ""
            if m.isoscore_uniform is None
            else f"about {fixed(m.isoscore_uniform)} for as many uniform rows"
        ),
        caution="It is blind to a cone, and a few large eigenvalues decide it.",
    ),
    Quantity(
        "isoscore_uniform",
        "IsoScore of uniform rows",
        "Shape",
        "expected IsoScore of as many rows drawn from the uniform distribution",
        faces=frozenset({"scalars"}),
    ),
    Quantity(
        "rankme_uniform",
        "RankMe of uniform rows",
        "Shape",
        "expected RankMe of as many rows drawn from the uniform distribution",
        form=dimensions,
        faces=frozenset({"scalars"}),
    ),
    Quantity(
        "participation_ratio_uniform",
        "participation ratio of uniform rows",
        "Shape",
        "expected participation ratio of as many rows drawn from the uniform distribution",
        form=dimensions,
        faces=frozenset({"scalars"}),
    ),
    Quantity(
        "largest_share",
        "largest direction",
        "Shape",
        "share of the variance in the direction that has most of it",
    ),
    Quantity(
        "hubs.skewness",
        "hubness",
        "Shape",
        "skewness of the number of rows that have a row among their 10 nearest",
        note=lambda m: f"{_hub_rows(m)}; 0.3 for uniform rows",
        caution="It depends on the number of rows, and is taken among at most 2,000 of them.",
        faces=faces("table", "compare"),
    ),
    Quantity(
        "hubs.antihubs",
        "found by none",
        "Shape",
        "share of rows that are among the 10 nearest of no other row",
        note=lambda m: _hub_rows(m),
        caution="It depends on the number of rows, and is taken among at most 2,000 of them.",
    ),
    Quantity(
        "w2",
        "W2 to uniform",
        "Shape",
        "Wasserstein distance to the uniform distribution, computed from the first two moments",
        note=lambda m: f"about {fixed(m.w2_floor)} for as many uniform rows",
        faces=faces("table"),
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
        errors=("mean_cosine_stderr",),
        faces=faces("table", "compare", "difference"),
    ),
    Quantity("n", "rows", "Rows", "number of rows of one view", form=count, faces=frozenset({"scalars"})),
    Quantity("dim", "features", "Rows", "number of features", form=count, faces=frozenset({"scalars"})),
    Quantity(
        "norms.smallest",
        "smallest norm",
        "Rows",
        "smallest norm of a row as it was given",
        form=four_digits,
        applies=_norms_differ,
    ),
    Quantity(
        "norms.mean",
        "mean norm",
        "Rows",
        "mean norm of the rows as they were given",
        note=_norms,
        form=four_digits,
    ),
    Quantity(
        "norms.median",
        "median norm",
        "Rows",
        "median norm of the rows as they were given",
        form=four_digits,
        applies=_norms_differ,
    ),
    Quantity(
        "norms.largest_ratio",
        "largest norm over median",
        "Rows",
        "largest norm of a row over the median norm, of the view or tower in which it is largest",
        form=four_digits,
        applies=_norms_differ,
    ),
    Quantity(
        "norms.largest",
        "largest norm",
        "Rows",
        "largest norm of a row as it was given",
        form=four_digits,
        applies=_norms_differ,
    ),
    Quantity(
        "duplicates.exact",
        "exact duplicates",
        "Rows",
        "number of rows that equal an earlier row",
        form=count,
    ),
    Quantity(
        "duplicates.near",
        "near duplicates",
        "Rows",
        f"number of rows that have a cosine of at least {NEAR_COSINE:g} with another row",
        caution="On a smooth surface of few dimensions all rows may have one: see the next number.",
        form=count,
    ),
    Quantity(
        "duplicates.near_growth",
        "growth of near pairs",
        "Rows",
        "number of pairs within twice the angle of near duplicates, over the number within that angle",
        note=lambda _: "1 for duplicates, 2 on a smooth curve, 4 on a smooth surface",
    ),
)
"""The numbers of the groups "Shape" and "Rows"."""
