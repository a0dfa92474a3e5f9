"""The verdict on a measurement in plain words: a table of heuristics, each with its number and its threshold.

They are rules of thumb, not tests. A threshold is a choice, and its reason is given next to it. An embedding
may cross one for a good reason, and may pass all of them and be useless for your task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from align_uniform.measuring.quantities import NEAR_COSINE, quantity
from align_uniform.measuring.results import Results

Severity = Literal["note", "warning", "problem"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "problem")
"""The severities of findings, the mildest first. A note is no fault of the embedding."""

LEAST_ROWS = 30
"""The number of rows below which chance alone makes cones and collapses."""

LEAST_DIM_TO_COLLAPSE = 4
"""The number of features below which an equivalent dimension of 2 is no collapse."""

LEAST_DIM_FOR_NEAR = 8
"""The number of features below which near duplicates are a matter of course."""

NORM_TO_MENTION = 0.01
"""The deviation of a norm from 1 above which a measurement warns; half precision is off by a tenth of it."""

NORM_TO_JUDGE = 0.05
"""The deviation of a norm from 1 up to which rows are judged as unit rows."""

_NORM_REASON = "Half precision moves a norm by 0.001, eight bits by about 0.01."


@dataclass(frozen=True)
class Finding:
    """A number beyond its threshold."""

    name: str
    severity: Severity
    number: float
    threshold: float
    quantity: str
    """The definition of the number."""
    what: str
    """The finding in plain words."""
    advice: str
    """The advice on what to do."""


@dataclass(frozen=True)
class Heuristic:
    """A number of a measurement, and the thresholds beyond which it is worth a look."""

    name: str
    quantity: str
    """The definition of the number."""
    number: Callable[[Results], float | None]
    """The number of a measurement; None if it says nothing about that measurement."""
    side: Literal["above", "below"]
    """The side of the threshold on which the number stands out."""
    thresholds: tuple[tuple[float, Severity], ...]
    """The thresholds with their severities, the mildest first."""
    what: str
    """The finding in plain words, a format with {number}, and {m} for the measurement."""
    advice: str
    """The advice on what to do."""
    why: str
    """The reason for the threshold."""

    def finding(self, measurement: Results) -> Finding | None:
        """Return a finding for the last threshold that is crossed, or None if none is."""
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


def findings(measurement: Results) -> tuple[Finding, ...]:
    """Return the findings about a measurement, the worst first; often there are none.

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
    """Return the verdict in one sentence."""
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


def _norm_deviation(measurement: Results, *, normalized: bool) -> float | None:
    """Return the largest deviation of a norm from 1, if the rows were normalised or not, as asked."""
    norms = measurement.norms
    return max(abs(norms.largest - 1), abs(norms.smallest - 1)) if norms.normalized is normalized else None


def _is_judged(measurement: Results) -> bool:
    """Whether there are enough rows, of unit norm: a few rows may be close to each other by chance."""
    deviation = _norm_deviation(measurement, normalized=False)
    return measurement.n >= LEAST_ROWS and (deviation is None or deviation <= NORM_TO_JUDGE)


def _equivalent_dim(measurement: Results) -> float | None:
    """Return the equivalent dimension; None below -2t, where rows are as even as can be."""
    is_judged = _is_judged(measurement) and measurement.dim >= LEAST_DIM_TO_COLLAPSE
    return measurement.uniform.equivalent_dim if is_judged else None


def _mean_cosine(measurement: Results) -> float | None:
    return measurement.mean_cosine if _is_judged(measurement) else None


def _rank_share(measurement: Results) -> float | None:
    return measurement.rankme / min(measurement.n, measurement.dim) if _is_judged(measurement) else None


def _duplicate_share(measurement: Results) -> float:
    """Return the share of duplicates among the rows of all views, or of both towers."""
    towers, duplicates = measurement.towers, measurement.duplicates
    rows = sum(towers.rows) if towers else measurement.n * len(measurement.uniform.by_population)
    near = duplicates.near if measurement.dim >= LEAST_DIM_FOR_NEAR else 0
    return max(duplicates.exact, near) / rows


