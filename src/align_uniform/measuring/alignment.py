"""Alignment, from the distances of positive pairs or from the sums of classes, and the influences on it."""

from __future__ import annotations

import functools
import operator
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform.functional import normalize_rows
from align_uniform.measuring.influence import Influence, centred_shares, of_pairs, stderr, sums_by
from align_uniform.measuring.populations import Population, block_slices, products
from align_uniform.measuring.positives import Positives
from align_uniform.measuring.quantities_of_rows import EQUAL_COSINE, SAME_CLASS
from align_uniform.measuring.results import Alignment, Tolerance
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.units import Units, pair_ends


@dataclass(frozen=True)
class Closeness:
    """The closeness of rows that belong together: in pairs, or in classes."""

    distances: tuple[Tensor, ...]
    """The distances, [P], of each pair of views; none for features alone."""
    alignment: Alignment | None
    """The alignment; None for features alone, and for classes next to pairs with another alpha than 2."""
    tolerance: Tolerance | None
    """The mean cosine within classes; None without labels."""
    influences: dict[str, Influence]
    """The influence of each unit, by the key of the number."""


# --------------------------------------------------------------------------------------------- positive pairs


@dataclass(frozen=True)
class _Others:
    """The squared distances of rows that are no pair."""

    mean: float
    """The mean over all such pairs of rows."""
    of_units: Tensor
    """The part of each unit in the deviation of the mean, [units]."""
    of_pairs: Tensor
    """The part of each positive pair in it, [P]: of the mean over all pairs of rows they are left out."""


def alignment_of_pairs(asked: Subject, alpha: float, units: Units) -> Closeness:
    """Measure all positive pairs."""
    distances = tuple(pairs.distances() for pairs in asked.positives)
    if not distances:
        return Closeness((), None, None, {})
    first = asked.positives[0]
    # Every pair of views has the same items in the same order, and is averaged over views.
    ends = pair_ends(units, (first.x_rows, first.y_rows), (0, 1 if first.x is not first.y else 0))
    shares = [centred_shares(torch.stack(distances).pow(power).mean(0)) for power in (alpha, 2.0)]
    squares = statistics.fmean(float(part.square().mean()) for part in distances)
    influences = {"align": of_pairs(shares[0], ends, units.count, split=units.split)}
    others = _others(asked, units, distances)
    relative = None
    if others is not None and others.mean > 0:
        relative = squares / others.mean
        influences["align.relative"] = of_pairs(
            (shares[1] - relative * others.of_pairs) / others.mean,
            ends,
            units.count,
            split=units.split,
            of_units=-relative / others.mean * others.of_units,
        )
    groups = units.of_rows[0] if units.grouped else None
    far = [asked.pairs_of_entities(place).far_share(part, groups) for place, part in enumerate(distances)]
    alignment = Alignment(
        value=float(torch.stack(distances).pow(alpha).mean()),
        stderr=stderr(influences["align"]),
        relative=relative,
        relative_stderr=stderr(influences.get("align.relative")),
        alpha=alpha,
        pairs=sum(map(len, distances)),
        of=asked.of,
        far=None if None in far else statistics.fmean(share for share in far if share is not None),
    )
    return Closeness(distances, alignment, None, _known(influences))


def _others(asked: Subject, units: Units, distances: tuple[Tensor, ...]) -> _Others | None:
    """Return the squared distances of rows that are no pair, averaged over the pairs of views.

    Of the rows of an entity only the first counts, as in uniformity.
    """
    numbers = {id(population): number for number, population in enumerate(asked.populations)}
    found = []
    for place, part in enumerate(distances):
        positives = asked.pairs_of_entities(place)
        every_row_counts = positives.x is asked.positives[place].x and positives.y is asked.positives[place].y
        apart = part if every_row_counts else positives.distances()
        mean = _grouped_mean(positives, units) if units.grouped else positives.other_mean_square(apart)
        if mean is None:
            return None
        once = positives.once()
        others = positives.combinations - float(once.sum())
        of_units = torch.zeros(units.count, dtype=torch.float64, device="cpu")
        for own, other in ((positives.x, positives.y), (positives.y, positives.x)):
            of_rows = centred_shares(_mean_squares(own, other))
            of_units += units.gather(of_rows, numbers[id(own)])
        squares = apart.square()
        of_pairs = -once * (squares - float((once * squares).sum() / once.sum().clamp(min=1))) / others
        found.append(_Others(mean, of_units * positives.combinations / others, of_pairs))
    return _Others(
        statistics.fmean(each.mean for each in found),
        torch.stack([each.of_units for each in found]).mean(0),
        torch.stack([each.of_pairs for each in found]).mean(0),
    )


def _mean_squares(own: Population, other: Population) -> Tensor:
    """Return the mean squared distance of each row to all rows of another population, or of its own."""
    moments = other.survey.moments
    inner, squares = products(own, moments.mean.unsqueeze(1))
    return squares + moments.mean_square - 2 * inner.squeeze(1)


def _grouped_mean(positives: Positives, units: Units) -> float | None:
    """Return the mean squared distance of a row of x and a row of y that are of different groups."""
    groups = units.of_rows[0]
    x, y = (class_sums(side, groups) for side in (positives.x, positives.y))
    total = positives.x.survey.moments.count**2
    pairs = total - int(x.counts.square().sum())
    if not pairs:
        return None
    within = (x.counts * (x.squares + y.squares)).sum() - 2 * (x.sums * y.sums).sum()
    mean = geometry.cross_mean_squared_distance(positives.x.survey.moments, positives.y.survey.moments)
    return (mean * total - float(within)) / pairs


