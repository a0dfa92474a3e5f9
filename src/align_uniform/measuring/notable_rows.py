"""The rows and pairs that a measurement names, and the numbers of single rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform._unit_norm import LARGEST_DEVIATION
from align_uniform.engine.precision import widened
from align_uniform.geometry.neighbours import nearest_in_blocks
from align_uniform.measuring.populations import Population, block_slices, take
from align_uniform.measuring.quantities_of_rows import NEAR_COSINE, WIDER_COSINE
from align_uniform.measuring.results_of_rows import CrowdedRow, Duplicates, HubRow, Hubs, Norms, PairDistance
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Sums, random_rows

HUB_ROWS = 2000
"""The number of rows, queries and candidates alike, among which hubs are looked for. The share of rows that
are nobody's neighbour depends on it: against all of 50,000 uniform rows, it is two thirds.
"""

NEIGHBOURS = 10
"""The number of neighbours of each row that are counted to find hubs."""

NEAR_ROWS = 256
"""The number of rows whose near duplicates are counted one by one."""

SAMPLE_ROWS = 448
"""The number of rows whose pairs, about 100,000, make the histogram of cosines."""


def worst_pairs(asked: Subject, distances: Sequence[Tensor], top: int) -> tuple[PairDistance, ...]:
    """Return the positive pairs that are farthest apart, the farthest first."""
    if not distances:
        return ()
    flat = torch.cat(list(distances))
    worst = flat.topk(min(top, len(flat)))
    found = []
    for distance, position in zip(worst.values.tolist(), worst.indices.tolist(), strict=True):
        pairs, pair = divmod(position, len(distances[0]))
        x, y = asked.positives[pairs].row_numbers(pair)
        found.append(PairDistance(x, y, distance))
    return tuple(found)


def crowded_rows(asked: Subject, sums: Sums, top: int) -> tuple[CrowdedRow, ...]:
    """Return the most crowded rows of all populations, each with its nearest neighbour."""
    rows: list[CrowdedRow] = []
    if top == 0:
        return ()
    for view, (population, means, anchors) in enumerate(
        zip(asked.populations, sums.row_means, sums.anchors, strict=True)
    ):
        most = means.topk(min(top, len(means)))
        indices = most.indices if anchors is None else anchors[most.indices]
        neighbours, distances = nearest_rows(population, indices)
        numbers = (population.number_of(part).tolist() for part in (indices, neighbours))
        rows += [
            CrowdedRow(view, row, mean, neighbour, distance)
            for row, mean, neighbour, distance in zip(
                next(numbers), most.values.tolist(), next(numbers), distances.tolist(), strict=True
            )
        ]
    return tuple(sorted(rows, key=lambda row: row.mean_potential, reverse=True)[:top])


def nearest_rows(population: Population, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of the other row that is nearest to each of these rows, and its distance.

    The rows are few, so that float64 costs little: products in float32 would not order tight duplicates.
    """
    return nearest_of(widened(take(population, indices)), population, own=indices)


