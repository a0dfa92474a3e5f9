"""Exact search for nearest neighbours, and the entropy that follows from their distances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform.geometry.rows import check_rows, narrow_blocks, widest

TILE_ROWS = 1024
"""The number of rows and of columns of a tile of distances (8 MiB)."""


def nearest_neighbours(x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return the distance of each row to the nearest other row, and the number of that row.

    .. math:: \min_{j \ne i} \lVert x_i - x_j \rVert_2, \qquad \mathrm{or} \quad
              \min_j \lVert q_i - x_j \rVert_2

    The neighbour is found by matrix products in float64 (float32 on MPS), tile by tile, and its distance is
    then computed from the difference, which a product would lose for near duplicates. O(N^2 m) time, or O(Q N
    m); O(N m + tile) memory.

    Args:
        x: rows, [N, m], of any floating-point dtype; at least 2, or with queries 1.
        queries: rows whose neighbours are wanted, [Q, m]; by default the rows of x, none of which is its own
            neighbour.

    Returns:
        The distances, [Q], float64 (float32 on MPS), and the numbers of the neighbours among x, [Q], int64.
        If the distances of two rows agree to about 1e-8 of the spread of x, either may be the neighbour.

    Raises:
        ValueError: an argument has another form, or has NaN or infinity.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import nearest_neighbours
        >>> nearest_neighbours(torch.tensor([[0.0], [1.0], [5.0]]))
        (tensor([1., 1., 4.], dtype=torch.float64), tensor([1, 0, 1]))
    """
    _check_neighbourhood(x, queries)
    x = x.detach()
    rows = x if queries is None else queries.detach()
    centre = torch.stack([widest(block).sum(0) for block in x.split(TILE_ROWS)]).sum(0) / len(x)
    distances, neighbours = [], []
    for start, narrow in _blocks(rows):
        block = widest(narrow)
        blocks = ((first, widest(columns) - centre) for first, columns in _blocks(x))
        own = torch.arange(start, start + len(block), device="cpu") if queries is None else None
        found = nearest_in_blocks(block - centre, blocks, own=own)[1].squeeze(1)
        distances.append(torch.linalg.vector_norm(block - widest(x[found]), dim=1))
        neighbours.append(found)
    return torch.cat(distances), torch.cat(neighbours)


def _blocks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    for number, block in enumerate(rows.split(TILE_ROWS)):
        yield number * TILE_ROWS, block


def koleo(nearest: Tensor, eps: float = 1e-8) -> float:
    r"""Return KoLeo, the mean negative log distance to the nearest neighbour.

    It is an estimate of the entropy, except for its sign and scale.

    .. math:: -\frac{1}{N} \sum_{i=1}^{N} \log \max \left(
              \min_{j \ne i} \lVert z_i - z_j \rVert, \epsilon \right)

    O(N) time, after the neighbours.

    Args:
        nearest: distances to the nearest neighbour, [N], from `nearest_neighbours`; at least one.
        eps: the least distance whose log is taken, above 0. Rows below it are duplicates.

    Returns:
        A number, lower for more evenly spread rows.

    Raises:
        ValueError: an argument has another form.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import koleo
        >>> round(koleo(torch.tensor([0.5, 0.5])), 4)  # log 2
        0.6931

    Note:
        One duplicate in a thousand adds log(1/eps)/1000, and a few per cent of them decide the value: report
        their count. It rises with N, by log(N)/(m - 1) for a uniform law, so compare values of the same N
        only. It depends on the nearest neighbour alone, and does not show a few large gaps.

    Reference:
        Sablayrolles et al., ICLR 2019, arXiv 1806.03198; the estimator of Kozachenko & Leonenko, 1987.
    """
    eps = checks.check_positive("eps", eps)
    if not (
        isinstance(nearest, Tensor) and nearest.is_floating_point() and nearest.dim() == 1 and len(nearest)
    ):
        got = (
            f"{nearest.dtype} of shape {list(nearest.shape)}"
            if isinstance(nearest, Tensor)
            else type(nearest).__name__
        )
        raise ValueError(f"nearest must be a floating-point tensor of at least one distance, [N], got {got}.")
    return -widest(nearest).clamp(min=eps).log().mean().item()


def occurrences(x: Tensor, k: int = 10) -> Tensor:
    r"""Count how often each row is among the k nearest neighbours of other rows, its k-occurrence.

    .. math:: O_k(j) = \left| \{ i \ne j : x_j \text{ is one of the } k \text{ rows nearest to } x_i \}
              \right|

    Where rows tie for the last places, they share them: of e rows that are equally near, with room for r of
    them, each counts r/e. O(N^2 m) time, and O(N m) memory.

    Args:
        x: rows, [N, m], of any floating-point dtype; more than k.
        k: the number of neighbours of each row, at least 1.

    Returns:
        [N], float64, from 0 to N - 1; the mean is k.

    Raises:
        ValueError: an argument has another form, or x has NaN or infinity.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import occurrences
        >>> occurrences(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
        tensor([1., 2., 0.], dtype=torch.float64)

    Note:
        It depends on N: against ever more rows even uniform ones leave most without an occurrence, 67% of
        50,000 in 128 dimensions at k = 10. Compare sets of one size, or samples of that size.

    Reference:
        Radovanovic, Nanopoulos & Ivanovic, JMLR 2010, "Hubs in space".
    """
    check_rows("x", x)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    checks.check_row_count(len(x), k + 1, f"a row needs {k} others to have {k} neighbours")
    x = x.detach() if x.dtype == torch.float64 else x.detach().float()
    x = x - x.mean(0)
    halves = x.square().sum(1).div(-2)
    counts = torch.zeros(len(x), dtype=torch.float64, device="cpu")
    for start, block in _blocks(x):
        tile = torch.addmm(halves, block, x.mT)
        rounding = 8 * torch.finfo(x.dtype).eps * tile.abs().amax()
        _leave_out(tile, torch.arange(start, start + len(block), device="cpu"))
        last = tile.topk(k).values[:, -1:]
        is_nearer, is_last = tile > last + rounding, (tile - last).abs() <= rounding
        room = (k - is_nearer.sum(1, keepdim=True)) / is_last.sum(1, keepdim=True)
        counts += is_nearer.sum(0).cpu() + (is_last * room).sum(0).cpu()
    return counts


