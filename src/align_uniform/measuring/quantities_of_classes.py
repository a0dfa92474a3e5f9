"""The records of the numbers of labelled rows."""

from __future__ import annotations

from align_uniform._messages import counted
from align_uniform.measuring.quantities_of_rows import SAME_CLASS
from align_uniform.measuring.quantity import Quantity, faces, four_digits
from align_uniform.measuring.results import Results

NEIGHBOURS = 5
"""The number of nearest rows that vote for the class of a row, as in the paper."""


def _classes(measurement: Results) -> str:
    tolerance = measurement.tolerance
    assert tolerance is not None
    skipped = (
        f"; {counted(tolerance.skipped, 'class', 'classes')} of one row left out" if tolerance.skipped else ""
    )
    return f"within {counted(tolerance.classes, 'class', 'classes')}{skipped}"


def _neighbours(measurement: Results) -> str:
    found = measurement.classes
    assert found is not None
    looked = (
        "leave one out"
        if found.queries == measurement.n
        else f"{counted(found.queries, 'row')}, leave one out"
    )
    weakest = found.weakest
    if weakest is None or len(found.table) < 2:
        return looked
    return f"{looked}; weakest {weakest.name!r}, {weakest.own:.0%} of its neighbours its own"


def _is_not_relative_alignment(measurement: Results) -> bool:
    return measurement.align is None or measurement.align.of != SAME_CLASS


OF_CLASSES: tuple[Quantity, ...] = (
    Quantity(
        "tolerance",
        "tolerance",
        "Classes",
        "mean cosine of two distinct rows of one class",
        note=_classes,
        caution="Its error is conditional on the classes.",
        errors=("tolerance.stderr",),
        faces=faces("table", "compare", "difference"),
    ),
    Quantity(
        "tolerance.z",
        "z of tolerance",
        "Classes",
        "tolerance less its mean over permuted labels, in standard deviations over permuted labels",
        caution="It grows with the number of rows: it says that classes are there, not how well they show.",
        form=four_digits,
    ),
    Quantity(
        "tolerance.explained",
        "variance between classes",
        "Classes",
        "share of the variance of the rows that their classes explain, adjusted for chance",
    ),
    Quantity(
        "tolerance.within_between",
        "within over between classes",
        "Classes",
        "mean squared distance of rows of one class, over that of rows of different classes",
        note=lambda _: "0 is perfect, 1 is chance",
        caution="Where pairs are of one class, it is the relative alignment.",
        errors=("tolerance.within_between_stderr",),
        better="smaller",
        applies=_is_not_relative_alignment,
        faces=faces("table", "difference"),
    ),
    Quantity(
        "classes.knn",
        f"{NEIGHBOURS}-NN accuracy",
        "Classes",
        f"share of rows whose class is the commonest of their {NEIGHBOURS} nearest other rows",
        note=_neighbours,
        caution="It falls with fewer rows of each class.",
        errors=("classes.knn_stderr",),
        faces=faces("table", "compare", "difference"),
        better="larger",
        is_share=True,
    ),
)
"""The numbers of the group "Classes"."""
