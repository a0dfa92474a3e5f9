"""Retrieval: how often a row finds its partner among all candidates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._messages import counted
from align_uniform.geometry.rows import check_rows, narrow_blocks, widest

QUERIES = 1024
"""The number of queries that meet a block of candidates at a time."""

TIE = 8
"""The roundings within which two candidates are equally near: products of rows differ in the last place."""


class Ranks(NamedTuple):
    """The place of each query's partner among its candidates.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import partner_ranks
        >>> x, noise = torch.randn(2, 200, 16, generator=torch.Generator().manual_seed(0))
        >>> ranks = partner_ranks(x, x + noise, torch.arange(200))
        >>> print(f"recall@10 {ranks.recall(10).mean():.2f}, MRR {ranks.reciprocal().mean():.2f}")
        recall@10 0.87, MRR 0.57
    """

    nearer: Tensor
    """The number of candidates nearer to the query than its partner, [Q], int64."""
    tied: Tensor
    """The number of other candidates as near to the query as its partner, [Q], int64."""

    def recall(self, k: int) -> Tensor:
        r"""Return whether each partner is among the k nearest candidates, [Q], float64.

        .. math:: \min\Big(1, \max\Big(0, \frac{k - s}{e + 1}\Big)\Big)

        With s nearer candidates and e tied ones it is the probability if ties are broken at random: 0 or 1
        without ties.

        Args:
            k: the number of nearest candidates, at least 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        return ((k - self.nearer).double() / (self.tied + 1)).clamp(0, 1)

    def reciprocal(self) -> Tensor:
        r"""Return the reciprocal of each partner's rank, [Q], float64.

        .. math:: \frac{1}{e + 1} \sum_{r = s + 1}^{s + e + 1} \frac{1}{r}

        is its mean if ties are broken at random. The mean over queries is the mean reciprocal rank, MRR.
        """
        first, last = self.nearer.double() + 1, (self.nearer + self.tied).double() + 2
        shared = (torch.digamma(last) - torch.digamma(first)) / (self.tied + 1)
        return torch.where(self.tied == 0, 1 / first, shared)


def partner_ranks(
    queries: Tensor, candidates: Tensor, partners: Tensor, *, left_out: tuple[Tensor, Tensor] | None = None
) -> Ranks:
    """Rank the partner of each query among all candidates by distance, exactly.

    Candidates within 8 roundings of the partner's proximity are tied with it. O(Q N m) time, O(Q + N) memory
    besides the rows.

    Args:
        queries: [Q, m], of any floating-point dtype.
        candidates: [N, m].
        partners: the number of each query's partner among the candidates, [Q], whole numbers from 0.
        left_out: numbers of queries and numbers of candidates, [L] each: pairs that do not count, such as
            other partners of a query, or the query itself.

    Returns:
        A `Ranks`.

    Raises:
        ValueError: an argument has another form, or rows have NaN or infinity.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import partner_ranks
        >>> candidates = torch.tensor([[0.0], [1.0], [4.0]])
        >>> ranks = partner_ranks(torch.tensor([[0.9], [1.5]]), candidates, torch.tensor([1, 0]))
        >>> ranks.nearer.tolist(), ranks.recall(1).tolist(), ranks.reciprocal().tolist()
        ([0, 1], [1.0, 0.0], [1.0, 0.5])

    Reference:
        The values with ties are those of McSherry & Najork, ECIR 2008.
    """
    check_rows("queries", queries)
    check_rows("candidates", candidates)
    checks.check_row_count(len(candidates), 1, "there is nothing to find")
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"queries must have the {candidates.shape[1]} features of candidates, got shape "
            f"{list(queries.shape)}."
        )
    is_whole = not partners.is_floating_point() and partners.shape == queries.shape[:1]
    if not is_whole or bool(((partners < 0) | (partners >= len(candidates))).any()):
        raise ValueError(
            f"partners must be a number from 0 to {len(candidates) - 1} for each of the "
            f"{counted(len(queries), 'query', 'queries')}, got {partners.dtype} of shape "
            f"{list(partners.shape)}."
        )
    centre = widest(candidates.detach()).mean(0)
    rows = widest(queries.detach()) - centre
    every = widest(candidates.detach()) - centre
    return ranks_in_blocks(rows, every[partners], [(0, every)], partners, left_out)


def ranks_in_blocks(
    queries: Tensor,
    partners: Tensor,
    blocks: Iterable[tuple[int, Tensor]],
    numbers: Tensor,
    left_out: tuple[Tensor, Tensor] | None = None,
) -> Ranks:
    r"""Rank the partner of each query among candidates that come in blocks.

    The proximity of a query q and a row x is :math:`q \cdot x - \lVert x \rVert^2 / 2`, which orders rows as
    their distance does.

    Args:
        queries: [Q, m].
        partners: the partner of each query, [Q, m].
        blocks: pairs of the number of a block's first row and the rows themselves, [b, m].
        numbers: the number of each partner, [Q], on the CPU.
        left_out: as in `partner_ranks`, on the CPU.
    """
    proximity = (queries * partners).sum(1) - partners.square().sum(1) / 2
    scale = torch.linalg.vector_norm(queries, dim=1) * torch.linalg.vector_norm(partners, dim=1)
    margin = TIE * torch.finfo(queries.dtype).eps * (scale + partners.square().sum(1) / 2)
    nearer, tied = queries.new_zeros(2, len(queries), dtype=torch.int64)
    own = (torch.arange(len(queries), device="cpu"), numbers.cpu())
    ends = own if left_out is None else tuple(map(torch.cat, zip(own, left_out, strict=True)))
    order = ends[1].argsort()
    of_query, of_candidate = ends[0][order], ends[1][order]
    for start, rows in narrow_blocks(blocks):
        bounds = torch.tensor([start, start + len(rows)], device="cpu")
        first, last = torch.searchsorted(of_candidate, bounds).tolist()
        outside = of_query[first:last].to(rows.device), (of_candidate[first:last] - start).to(rows.device)
        halves = rows.square().sum(1).div_(-2)
        for part in (slice(at, at + QUERIES) for at in range(0, len(queries), QUERIES)):
            tile = torch.addmm(halves, queries[part], rows.mT)
            within = (outside[0] >= part.start) & (outside[0] < part.stop)
            tile[outside[0][within] - part.start, outside[1][within]] = -torch.inf
            above = tile.sub_(proximity[part, None])
            limit = margin[part, None]
            is_nearer = above > limit
            nearer[part] += is_nearer.sum(1)
            tied[part] += (above >= -limit).sum(1) - is_nearer.sum(1)
    return Ranks(nearer.cpu(), tied.cpu())
