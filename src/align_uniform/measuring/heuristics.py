"""The table of heuristics that the verdict is made of, each with its number, its thresholds and its reason.

They are rules of thumb, not tests. A threshold is a choice, and its reason is given next to it. An embedding
may cross one for a good reason, and may pass all of them and be useless for your task. The thresholds were
chosen on made-up embeddings with one known fault or none, and on the encoders of docs/encoders.md; the tests
of `verdict` have both.
"""

from __future__ import annotations

import statistics

from align_uniform._unit_norm import LARGEST_DEVIATION
from align_uniform.measuring.heuristic import Heuristic
from align_uniform.measuring.quantities import quantity
from align_uniform.measuring.quantities_of_rows import EQUAL_COSINE, NEAR_COSINE, SAME_CLASS
from align_uniform.measuring.results import Results

LEAST_ROWS = 30
"""The number of rows, or of pairs, below which chance alone makes cones, collapses and pairs far apart."""

LEAST_DIM_TO_COLLAPSE = 4
"""The number of features below which an equivalent dimension of 2 is no collapse."""

LEAST_DIM_FOR_NEAR = 8
"""The number of features below which near duplicates are a matter of course."""

LEAST_FOR_DIRECTIONS = 32
"""The number of rows and of features below which few directions are a matter of course."""

LEAST_FOR_HUBS = 100
"""The number of rows below which a few of them are the neighbours of many others by chance."""

CONE_COSINE = 0.2
"""The mean cosine above which rows are a cone."""

NEARLY_CONSTANT_COSINE = 0.95
"""The mean cosine above which rows are collapsed, whatever is left of them when they are centred."""

IDENTICAL = 1e-5
"""The relative alignment below which the two rows of a pair are copies of each other, rounded at most."""

SMOOTH_GROWTH = 1.5
"""The growth of the number of near pairs, at twice the angle, from which rows lie on a smooth curve or
surface, and are no duplicates.
"""

EXPLAINED_BY_CLASSES = 0.8
"""The share of the variance from which the directions of the rows are those of their classes."""


# ------------------------------------------------------------------------------------------------ the numbers


def fewest_rows(measurement: Results) -> int:
    """Return the number of rows, of the smaller of two towers."""
    return min(measurement.towers.rows) if measurement.towers else measurement.n


def is_judged(measurement: Results) -> bool:
    """Whether there are enough rows, of unit norm: a few rows may be close to each other by chance."""
    deviation = measurement.norms.deviation
    return fewest_rows(measurement) >= LEAST_ROWS and (deviation is None or deviation <= LARGEST_DEVIATION)


def is_cone(measurement: Results) -> bool:
    """Whether rows form a cone, which is less than nearly equal rows."""
    return is_judged(measurement) and CONE_COSINE < measurement.mean_cosine <= EQUAL_COSINE


def _equivalent_dim(measurement: Results) -> float | None:
    """Return the equivalent dimension, of the centred rows if there is a cone that is not nearly all.

    It is None below -2t, where rows are as even as can be.
    """
    if not is_judged(measurement) or measurement.dim < LEAST_DIM_TO_COLLAPSE:
        return None
    if measurement.mean_cosine > NEARLY_CONSTANT_COSINE:
        return measurement.uniform.equivalent_dim
    if _are_places_classes(measurement):
        return None
    if not is_cone(measurement):
        return measurement.uniform.equivalent_dim
    return measurement.centered.uniform.equivalent_dim if measurement.centered else None


def _are_places_classes(measurement: Results) -> bool:
    """Whether the classes explain most of the variance, so that few places or directions are the classes."""
    classes = measurement.tolerance
    return bool(classes and classes.explained and classes.explained >= EXPLAINED_BY_CLASSES)


def _mean_cosine(measurement: Results) -> float | None:
    return measurement.mean_cosine if is_judged(measurement) else None


def _directions(measurement: Results) -> float | None:
    """Return the participation ratio, over a hundredth of RankMe if that is above 1."""
    is_small = min(fewest_rows(measurement), measurement.dim) < LEAST_FOR_DIRECTIONS
    if not is_judged(measurement) or is_small or _are_places_classes(measurement):
        return None
    return measurement.participation_ratio / max(1.0, measurement.rankme / 100)


def _rank_share(measurement: Results) -> float | None:
    """Return RankMe over its largest possible value, averaged over two towers as RankMe is."""
    rows = measurement.towers.rows if measurement.towers else (measurement.n,)
    largest = statistics.fmean(min(count, measurement.dim) for count in rows)
    return measurement.rankme / largest if is_judged(measurement) else None