def nearest_of(rows: Tensor, population: Population, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the number of the row of a population that is nearest to each of a few rows, and its distance.

    Args:
        rows: the rows, [Q, m], float64.
        population: the rows that are searched, all of them.
        own: the number of the row of the population that each is, [Q], which it does not find; None if they
            are no rows of the population.
    """
    centre = widened(population.centre)
    queries = rows - centre
    blocks = ((part.start, widened(population[part]) - centre) for part in block_slices(population))
    nearest = nearest_in_blocks(queries, blocks, own=own)[1].squeeze(1).cpu()
    distances = torch.linalg.vector_norm(rows - widened(take(population, nearest)), dim=1)
    return nearest, distances.cpu()


class NearPairs(NamedTuple):
    """The rows of a population that have another within an angle, and the pairs that they make."""

    rows: float
    """The number of such rows."""
    pairs: float
    """The number of their ordered pairs."""


def near_pairs(asked: Subject, sums: Sums, seed: int) -> list[tuple[NearPairs, NearPairs]]:
    """Count the near duplicates in each population, and the rows within twice the angle.

    Under anchors the rows are estimated from the anchors; the pairs are those of up to `NEAR_ROWS` rows.
    """
    found = []
    for population, flags, weights, anchors in zip(
        asked.populations, sums.near, sums.weights, sums.anchors, strict=True
    ):
        near, wider = (
            _near_pairs(population, flag, weights, _flagged(flag, anchors, seed), cosine)
            for flag, cosine in zip(flags, (NEAR_COSINE, WIDER_COSINE), strict=True)
        )
        found.append((near, wider))
    return found


def _near_pairs(
    population: Population, flags: Tensor, weights: Tensor, indices: Tensor, cosine: float
) -> NearPairs:
    rows = float(flags.double() @ weights) * len(population)
    return NearPairs(rows, rows * _others_within(population, indices, cosine))


def duplicates(
    asked: Subject, near: Sequence[tuple[NearPairs, NearPairs]], *, is_sampled: bool
) -> Duplicates:
    """Return the rows that occur more than once, and those that have a near duplicate.

    Pairs are near by their distance, which says nothing of the angle of rows that are not of unit norm.
    """
    exact = sum(population.survey.duplicates for population in asked.populations)
    if not all(_are_unit(population) for population in asked.populations):
        return Duplicates(exact, near=sum(population.survey.twins for population in asked.populations))
    rows = round(sum(part[0].rows for part in near))
    if is_sampled:  # anchors may miss rows that are known to be equal
        rows = max(rows, sum(population.survey.twins for population in asked.populations))
    close, wider = (sum(part[place].pairs for part in near) for place in (0, 1))
    return Duplicates(exact=exact, near=rows, near_growth=wider / close if close else None)


def _are_unit(population: Population) -> bool:
    deviation = float((population.survey.norms - 1).abs().max())
    return population.normalize or deviation <= LARGEST_DEVIATION


def _flagged(flags: Tensor, anchors: Tensor | None, seed: int) -> Tensor:
    """Return the numbers, rising, of at most 256 random rows of those that are flagged."""
    rows = flags.nonzero().squeeze(1)
    sample = random_rows(len(rows), NEAR_ROWS, seed)
    rows = rows if sample is None else rows[sample]
    return rows if anchors is None else anchors[rows]


def _others_within(population: Population, indices: Tensor, cosine: float) -> float:
    """Return the mean number of other rows that lie as near to these rows as the cosine of unit rows says."""
    if not len(indices):
        return 0.0
    queries = take(population, indices) - population.centre
    count = 0
    for part in block_slices(population):
        squared = torch.cdist(queries, population[part] - population.centre).square()
        count += int((squared <= 2 - 2 * cosine).sum())
    return count / len(indices) - 1


def norms(given: Subject, asked: Subject) -> Norms:
    """Summarise the norms of all rows as they were given, and as they are measured."""
    parts = [population.survey.norms for population in given.populations]
    norms = torch.cat(parts)
    measured = torch.cat([population.survey.norms for population in asked.populations])
    return Norms(
        smallest=float(norms.min()),
        mean=float(norms.mean()),
        largest=float(norms.max()),
        normalized=given.rows.normalize,
        median=float(norms.median()),
        largest_ratio=max(float(part.max() / part.median()) for part in parts),
        measured=None if given.rows.normalize else (float(measured.min()), float(measured.max())),
    )


def hubs(asked: Subject, seed: int, top: int) -> Hubs | None:
    """Count how often rows are neighbours of others, in a sample of each population; None for few rows."""
    found = []
    for view, population in enumerate(asked.populations):
        sample = random_rows(len(population), HUB_ROWS, seed)
        rows = population[slice(0, len(population))] if sample is None else take(population, sample)
        if len(rows) > NEIGHBOURS:
            counts = geometry.occurrences(rows, NEIGHBOURS)
            antihubs = float((counts == 0).double().mean())
            most = counts.topk(min(top, len(counts)))
            indices = most.indices if sample is None else sample[most.indices]
            numbers = population.number_of(indices).tolist()
            named = tuple(HubRow(view, *each) for each in zip(numbers, most.values.tolist(), strict=True))
            found.append(Hubs(len(rows), geometry.skewness(counts), antihubs, named))
    return max(found, key=lambda hubs: hubs.skewness, default=None)


def sampled_cosines(asked: Subject, seed: int, groups: Tensor | None = None) -> Tensor:
    """Return the cosines of all pairs of a few random rows of every population.

    Args:
        asked: the subject.
        seed: the seed of the rows.
        groups: the group of each row, [N], whose pairs do not count unless all these rows are of one group;
            None without groups.
    """
    size = round(SAMPLE_ROWS / math.sqrt(len(asked.populations)))
    return torch.cat([_sampled_cosines(population, size, seed, groups) for population in asked.populations])


def _sampled_cosines(population: Population, size: int, seed: int, groups: Tensor | None) -> Tensor:
    sample = random_rows(len(population), size, seed)
    rows = population[slice(0, len(population))] if sample is None else take(population, sample)
    rows = torch.nn.functional.normalize(rows.cpu().double(), dim=1)
    above = torch.triu_indices(len(rows), len(rows), offset=1, device="cpu")
    if groups is not None:
        own = groups if sample is None else groups[sample]
        apart = own[above[0]] != own[above[1]]
        above = above[:, apart] if bool(apart.any()) else above
    return (rows @ rows.T)[above[0], above[1]]
