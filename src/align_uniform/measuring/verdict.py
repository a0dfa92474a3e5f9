"""What stands out in a measurement, in plain words: a table of heuristics, each shown with its number and its
threshold.

They are rules of thumb, not tests: a threshold is a choice, and its reason stands beside it. An embedding may
cross one for a good reason, and may pass all of them and be useless for your task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from align_uniform.measuring.measurement import Measurement

Severity = Literal["note", "warning", "problem"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "problem")
"""The mildest first. A note is no fault of the embedding."""

LEAST_ROWS = 30
"""With fewer, chance alone makes cones and collapses."""

NORM_TOLERANCE = 0.05


@dataclass(frozen=True)
class Finding:
    """A number beyond its threshold."""

    name: str
    severity: Severity
    number: float
    threshold: float
    quantity: str
    """what the number is"""
    what: str
    """what was found, in plain words"""
    advice: str
    """what to do"""


@dataclass(frozen=True)
class Heuristic:
    """A number of a measurement, and where it is worth looking."""

    name: str
    quantity: str
    """what the number is"""
    number: Callable[[Measurement], float | None]
    """None where it says nothing of this measurement"""
    side: Literal["above", "below"]
    """of the threshold, on which it stands out"""
    thresholds: tuple[tuple[float, Severity], ...]
    """the mildest first"""
    what: str
    """with {number}, and {m} for the measurement"""
    advice: str
    why: str
    """why this threshold"""

    def finding(self, measurement: Measurement) -> Finding | None:
        """What stands out, by the last threshold that is crossed; None if none is."""
        number = self.number(measurement)
        if number is None:
            return None
        crossed = [
            limit
            for limit in self.thresholds
            if (number > limit[0] if self.side == "above" else number < limit[0])
        ]
        if not crossed:
            return None
        threshold, severity = crossed[-1]
        what = self.what.format(number=number, m=measurement)
        return Finding(self.name, severity, number, threshold, self.quantity, what, self.advice)


def findings(measurement: Measurement) -> tuple[Finding, ...]:
    """What stands out, the worst first; often nothing.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.measuring.verdict import findings
        >>> rows = torch.nn.functional.normalize(
        ...     torch.randn(256, 32, generator=torch.Generator().manual_seed(0)), dim=1
        ... )
        >>> findings(measure(rows))
        ()
        >>> findings(measure(torch.nn.functional.normalize(rows + 0.2, dim=1)))[0].name
        'cone'
    """
    found = (heuristic.finding(measurement) for heuristic in HEURISTICS)
    return tuple(
        sorted(filter(None, found), key=lambda finding: SEVERITIES.index(finding.severity), reverse=True)
    )


def headline(found: Sequence[Finding]) -> str:
    """The verdict in one sentence."""
    severe = [finding.name for finding in found if finding.severity == "problem"]
    mild = [finding.name for finding in found if finding.severity == "warning"]
    if severe:
        return f"Something is wrong: {_listed(severe)}."
    if mild:
        return f"Worth a look: {_listed(mild)}."
    return "Nothing stands out."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


# -------------------------------------------------------------------------------------------------- the table


def _norm_deviation(measurement: Measurement, *, normalized: bool) -> float | None:
    """How far from 1 the norm farthest from it is."""
    norms = measurement.norms
    return max(abs(norms.largest - 1), abs(norms.smallest - 1)) if norms.normalized is normalized else None


def _is_judged(measurement: Measurement) -> bool:
    """Whether there are rows enough, and unit ones: few are by chance close to each other, and to a cone."""
    deviation = _norm_deviation(measurement, normalized=False)
    return measurement.n >= LEAST_ROWS and (deviation is None or deviation <= NORM_TOLERANCE)


def _equivalent_dim(measurement: Measurement) -> float | None:
    """In fewer than 4 dimensions, 2 are no collapse. Below -2t there is none, and the rows are as even as can
    be.
    """
    return measurement.uniform.equivalent_dim if _is_judged(measurement) and measurement.dim >= 4 else None


def _mean_cosine(measurement: Measurement) -> float | None:
    return measurement.mean_cosine if _is_judged(measurement) else None


def _rank_share(measurement: Measurement) -> float | None:
    return measurement.rankme / min(measurement.n, measurement.dim) if _is_judged(measurement) else None


def _duplicate_share(measurement: Measurement) -> float:
    """Of the rows of all views, or of both towers. In few dimensions near neighbours are a matter of
    course.
    """
    towers, duplicates = measurement.towers, measurement.duplicates
    rows = sum(towers.rows) if towers else measurement.n * len(measurement.uniform.by_population)
    return (max(duplicates.exact, duplicates.near) if measurement.dim >= 8 else duplicates.exact) / rows


HEURISTICS = (
    Heuristic(
        name="not on the sphere",
        quantity="largest deviation of a norm from 1, of rows measured as they are",
        number=lambda m: _norm_deviation(m, normalized=False),
        side="above",
        thresholds=((NORM_TOLERANCE, "problem"),),
        what="The rows were measured as they are, with norms from "
        "{m.norms.smallest:.3g} to {m.norms.largest:.3g}. Alignment and uniformity "
        "are defined for rows of norm 1; of others they measure the scale as well.",
        advice="Measure with normalisation (the default), unless the scale is what you mean to measure.",
        why="Half precision moves a norm by 0.001, eight bits by about 0.01.",
    ),
    Heuristic(
        name="collapsed",
        quantity="equivalent dimension",
        number=_equivalent_dim,
        side="below",
        thresholds=((2.0, "problem"),),
        what="The {m.dim:,} features spread the rows no more than {number:.2f} evenly used ones would: most "
        "rows lie close together, or in a few places.",
        advice="See which rows are crowded. If there is a cone as well, centre the "
        "rows first. In training, give uniformity more weight (or the contrastive "
        "loss a lower temperature), and check that the encoder sees different inputs.",
        why="2 is the circle: below it rows are less spread than points on a "
        "ring. Not judged in fewer than 4 dimensions, nor of fewer than 30 rows.",
    ),
    Heuristic(
        name="cone",
        quantity="mean cosine of two rows",
        number=_mean_cosine,
        side="above",
        thresholds=((0.2, "warning"), (0.5, "problem")),
        what="Two random rows have a mean cosine of {number:.2f}, where rows "
        "around the origin have 0: they lie in a cone around their mean. All "
        "distances in it are small, so alignment looks better than it is.",
        advice="Subtract the mean of the rows, normalise and measure again: centring costs nothing and often "
        "helps retrieval. Judge pairs by alignment relative to chance.",
        why="At a mean cosine of 0.2 the mean vector has a length of 0.45, and a fifth of the rows' squared "
        "length is common to all. Not judged of fewer than 30 rows.",
    ),
    Heuristic(
        name="low rank",
        quantity="RankMe, as a share of the smaller of rows and features",
        number=_rank_share,
        side="below",
        thresholds=((0.25, "warning"),),
        what="RankMe counts {m.rankme:.1f} dimensions in use, {number:.0%} of "
        "what {m.n:,} rows of {m.dim:,} features could: the others carry little.",
        advice="See where the spectrum falls off. A projection on the first principal components makes the "
        "rows smaller at little loss; in training, look for dimensional collapse: more uniformity, or a "
        "projection head that is left out afterwards.",
        why="Garrido et al. (ICML 2023) find that rank goes with "
        "accuracy among encoders of one kind; a quarter is our choice.",
    ),
    Heuristic(
        name="duplicates",
        quantity="share of rows that have a double",
        number=_duplicate_share,
        side="above",
        thresholds=((0.01, "warning"),),
        what="{number:.1%} of the rows have a double: {m.duplicates.exact:,} equal an earlier row, "
        "{m.duplicates.near:,} have another within a cosine of 0.999.",
        advice="Look for inputs that are there more than once, and leave them "
        "out: they make neighbours trivial and add to uniformity by their number "
        "alone. If the inputs differ, the encoder does not tell them apart.",
        why="A share p of rows in one place adds at most p² to the mean "
        "potential, but p to the neighbours that are trivial. In fewer than 8 "
        "dimensions near rows are a matter of course, and only equal ones count.",
    ),
    Heuristic(
        name="pairs no closer than chance",
        quantity="alignment relative to chance",
        number=lambda m: m.align.relative if m.align is not None else None,
        side="above",
        thresholds=((0.5, "warning"), (0.9, "problem")),
        what="The squared distance of positive pairs is on average "
        "{number:.0%} of that of rows that are no pair ({m.align.of}).",
        advice="Check first that the pairs are pairs: the order of rows, ids, a shuffled file. If they are, "
        "the encoder does not see what they share; train it with such pairs as positives.",
        why="1 is what pairs drawn at random have. Classes are wide, and often lie between 0.5 and 0.9.",
    ),
    Heuristic(
        name="not normalised",
        quantity="largest deviation of a norm from 1, of rows that were then normalised",
        number=lambda m: _norm_deviation(m, normalized=True),
        side="above",
        thresholds=((NORM_TOLERANCE, "note"),),
        what="The rows came with norms from {m.norms.smallest:.3g} to {m.norms.largest:.3g}, and were "
        "divided by them: what is measured here is directions.",
        advice="Search by cosine, or normalise the rows before you store them: "
        "dot products and distances of rows as they came rank by norm as well.",
        why="Half precision moves a norm by 0.001, eight bits by about 0.01.",
    ),
)
"""In the order in which they explain each other."""