def _duplicate_share(measurement: Results) -> float:
    """Return the share of duplicates among the rows of all views, or of both towers."""
    towers, duplicates = measurement.towers, measurement.duplicates
    rows = sum(towers.rows) if towers else measurement.n * max(1, len(measurement.uniform.by_population))
    is_smooth = duplicates.near_growth is not None and duplicates.near_growth >= SMOOTH_GROWTH
    near = 0 if is_smooth or measurement.dim < LEAST_DIM_FOR_NEAR else duplicates.near
    return max(duplicates.exact, near) / rows


def _hub_skewness(measurement: Results) -> float | None:
    hubs = measurement.hubs
    return hubs.skewness if hubs and hubs.rows >= LEAST_FOR_HUBS and is_judged(measurement) else None


def _antihubs(measurement: Results) -> float | None:
    hubs = measurement.hubs
    return hubs.antihubs if hubs and hubs.rows >= LEAST_FOR_HUBS and is_judged(measurement) else None


def _relative_alignment(measurement: Results) -> float | None:
    """Return the relative alignment of pairs; classes are wide, and judged by another number."""
    align = measurement.align
    return align.relative if align is not None and align.of != SAME_CLASS else None


def _far_pairs(measurement: Results) -> float | None:
    align = measurement.align
    return align.far if align is not None and align.pairs >= LEAST_ROWS else None


def _tolerance_z(measurement: Results) -> float | None:
    is_few = measurement.n < LEAST_ROWS or measurement.tolerance is None
    return None if is_few or measurement.tolerance is None else measurement.tolerance.z


def _norm_ratio(measurement: Results) -> float | None:
    return measurement.norms.largest_ratio if measurement.norms.normalized else None


def _numbers_of_centred_rows(measurement: Results) -> str:
    """Return what centring changes, in a sentence."""
    found = measurement.centered
    if found is None:
        return ""
    changes = []
    for key in ("uniform", "uniform.equivalent_dim", "align.relative"):
        record, centred = quantity(key), quantity(f"centered.{key}")
        before, after = (each.text(measurement).partition(" ± ")[0] for each in (record, centred))
        if before and after:
            changes.append(f"{record.label} {after} in place of {before}")
    return f"Less their mean, and normalised again, they have {', '.join(changes)}."


def _largest_share(measurement: Results) -> str:
    share = measurement.largest_share
    return "" if share is None else f"The first of them has {share:.0%}."


# -------------------------------------------------------------------------------------------------- the table

