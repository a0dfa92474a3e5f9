"""The mean cosine of two distinct rows, and the influence of each unit on it."""

from __future__ import annotations

import functools
import operator
import statistics

from torch import Tensor

from align_uniform import geometry
from align_uniform.measuring.influence import Influence, of_all_pairs, of_pairs_of_groups
from align_uniform.measuring.populations import Population, block_slices, products
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Alike, mean_influence
from align_uniform.measuring.units import Units


def mean_cosine(asked: Subject, units: Units, alike: Alike) -> tuple[float, Influence | None]:
    """Return the mean cosine, averaged over the populations; with groups, of rows of different groups."""
    values, influences = [], []
    for number, population in enumerate(asked.populations):
        if units.grouped:
            value, influence = _of_groups(population, units.of(number))
        else:
            value, influence = _of_rows(population)
            if influence is not None:
                influence = Influence(units.gather(influence.values, number), influence.kernels)
        values.append(value)
        influences.append(influence)
    return statistics.fmean(values), mean_influence(influences, alike.correlations())


def _of_rows(population: Population) -> tuple[float, Influence | None]:
    moments, count = population.survey.moments, len(population)
    value = geometry.mean_cosine(moments)
    inner, squares = products(population, moments.sum.unsqueeze(1))
    means = (inner.squeeze(1) - squares) / (count - 1)
    square = (float(moments.second.square().sum()) - population.survey.fourth) / (count * (count - 1))
    return value, of_all_pairs(means, square - value**2, count)


def _of_groups(population: Population, groups: Tensor) -> tuple[float, Influence | None]:
    parts = (geometry.ClassSums.of(population[part].cpu(), groups[part]) for part in block_slices(population))
    sums = functools.reduce(operator.add, parts)
    sizes = sums.counts.double()
    norms = sums.sums.square().sum(1)
    totals = sums.sums @ sums.sums.sum(0) - norms
    squares = float((sums.sums.T @ sums.sums).square().sum()) - float(norms.square().sum())
    weighted = float((sizes @ sums.sums).square().sum()) - float((sizes.square() * norms).sum())
    value = float(totals.sum()) / (float(sizes.sum()) ** 2 - float(sizes.square().sum()))
    return value, of_pairs_of_groups(totals, squares, weighted, sizes)