HEURISTICS = (
    Heuristic(
        name="not on the sphere",
        quantity="largest deviation of a norm from 1, for rows that were measured as they are",
        number=lambda m: _norm_deviation(m, normalized=False),
        side="above",
        thresholds=((NORM_TO_JUDGE, "problem"),),
        what="The rows were measured as they are, with norms from "
        "{m.norms.smallest:.3g} to {m.norms.largest:.3g}. Alignment and uniformity "
        "are defined for rows of norm 1; for other rows they measure the scale as well.",
        advice="Measure with normalisation, which is the default, unless you want to measure the scale.",
        why=_NORM_REASON,
    ),
    Heuristic(
        name="collapsed",
        quantity=quantity("uniform.equivalent_dim").label,
        number=_equivalent_dim,
        side="below",
        thresholds=((2.0, "problem"),),
        what="The {m.dim:,} features spread the rows no more than {number:.2f} evenly used features would: "
        "most rows lie close together, or in a few places.",
        advice="See which rows are crowded. If there is a cone as well, centre the "
        "rows first. In training, give uniformity more weight (or the contrastive "
        "loss a lower temperature), and check that the encoder sees different inputs.",
        why="2 is the circle: below it rows are less spread than points on a ring. It is not judged for "
        f"fewer than {LEAST_DIM_TO_COLLAPSE} features or {LEAST_ROWS} rows.",
    ),
    Heuristic(
        name="cone",
        quantity=quantity("mean_cosine").meaning,
        number=_mean_cosine,
        side="above",
        thresholds=((0.2, "warning"), (0.5, "problem")),
        what="Two random rows have a mean cosine of {number:.2f}, where rows "
        "around the origin have 0: they lie in a cone around their mean. All "
        "distances in a cone are small, so alignment looks better than it is.",
        advice="Subtract the mean of the rows, normalise and measure again: centring costs nothing and often "
        "helps retrieval. Judge pairs by relative alignment.",
        why="At a mean cosine of 0.2 the mean vector has a length of 0.45, and a fifth of the rows' squared "
        f"length is common to all. It is not judged for fewer than {LEAST_ROWS} rows.",
    ),
    Heuristic(
        name="low rank",
        quantity=f"{quantity('rankme').label} over the number of rows or of features, whichever is smaller",
        number=_rank_share,
        side="below",
        thresholds=((0.25, "warning"),),
        what="RankMe counts {m.rankme:.1f} dimensions in use, {number:.0%} of "
        "what {m.n:,} rows of {m.dim:,} features could: the others carry little.",
        advice="See where the spectrum falls off. A projection on the first principal components makes the "
        "rows smaller with little loss; in training, look for dimensional collapse: more uniformity, or a "
        "projection head that is removed afterwards.",
        why="Garrido et al. (ICML 2023) find that rank correlates with "
        "accuracy among encoders of one kind; a quarter is our choice.",
    ),
    Heuristic(
        name="duplicates",
        quantity="share of rows that occur more than once",
        number=_duplicate_share,
        side="above",
        thresholds=((0.01, "warning"),),
        what="{number:.1%} of the rows occur more than once: {m.duplicates.exact:,} equal an earlier row, "
        f"{{m.duplicates.near:,}} have a cosine of at least {NEAR_COSINE:g} with another row.",
        advice="Look for inputs that occur more than once, and leave them out: they make neighbours trivial, "
        "and raise uniformity by their number alone. If the inputs differ, the encoder cannot distinguish "
        "them.",
        why="A share p of rows in one place adds at most p² to the mean potential, but p to the neighbours "
        f"that are trivial. With fewer than {LEAST_DIM_FOR_NEAR} features near rows are a matter of course, "
        "and only equal rows count.",
    ),
    Heuristic(
        name="pairs no closer than chance",
        quantity=quantity("align.relative").label,
        number=lambda m: m.align.relative if m.align is not None else None,
        side="above",
        thresholds=((0.5, "warning"), (0.9, "problem")),
        what="The mean squared distance of positive pairs ({m.align.of}) is {number:.0%} of the mean squared "
        "distance of rows that are no pair.",
        advice="First check that the pairs are pairs: the order of rows, ids, a shuffled file. If they are, "
        "the encoder does not see what the two rows of a pair share; train it with such pairs as positives.",
        why="Pairs drawn at random have 1. Classes are wide, and often lie between 0.5 and 0.9.",
    ),
    Heuristic(
        name="not normalised",
        quantity="largest deviation of a norm from 1, for rows that were then normalised",
        number=lambda m: _norm_deviation(m, normalized=True),
        side="above",
        thresholds=((NORM_TO_JUDGE, "note"),),
        what="The rows had norms from {m.norms.smallest:.3g} to {m.norms.largest:.3g}, and were "
        "divided by them: their directions are measured here.",
        advice="Search by cosine, or normalise the rows before you store them: dot products and distances of "
        "rows with different norms rank by norm as well.",
        why=_NORM_REASON,
    ),
)
"""The heuristics, in the order in which they explain each other."""