HEURISTICS = (
    Heuristic(
        name="not on the sphere",
        quantity="largest deviation of a norm from 1, for rows that were measured as they are",
        number=lambda m: m.norms.deviation,
        side="above",
        thresholds=((LARGEST_DEVIATION, "problem"),),
        what="The rows were measured as they are, with norms from {m.norms.as_measured[0]:.4g} to "
        "{m.norms.as_measured[1]:.4g}. Alignment and uniformity are defined for rows of norm 1; for other "
        "rows they measure the scale as well, and the optimum, of unit rows, does not apply.",
        advice="Measure with normalisation, which is the default, unless you want to measure the scale.",
        why="Half precision moves a norm by 0.001, eight bits by about 0.01.",
    ),
    Heuristic(
        name="collapsed",
        quantity=f"{quantity('uniform.equivalent_dim').label}; of the rows less their mean if their mean "
        f"cosine is from {CONE_COSINE:g} to {NEARLY_CONSTANT_COSINE:g}",
        number=_equivalent_dim,
        side="below",
        thresholds=((2.0, "problem"),),
        what="The {m.dim:,} features spread the rows no more than {number:.2f} evenly used features would: "
        "most rows lie close together, or in a few places.",
        advice="See which rows are crowded, and whether a few places are a few kinds of inputs, such as "
        "languages or batches. In training, give uniformity more weight (or the contrastive loss a lower "
        "temperature), and check that the encoder sees different inputs.",
        why="2 is the circle: below it rows are less spread than points on a ring. A cone is small without "
        "being collapsed: layers of a sentence encoder with an equivalent dimension of 1.3 have 31 once the "
        f"mean is subtracted, and retrieve well. Above a mean cosine of {NEARLY_CONSTANT_COSINE:g} the mean "
        f"is nearly all that there is. It is not judged for fewer than {LEAST_DIM_TO_COLLAPSE} features or "
        f"{LEAST_ROWS} rows, nor where the few places are the classes, which then explain "
        f"{EXPLAINED_BY_CLASSES:.0%} of the variance.",
    ),
    Heuristic(
        name="cone",
        quantity=quantity("mean_cosine").meaning,
        number=_mean_cosine,
        side="above",
        thresholds=((CONE_COSINE, "warning"), (0.5, "problem")),
        what="Two random rows have a mean cosine of {number:.2f}, where rows "
        "around the origin have 0: they lie in a cone around their mean. All "
        "distances in a cone are small, so alignment looks better than it is.",
        more=_numbers_of_centred_rows,
        advice="Subtract the mean of the rows and normalise: centring costs nothing and often helps "
        "retrieval. Judge pairs by relative alignment.",
        why="At a mean cosine of 0.2 the mean vector has a length of 0.45, and a fifth of the rows' squared "
        f"length is common to all. It is not judged for fewer than {LEAST_ROWS} rows.",
    ),
    Heuristic(
        name="few directions dominate",
        quantity="participation ratio; over a hundredth of RankMe where that is above 1",
        number=_directions,
        side="below",
        thresholds=((5.0, "warning"),),
        what="Most of the variance lies in {m.participation_ratio:.1f} directions, of {m.rankme:.0f} that "
        "RankMe counts as in use.",
        more=_largest_share,
        advice="Look at the rows along the first principal components. Single features with a large scale "
        "(rogue dimensions) want standardising, or removing; a component that separates batches, sources or "
        "languages wants correcting, and subtracting one mean does not do it; kinds of inputs that are meant "
        "to lie apart are labels to pass.",
        why="Encoders of sentences and of pictures have participation ratios from 9 to 81, and at least 0.07 "
        "of RankMe; one feature of thirty times the scale, three rogue dimensions, offsets of two batches "
        f"or of five languages have less. It is not judged for fewer than {LEAST_FOR_DIRECTIONS} rows or "
        f"features, nor where labels explain {EXPLAINED_BY_CLASSES:.0%} of the variance.",
    ),
    Heuristic(
        name="low rank",
        quantity=f"{quantity('rankme').label} over the number of rows or of features, whichever is smaller; "
        "averaged over two towers",
        number=_rank_share,
        side="below",
        thresholds=((0.25, "warning"),),
        what="RankMe counts {m.rankme:.1f} dimensions in use, {number:.0%} of the largest number that is "
        "possible for as many rows of {m.dim:,} features: the others carry little.",
        advice="See where the spectrum falls off. A projection on the first principal components makes the "
        "rows smaller with little loss; in training, look for dimensional collapse: more uniformity, or a "
        "projection head that is removed afterwards.",
        why="Garrido et al. (ICML 2023) find that rank correlates with "
        "accuracy among encoders of one kind; a quarter is our choice.",
    ),
    Heuristic(
        name="hubs",
        quantity=quantity("hubs.skewness").meaning,
        number=_hub_skewness,
        side="above",
        thresholds=((3.0, "warning"),),
        what="A few rows are among the ten nearest neighbours of a great many others: the skewness of their "
        "number is {number:.1f}, among {m.hubs.rows:,} rows.",
        more=lambda m: "" if m.hubs is None else m.hubs.largest,
        advice="Look at the hubs, which often are empty, cut off or very general inputs. "
        "Centring, or scaling similarities by the density of either side (CSLS), takes hubs away from "
        "retrieval.",
        why="Uniform rows have 0.3, encoders of sentences and of pictures 0.9 to 2.6, a bag of random word "
        "vectors 6; one row that 133 of 1,500 others find makes 6, one that nearly all find 36. It is not "
        f"judged for fewer than {LEAST_FOR_HUBS} rows.",
    ),
    Heuristic(
        name="rows that nothing finds",
        quantity=quantity("hubs.antihubs").meaning,
        number=_antihubs,
        side="above",
        thresholds=((0.25, "warning"),),
        what="{number:.0%} of {m.hubs.rows:,} rows are among the ten nearest neighbours of no other of them: "
        "a search by neighbours never returns them.",
        advice="See whether a few rows take all places (hubs, duplicates), and centre the rows if there is a "
        "cone.",
        why="Uniform rows have none, encoders 10% or fewer, where queries and candidates are the same at "
        "most 2,000 rows; the share grows with their number. It is not judged for fewer than "
        f"{LEAST_FOR_HUBS}.",
    ),
    Heuristic(
        name="duplicates",
        quantity="share of rows that occur more than once",
        number=_duplicate_share,
        side="above",
        thresholds=((0.01, "warning"), (0.4, "problem")),
        what="{number:.1%} of the rows occur more than once: {m.duplicates.exact:,} equal an earlier row, "
        f"{{m.duplicates.near:,}} have a cosine of at least {NEAR_COSINE:g} with another row.",
        advice="Look for inputs that occur more than once, and leave them out: they make neighbours trivial, "
        "and raise uniformity by their number alone. If the inputs differ, the encoder cannot distinguish "
        "them.",
        why="A share p of rows in one place adds at most p² to the mean potential, but p to the neighbours "
        "that are trivial; where half of the rows are duplicates, most neighbours are. Near rows count only "
        f"if twice the angle has fewer than {SMOOTH_GROWTH:g} times as many pairs: a smooth curve has twice "
        f"as many, a surface four times; and not at all with fewer than {LEAST_DIM_FOR_NEAR} features.",
    ),
    Heuristic(
        name="identical views",
        quantity=quantity("align.relative").label,
        number=_relative_alignment,
        side="below",
        thresholds=((IDENTICAL, "problem"),),
        what="The two rows of a pair are the same ({m.align.of}): their mean squared distance is "
        "{number:.2g} of that of other rows. Such an alignment says nothing.",
        advice="Check that the two views are two: not one file twice, nor one row paired with its copy, nor "
        "one view encoded twice without dropout or augmentation.",
        why="Copies of rows in half precision have 2e-8 (float16) and 1e-6 (bfloat16), views of trained "
        "encoders 0.01 and more.",
    ),
    Heuristic(
        name="pairs no closer than chance",
        quantity=quantity("align.relative").label,
        number=_relative_alignment,
        side="above",
        thresholds=((0.5, "warning"), (0.9, "problem")),
        what="The mean squared distance of positive pairs ({m.align.of}) is {number:.0%} of the mean squared "
        "distance of rows that are no pair.",
        advice="First check that the pairs are pairs: the order of rows, ids, a shuffled file. If they are, "
        "the encoder does not see what the two rows of a pair share; train it with such pairs as positives.",
        why="Pairs drawn at random have 1, trained encoders 0.2 to 0.35. Classes are wide, and judged by "
        "permuted labels instead.",
    ),
    Heuristic(
        name="wrong pairs",
        quantity=quantity("align.far").meaning,
        number=_far_pairs,
        side="above",
        thresholds=((0.05, "warning"),),
        what="{number:.1%} of the positive pairs ({m.align.of}) are farther apart than half of all pairs of "
        "random rows, as about twice as many wrong pairs would be.",
        advice="Look at the worst pairs: mismatched rows, wrong ids, empty inputs. If they are pairs, the "
        "encoder misses what they share.",
        why="Of wrong pairs half are farther apart than the median of random rows, of the pairs of trained "
        "encoders 2% or fewer, and of an untrained one 11%. It is not judged for fewer than "
        f"{LEAST_ROWS} pairs, nor for classes.",
    ),
    Heuristic(
        name="labels no closer than chance",
        quantity=quantity("tolerance.z").meaning,
        number=_tolerance_z,
        side="below",
        thresholds=((3.0, "problem"),),
        what="Rows of one class are no closer to each other than with permuted labels: their mean cosine "
        "lies {number:.1f} standard deviations above the mean of permutations.",
        advice="First check that the labels belong to the rows: the order, a shuffled file. If they do, the "
        "encoder does not see these classes.",
        why="Permuted labels have a mean of 0 and a standard deviation of 1, whatever the classes. Relative "
        "alignment says less: classes that can be told apart without error have between 0.5 and 0.9. It is "
        f"not judged for fewer than {LEAST_ROWS} rows. Of groups, the labels of whole groups are permuted.",
    ),
    Heuristic(
        name="unequal norms",
        quantity=quantity("norms.largest_ratio").meaning,
        number=_norm_ratio,
        side="above",
        thresholds=((1 + LARGEST_DEVIATION, "note"), (10.0, "warning")),
        what="The rows had norms from {m.norms.smallest:.4g} to {m.norms.largest:.4g}, the median "
        "{m.norms.median:.4g}, and were divided by them: their directions are measured here.",
        advice="Do norms carry meaning, such as frequency, length or confidence? If so, keep them, and know "
        "that dot products rank by norm as well as by direction. If not, search by cosine, or normalise the "
        "rows before you store them.",
        why="Neighbours differ by a few hundredths of cosine, so norms that differ by a twentieth change "
        "their order by dot product. A row of ten times the median comes first in half of all such searches.",
    ),
)
"""The heuristics, in the order in which they explain each other."""


def markdown_table() -> str:
    """Return the table of all heuristics that the documentation shows."""
    lines = ["| finding | number | threshold | why |", "|---|---|---|---|"]
    for each in HEURISTICS:
        limits = "; ".join(f"{each.side} {limit:g}: {severity}" for limit, severity in each.thresholds)
        lines.append(f"| {each.name} | {each.quantity} | {limits} | {each.why} |")
    return "\n".join(lines)