def class_sums(population: Population, classes: Tensor) -> geometry.ClassSums:
    """Return the sums of the rows of each class, on the CPU."""
    parts = (
        geometry.ClassSums.of(population[part].cpu(), classes[part]) for part in block_slices(population)
    )
    return functools.reduce(operator.add, parts)


def _known(influences: dict[str, Influence | None]) -> dict[str, Influence]:
    return {key: value for key, value in influences.items() if value is not None}


# ---------------------------------------------------------------------------------------------------- classes


def alignment_of_classes(asked: Subject, classes: Tensor | None, alpha: float, units: Units) -> Closeness:
    """Measure the rows of each class, in three passes over all rows."""
    if classes is None:
        return Closeness((), None, None, {})
    rows, blocks = asked.rows, block_slices(asked.rows)
    sums = class_sums(rows, classes)
    shares = torch.cat(
        [geometry.within_class_products(rows[part].cpu(), classes[part], sums) for part in blocks]
    )
    of_rows = geometry.tolerance_influence(shares, classes, sums)
    within = Influence(sums_by(of_rows, units.of_rows[0], units.count))
    alignment, more = _class_alignment(asked, classes, sums, shares, units, within)
    influences = {"tolerance": within}
    if "align.relative" in more:
        influences["tolerance.within_between"] = more["align.relative"]
    tolerance = Tolerance(
        value=geometry.tolerance(sums),
        stderr=stderr(within),
        classes=len(sums.counts) - sums.singletons,
        skipped=sums.singletons,
        z=_permutation_z(asked, classes, sums, units) if asked.rows.normalize else None,
        explained=geometry.explained_variance(sums),
        within_between=alignment.relative,
        within_between_stderr=alignment.relative_stderr,
    )
    if alpha != 2:
        return Closeness((), None, tolerance, influences)
    return Closeness((), alignment, tolerance, influences | more)


def _permutation_z(asked: Subject, classes: Tensor, sums: geometry.ClassSums, units: Units) -> float | None:
    """Return how far tolerance lies above its mean over permuted labels, in standard deviations.

    Labels of dependent rows cannot be permuted row by row: of groups, each of one class, the labels of whole
    groups are, and the tolerance is that of their mean directions. It is None for other dependent rows, and
    where no permutation changes anything: one class, or equal rows.
    """
    moments = asked.rows.survey.moments
    if units.grouped or len(asked.populations[0]) < len(asked.rows):
        of_units = _classes_of_units(classes, units) if units.grouped else None
        if of_units is None:
            return None
        directions = normalize_rows(class_sums(asked.rows, units.of_rows[0]).sums)
        sums, moments = geometry.ClassSums.of(directions, of_units), geometry.Moments.of(directions)
        if not bool((sums.counts > 1).any()):
            return None
    is_one_class = int((sums.counts > 0).sum()) == 1
    if moments.count < 4 or is_one_class or geometry.mean_cosine(moments) > EQUAL_COSINE:
        return None
    mean, deviation = geometry.permuted_tolerance(sums, moments)
    return (geometry.tolerance(sums) - mean) / deviation if deviation else None


def _classes_of_units(classes: Tensor, units: Units) -> Tensor | None:
    """Return the class of each unit, [units]; None if the rows of a unit are of several classes."""
    of_rows = units.of_rows[0]
    found = torch.empty(units.count, dtype=torch.int64, device="cpu")
    found[of_rows] = classes
    return found if torch.equal(found[of_rows], classes) else None


def _class_alignment(
    asked: Subject, classes: Tensor, sums: geometry.ClassSums, shares: Tensor, units: Units, within: Influence
) -> tuple[Alignment, dict[str, Influence]]:
    """Return the mean squared distance within classes, which their sums give in closed form."""
    moments, pairs = asked.rows.survey.moments, sums.pairs / 2
    value = geometry.class_alignment(sums)
    others = moments.count * (moments.count - 1) / 2 - pairs
    total = geometry.cross_mean_squared_distance(moments, moments) * moments.count**2 / 2
    chance = (total - value * pairs) / others if others >= 1 else 0.0
    influences: dict[str, Influence] = {}
    # The squared distance of unit rows is 2 less two cosines; the rows of a class are a sample of it.
    if asked.rows.normalize:
        influences["align"] = within * -2
    if asked.rows.normalize and chance > 0:
        inner, squares = products(asked.rows, moments.sum.unsqueeze(1))
        own = sums.counts[classes]
        apart = squares * (moments.count - own) + float(sums.squares.sum()) - sums.squares[classes]
        apart -= 2 * (inner.squeeze(1) - squares - shares)
        means = sums_by(apart, classes, len(sums.counts)) / sums.counts.clamp(min=1)
        of_rows = (apart - means[classes]) / others * (own / (own - 1).clamp(min=1).double()).sqrt()
        of_others = sums_by(of_rows, units.of_rows[0], units.count)
        of_ratio = (influences["align"].values - value / chance * of_others) / chance
        influences["align.relative"] = Influence(of_ratio)
    alignment = Alignment(
        value=value,
        stderr=stderr(influences.get("align")),
        relative=value / chance if chance else None,
        relative_stderr=stderr(influences.get("align.relative")),
        alpha=2.0,
        pairs=int(pairs),
        of=SAME_CLASS,
    )
    return alignment, influences