def skewness(values: Tensor) -> float:
    r"""Return the skewness of numbers: the mean cube of their distance from the mean, in standard deviations.

    .. math:: \frac{\frac{1}{N} \sum_i (v_i - \bar v)^3}{\left( \frac{1}{N} \sum_i (v_i - \bar v)^2
              \right)^{3/2}}

    The skewness of the k-occurrences is the usual measure of hubness.

    Args:
        values: [N], at least one number.

    Returns:
        A number; 0 for a symmetric distribution, and for equal values.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import skewness
        >>> skewness(torch.tensor([0, 0, 0, 4]))
        1.1547005383792515
    """
    deviations = values.double() - values.double().mean()
    variance = deviations.square().mean().item()
    return 0.0 if variance == 0 else deviations.pow(3).mean().item() / variance**1.5


def nearest_in_blocks(
    queries: Tensor,
    blocks: Iterable[tuple[int, Tensor]],
    k: int = 1,
    *,
    by: Literal["distance", "product"] = "distance",
    own: Tensor | None = None,
    groups: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Find the k nearest rows of each query, exactly, among rows that come in blocks.

    The proximity of a query q and a row x is :math:`q \cdot x - \lVert x \rVert^2 / 2`, which orders rows as
    their distance does, or :math:`q \cdot x`, which orders rows of one norm as their cosine does. O(Q N m)
    time, and O(Q) memory besides the rows: a block is multiplied with the queries part by part.

    Args:
        queries: [Q, m].
        blocks: pairs of the number of a block's first row and the rows themselves, [b, m], of the dtype and
            on the device of the queries. They follow each other from row 0 on.
        k: the number of neighbours, at most the number of rows that a query may find.
        by: the order, by distance or by product.
        own: the number of the row that each query is, [Q], on the CPU: a query does not find itself. None for
            queries that are no rows.
        groups: the group of each query, [Q], and of each row, [N], whole numbers: a query does not find rows
            of its group, and has the proximity -inf to what it finds where no other is left.

    Returns:
        The proximities and the numbers of the neighbours, [Q, k], the nearest first. Which of several equally
        near rows is the k-th is left to torch.
    """
    proximities = queries.new_empty(len(queries), 0)
    numbers = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start, rows in narrow_blocks(blocks):
        tile = (
            queries @ rows.mT
            if by == "product"
            else torch.addmm(rows.square().sum(1).div_(-2), queries, rows.mT)
        )
        if own is not None:
            _leave_out(tile, own - start)
        if groups is not None:
            of_queries, of_rows = groups[0], groups[1][start : start + len(rows)]
            tile.masked_fill_((of_queries.unsqueeze(1) == of_rows).to(tile.device), -math.inf)
        near, positions = _largest(tile, k)
        if start:
            near, numbers = torch.cat([proximities, near], 1), torch.cat([numbers, positions + start], 1)
            proximities, positions = _largest(near, k)
            numbers = numbers.gather(1, positions)
        else:
            proximities, numbers = near, positions
    return proximities, numbers


def majority(labels: Tensor) -> Tensor:
    """Return the commonest label of each row of labels, [Q] for [Q, k]; the first of equally common ones.

    A label below 0 has no vote.
    """
    votes = (labels.unsqueeze(2) == labels.unsqueeze(1)).sum(2).masked_fill(labels < 0, 0)
    return labels.gather(1, votes.argmax(1, keepdim=True)).squeeze(1)


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row and their places; of one, the first, and quicker than `topk`."""
    found = values.max(1, keepdim=True) if k == 1 else values.topk(min(k, values.shape[1]))
    return found.values, found.indices


def _leave_out(tile: Tensor, columns: Tensor) -> None:
    """Put the pairs of a query and itself out of reach; columns outside of the tile belong to other tiles."""
    inside = ((columns >= 0) & (columns < tile.shape[1])).nonzero().squeeze(1)
    tile[inside.to(tile.device), columns[inside].to(tile.device)] = -math.inf


def _check_neighbourhood(x: Tensor, queries: Tensor | None) -> None:
    """Refuse rows that have no neighbour."""
    check_rows("x", x)
    if queries is None:
        checks.check_row_count(len(x), 2, "a single row has no neighbour; give more, or queries")
        return
    checks.check_row_count(len(x), 1, "there is no neighbour to find")
    check_rows("queries", queries)
    if queries.shape[1] != x.shape[1]:
        raise ValueError(
            f"queries must have the {x.shape[1]} features of x, got shape {list(queries.shape)}."
        )
