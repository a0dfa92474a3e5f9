"""Retrieval: the search for the partner of each row of a pair among all rows of the other side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from align_uniform.engine.precision import widened
from align_uniform.geometry.retrieval import Ranks, ranks_in_blocks
from align_uniform.measuring.answers import Ranking, Retrieval
from align_uniform.measuring.influence import Influence, centred_shares, of_pairs, share_stderr
from align_uniform.measuring.populations import Population, block_slices, take
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import random_rows
from align_uniform.measuring.units import Units, pair_ends

PRODUCTS = 10**8
"""The number of pairs of a query and a candidate up to which all pairs are queries, in either direction."""

SAMPLE = 2000
"""The number of random pairs that are queries where there are more."""

DEPTHS = (1, 5, 10)
"""The numbers of nearest candidates among which partners are looked for."""


def retrieval(
    asked: Subject, units: Units, groups: Tensor | None, seed: int
) -> tuple[Retrieval | None, dict[str, Influence]]:
    """Search for all partners, in both directions and between all views.

    The errors are those of the queries, for these candidates: among more candidates a partner is harder to
    find.

    Args:
        asked: the subject; without pairs there is no retrieval.
        units: the units of its rows.
        groups: the group of each row, [N]; other rows of a query's group are no candidates.
        seed: of the sample of pairs.

    Returns:
        The results, and the influences of the units by the keys of the numbers.
    """
    if not asked.positives:
        return None, {}
    sides = [_Side.both(asked, number) for number in range(len(asked.positives))]
    first = asked.positives[0]
    count = len(sides[0][0].queries)
    candidates = max(len(side.candidates) for pair in sides for side in pair)
    sample = random_rows(count, None if count * candidates <= PRODUCTS else SAMPLE, seed)
    ends = pair_ends(units, (first.x_rows, first.y_rows), (0, 1 if first.x is not first.y else 0))
    if sample is not None:
        ends = ends[0][sample], ends[1][sample]
    used = min(len(end.unique()) for end in ends)  # pairs of one row, item or group are one observation
    rankings: list[Ranking] = []
    influences: dict[str, Influence] = {}
    for direction, name in enumerate(("forward", "backward")):
        values = _values([pair[direction].ranks(sample, groups) for pair in sides])
        of_each = {
            key: of_pairs(centred_shares(of_pair), ends, units.count, split=units.split)
            for key, of_pair in values.items()
        }
        found = {key: replace(each, used=used) for key, each in of_each.items() if each is not None}
        means: dict[str, Any] = {key: float(of_pair.mean()) for key, of_pair in values.items()}
        errors: dict[str, Any] = {
            f"{key}_stderr": share_stderr(mean, found.get(key)) for key, mean in means.items()
        }
        rankings.append(Ranking(len(ends[0]), len(sides[0][direction].candidates), **means, **errors))
        influences |= {f"retrieval.{name}.{key}": each for key, each in found.items()}
    return Retrieval(*rankings), influences


def _values(ranks: list[Ranks]) -> dict[str, Tensor]:
    """Return what each pair adds to each number, averaged over pairs of views, [queries]."""
    values = {f"recall_{depth}": [each.recall(depth) for each in ranks] for depth in DEPTHS}
    values["mrr"] = [each.reciprocal() for each in ranks]
    return {key: torch.stack(parts).mean(0) for key, parts in values.items()}


@dataclass(frozen=True)
class _Side:
    """One direction of the search between two populations."""

    own: Population
    """The rows that queries are of."""
    candidates: Population
    """The rows that are searched."""
    queries: Tensor
    """The row of `own` that each pair looks from, [P]."""
    partners: Tensor
    """The row of `candidates` that each pair looks for, [P]."""

    @classmethod
    def both(cls, asked: Subject, number: int) -> tuple[_Side, _Side]:
        """Return both directions of the pairs of this number; an entity is one row."""
        pairs = asked.pairs_of_entities(number)
        x_rows, y_rows = (
            torch.arange(len(side), device="cpu") if rows is None else rows
            for side, rows in ((pairs.x, pairs.x_rows), (pairs.y, pairs.y_rows))
        )
        return cls(pairs.x, pairs.y, x_rows, y_rows), cls(pairs.y, pairs.x, y_rows, x_rows)

    def ranks(self, sample: Tensor | None, groups: Tensor | None) -> Ranks:
        """Rank the partner of every pair, or of those in the sample."""
        queries = self.queries if sample is None else self.queries[sample]
        partners = self.partners if sample is None else self.partners[sample]
        centre = widened(self.candidates.centre)
        blocks = (
            (part.start, widened(self.candidates[part]) - centre) for part in block_slices(self.candidates)
        )
        rows, targets = (
            widened(take(population, numbers)) - centre
            for population, numbers in ((self.own, queries), (self.candidates, partners))
        )
        return ranks_in_blocks(rows, targets, blocks, partners, self._left_out(queries, groups))

    def _left_out(self, queries: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the queries and candidates that do not count: other partners, the row itself, its group."""
        left_out = [_matches(queries, self.queries, self.partners)]
        if self.own is self.candidates:
            left_out += [
                _matches(queries, self.partners, self.queries),
                (torch.arange(len(queries), device="cpu"), queries),
            ]
        if groups is not None:
            left_out.append(_matches(groups[queries], groups, torch.arange(len(groups), device="cpu")))
        numbers, rows = (torch.cat(part) for part in zip(*left_out, strict=True))
        return numbers, rows


def _matches(wanted: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each wanted key and every value that the key has, pair by pair."""
    order = keys.argsort(stable=True)
    sorted_keys = keys[order]
    wanted = wanted.contiguous()
    first = torch.searchsorted(sorted_keys, wanted)
    counts = torch.searchsorted(sorted_keys, wanted, right=True) - first
    places = torch.arange(len(wanted), device="cpu").repeat_interleave(counts)
    offsets = torch.arange(len(places), device="cpu") - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return places, values[order[first.repeat_interleave(counts) + offsets]]
