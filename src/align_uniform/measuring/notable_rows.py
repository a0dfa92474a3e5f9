"""The rows and pairs that a measurement names, and the numbers of single rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from align_uniform.geometry.neighbours import nearest_in_blocks
from align_uniform.measuring.populations import Population, block_slices, take
from align_uniform.measuring.results import CrowdedRow, Duplicates, Norms, PairDistance
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Sums, random_rows

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
    """Return the number of the other row that is nearest to each of these rows, and its distance."""
    queries = take(population, indices)
    blocks = ((part.start, population[part]) for part in block_slices(population))
    nearest = nearest_in_blocks(queries, blocks, own=indices)[1].squeeze(1).cpu()
    # The distance of near rows is lost in their product, but not in their difference.
    distances = torch.linalg.vector_norm(queries - take(population, nearest), dim=1)
    return nearest, distances.cpu().double()


def duplicates(asked: Subject, sums: Sums) -> Duplicates:
    """Count the rows that occur more than once."""
    near = sum(
        round(float(flags.sum()) * len(population) / len(flags))
        for flags, population in zip(sums.near, asked.populations, strict=True)
    )
    return Duplicates(exact=sum(population.survey.duplicates for population in asked.populations), near=near)


def norms(asked: Subject) -> Norms:
    """Summarise the norms of all rows as they were given."""
    surveys = [population.survey for population in asked.populations]
    return Norms(
        smallest=min(survey.smallest for survey in surveys),
        mean=sum(survey.norms for survey in surveys) / sum(survey.moments.count for survey in surveys),
        largest=max(survey.largest for survey in surveys),
        normalized=asked.rows.normalize,
    )


def sampled_cosines(population: Population, seed: int) -> Tensor:
    """Return the cosines of all pairs of a few random rows."""
    sample = random_rows(len(population), SAMPLE_ROWS, seed)
    rows = population[slice(0, len(population))] if sample is None else take(population, sample)
    rows = torch.nn.functional.normalize(rows.cpu().double(), dim=1)
    above = torch.triu_indices(len(rows), len(rows), offset=1)
    return (rows @ rows.T)[above[0], above[1]]
