"""Alignment: from the distances of positive pairs, or from the sums of classes."""

from __future__ import annotations

import functools
import operator
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform.measuring import uniformity
from align_uniform.measuring.difference import standard_error
from align_uniform.measuring.populations import block_slices
from align_uniform.measuring.quantities_of_rows import EQUAL_COSINE, SAME_CLASS
from align_uniform.measuring.results import Alignment, Tolerance
from align_uniform.measuring.subject import Subject, codes_of


@dataclass(frozen=True)
class Pairs:
    """The distances of positive pairs, and the alignment that follows from them."""

    distances: tuple[Tensor, ...]
    """The distances, [P], of each pair of views; none for features alone."""
    items: Tensor | None
    """The mean of ||x - y||^alpha over the pairs of each item, [items]."""
    alignment: Alignment | None
    """The alignment; None without pairs."""


@dataclass(frozen=True)
class Classes:
    """The closeness of rows of one class."""

    tolerance: Tolerance | None
    """The mean cosine; None without labels."""
    alignment: Alignment | None
    """The mean squared distance; None without labels, or for another alpha than 2."""


def alignment_of_pairs(asked: Subject, alpha: float, items: Tensor | None) -> Pairs:
    """Measure all positive pairs."""
    distances = tuple(pairs.distances() for pairs in asked.positives)
    if not distances:
        return Pairs((), None, None)
    of_items = _item_means(asked, distances, alpha, items)
    item_squares = _item_means(asked, distances, 2, items)
    squares = [float(part.square().mean()) for part in distances]
    others = [pairs.other_mean_square(part) for pairs, part in zip(asked.positives, distances, strict=True)]
    far = [pairs.far_share(part) for pairs, part in zip(asked.positives, distances, strict=True)]
    chance = None if None in others else statistics.fmean(other for other in others if other is not None)
    alignment = Alignment(
        value=float(of_items.mean()),
        stderr=standard_error(of_items) if len(of_items) > 1 else None,
        relative=statistics.fmean(squares) / chance if chance else None,
        relative_stderr=standard_error(item_squares) / chance if chance and len(item_squares) > 1 else None,
        alpha=alpha,
        pairs=sum(map(len, distances)),
        of=asked.of,
        far=None if None in far else statistics.fmean(share for share in far if share is not None),
    )
    return Pairs(distances, of_items, alignment)


def _item_means(asked: Subject, distances: tuple[Tensor, ...], alpha: float, items: Tensor | None) -> Tensor:
    """Return the mean of ||x - y||^alpha over the pairs of each item, [items]."""
    of_rows = torch.stack(distances).pow(alpha).mean(0)
    rows = asked.positives[0].x_rows
    return uniformity.of_items(
        of_rows, items if items is None or rows is None else codes_of("groups", items[rows], len(rows))
    )


def alignment_of_classes(asked: Subject, classes: Tensor | None, alpha: float) -> Classes:
    """Measure the rows of each class, in two passes over all rows."""
    if classes is None:
        return Classes(None, None)
    moments = asked.rows.survey.moments
    blocks = block_slices(asked.rows)
    parts = (geometry.ClassSums.of(asked.rows[part].cpu(), classes[part]) for part in blocks)
    sums = functools.reduce(operator.add, parts)
    shares = [geometry.within_class_products(asked.rows[part].cpu(), classes[part], sums) for part in blocks]
    tolerance = Tolerance(
        value=geometry.tolerance(sums),
        stderr=geometry.tolerance_stderr(torch.cat(shares), classes, sums),
        classes=len(sums.counts) - sums.singletons,
        skipped=sums.singletons,
        z=_permutation_z(sums, moments) if asked.rows.normalize else None,
        explained=geometry.explained_variance(sums),
    )
    return Classes(tolerance, _class_alignment(asked, sums, tolerance) if alpha == 2 else None)


def _permutation_z(sums: geometry.ClassSums, moments: geometry.Moments) -> float | None:
    """Return how far tolerance lies above its mean over permuted labels, in standard deviations.

    It is None where no permutation changes anything: one class, or equal rows.
    """
    is_one_class = int((sums.counts > 0).sum()) == 1
    if moments.count < 4 or is_one_class or geometry.mean_cosine(moments) > EQUAL_COSINE:
        return None
    mean, deviation = geometry.permuted_tolerance(sums, moments)
    return (geometry.tolerance(sums) - mean) / deviation if deviation else None


def _class_alignment(asked: Subject, sums: geometry.ClassSums, tolerance: Tolerance) -> Alignment:
    """Return the mean squared distance within classes, which their sums give in closed form."""
    moments, pairs = asked.rows.survey.moments, sums.pairs / 2
    value = geometry.class_alignment(sums)
    others = moments.count * (moments.count - 1) / 2 - pairs
    total = geometry.cross_mean_squared_distance(moments, moments) * moments.count**2 / 2
    # The squared distance of unit rows is 2 less two cosines, and its error is twice the error of the cosine.
    error = 2 * tolerance.stderr if asked.rows.normalize and tolerance.stderr is not None else None
    chance = (total - value * pairs) / others if others >= 1 else 0.0
    return Alignment(
        value=value,
        stderr=error,
        relative=value / chance if chance else None,
        relative_stderr=error / chance if chance and error is not None else None,
        alpha=2.0,
        pairs=int(pairs),
        of=SAME_CLASS,
    )
