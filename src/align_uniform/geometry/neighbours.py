"""The nearest other row of each row, and what its distance tells."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform.geometry._rows import check_rows, widest

TILE_ROWS = 1024
"""A tile of the distances between rows has so many rows and columns (8 MiB)."""


def nearest_neighbours(x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""The distance of each row to the nearest other row, and which it is.

    .. math:: \min_{j \ne i} \lVert x_i - x_j \rVert_2, \qquad \mathrm{or} \quad
              \min_j \lVert q_i - x_j \rVert_2

    The neighbour is found by matrix products in float64 (float32 on MPS), tile by tile, and its distance is
    then computed from the difference, which a product would lose for near duplicates. O(N^2 m) time, or O(Q N
    m); O(N m + tile) memory.

    Args:
        x: rows, [N, m], of any floating-point dtype; at least 2, or with queries 1.
        queries: rows to find the neighbours of, [Q, m]; None takes those of x, of which none is its own
            neighbour.

    Returns:
        Distances [Q], float64 (float32 on MPS), and the numbers of the neighbours among x, [Q], int64. Of
        neighbours whose distances from a row agree to about 1e-8 of the spread of x, either may be named.

    Raises:
        ValueError: an argument is not as above, or holds NaN or infinity.

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
    for number, narrow in enumerate(rows.split(TILE_ROWS)):
        block = widest(narrow)
        found = _nearest(block - centre, x, centre, None if queries is not None else number * TILE_ROWS)
        distances.append(torch.linalg.vector_norm(block - widest(x[found]), dim=1))
        neighbours.append(found)
    return torch.cat(distances), torch.cat(neighbours)


def koleo(nearest: Tensor, eps: float = 1e-8) -> float:
    r"""KoLeo: the mean negative log distance to the nearest neighbour, an estimate of the entropy but for its
    sign and scale.

    .. math:: -\frac{1}{N} \sum_{i=1}^{N} \log \max \left(
              \min_{j \ne i} \lVert z_i - z_j \rVert, \epsilon \right)

    O(N) time, after the neighbours.

    Args:
        nearest: distances to the nearest neighbour, [N], from `nearest_neighbours`; at least one.
        eps: the least distance to take a log of, above 0. How many are below says how many rows are
            duplicates.

    Returns:
        A number, lower for more evenly spread rows.

    Raises:
        ValueError: an argument is not as above.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import koleo
        >>> round(koleo(torch.tensor([0.5, 0.5])), 4)  # log 2
        0.6931

    Note:
        One duplicate in a thousand adds log(1/eps)/1000, and a few per cent of them decide the value: report
        their count. It rises with N, by log(N)/(m - 1) for a uniform law, so compare values of the same N
        only. It sees the nearest neighbour alone, and cannot tell a few large gaps from none.

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


def _nearest(block: Tensor, x: Tensor, centre: Tensor, skip: int | None) -> Tensor:
    """The number of the nearest row of x for each row of the block; row i of it may be row `skip + i` of x,
    no neighbour.
    """
    least = block.new_full((len(block),), math.inf)
    neighbours = torch.zeros(len(block), dtype=torch.int64, device=block.device)
    for number, narrow in enumerate(x.split(TILE_ROWS)):
        start = number * TILE_ROWS
        columns = widest(narrow) - centre
        # |a - b|^2 less |a|^2, which is the same for all neighbours of a.
        tile = torch.addmm(columns.square().sum(1), block, columns.mT, alpha=-2)
        if start == skip:
            tile.fill_diagonal_(math.inf)
        values, positions = tile.min(1)
        closer = values < least
        least = torch.where(closer, values, least)
        neighbours = torch.where(closer, positions + start, neighbours)
    return neighbours


def _check_neighbourhood(x: Tensor, queries: Tensor | None) -> None:
    """Rows that have a neighbour."""
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
