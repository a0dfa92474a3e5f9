"""The records of the numbers of two towers relative to each other."""

from __future__ import annotations

from align_uniform.measuring.quantity import Quantity, count, faces, fixed, four_digits
from align_uniform.measuring.results import Results


def _equal_means(measurement: Results) -> str:
    towers = measurement.towers
    if towers is None or towers.modality_gap_floor is None:
        return ""
    return f"about {fixed(towers.modality_gap_floor)} for as many rows of two towers with one mean"


def _equal_distributions(measurement: Results) -> str:
    towers = measurement.towers
    if towers is None or towers.distribution_gap_null is None:
        return ""
    return f"0 ± {towers.distribution_gap_null:.2g} for two towers of one distribution"


def _corpus(measurement: Results) -> str:
    towers = measurement.towers
    if towers is None or towers.corpus_distance is None:
        return ""
    return f"rows of the second tower are {fixed(towers.corpus_distance)} from their nearest other"


OF_TOWERS: tuple[Quantity, ...] = (
    Quantity(
        "towers.rows",
        "rows of each tower",
        "Two towers",
        "number of distinct entities of each tower",
        form=count,
        between=" and ",
    ),
    Quantity(
        "towers.modality_gap",
        "modality gap",
        "Two towers",
        "distance between the means of the two towers",
        note=_equal_means,
        errors=("towers.modality_gap_stderr",),
        faces=faces("table", "compare", "difference"),
    ),
    Quantity(
        "towers.distribution_gap",
        "distribution gap",
        "Two towers",
        "squared MMD of the towers without their means, as a share of the mean potentials within them",
        note=_equal_distributions,
        caution="It is of at most 2,000 rows of each tower, and small if every row is far from all others.",
        faces=faces("table", "compare"),
    ),
    Quantity(
        "towers.distribution_gap_null",
        "distribution gap of equal towers",
        "Two towers",
        "standard deviation of the distribution gap over random exchanges of rows between the towers",
        form=four_digits,
        faces=frozenset({"scalars"}),
    ),
    Quantity(
        "towers.query_distance",
        "queries to the corpus",
        "Two towers",
        "mean distance of a row of the first tower to the nearest row of the second",
        note=_corpus,
        caution="It falls with the number of rows of the second tower.",
        errors=("towers.query_distance_stderr",),
        faces=faces("table", "compare"),
    ),
    Quantity(
        "towers.corpus_distance",
        "within the corpus",
        "Two towers",
        "mean distance of a row of the second tower to the nearest other row of it",
        note=lambda _: "where it is well below queries to the corpus, queries lie outside of the corpus",
        caution="It falls with the number of rows, and with duplicates among them.",
        errors=("towers.corpus_distance_stderr",),
    ),
    Quantity(
        "towers.cross_uniform",
        "cross-uniformity",
        "Two towers",
        "log of the mean of exp(−t ‖x − y‖²) over all pairs of a row of one tower and a row of the other",
        note=lambda m: f"t = {m.uniform.t:g}, between the towers",
        errors=("towers.cross_uniform_stderr",),
        faces=faces("table", "compare", "difference"),
    ),
)
"""The numbers of the group "Two towers"."""
