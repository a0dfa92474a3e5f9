"""Two embeddings of the same items: how potentials, and cosines, of single pairs of items go together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform.engine.precision import has_float64, widened
from align_uniform.engine.tiles import slices
from align_uniform.measuring.influence import joint_excess
from align_uniform.measuring.populations import Population, block_slices, products
from align_uniform.measuring.row_sums import care_of, tiles_of_blocks

BLOCK_ROWS = 1024
"""The number of rows of a block; the potentials between two blocks are in memory, for either embedding."""


@dataclass(frozen=True)
class Joint:
    """The second moments of a kernel in two embeddings, over all pairs of distinct items.

    The kernel is the relative potential of a pair of items, G / U, which is 1 on average, or its cosine;
    either is averaged over views.
    """

    first: float
    """The variance in the first embedding, for potentials E G_a^2 / U_a^2 - 1."""
    second: float
    """The variance in the second embedding."""
    product: float
    """The covariance, for potentials E(G_a G_b) / (U_a U_b) - 1."""

    def excess(self, first: float = 1.0, second: float = 1.0) -> float:
        """Return zeta_2 of the difference of two multiples of the means: see `joint_excess`."""
        return joint_excess(first**2 * self.first, second**2 * self.second, first * second * self.product)


def joint_potentials(
    embeddings: tuple[Sequence[Population], Sequence[Population]],
    t: float,
    log_means: tuple[Sequence[float], Sequence[float]],
    progress: Callable[[int], None],
) -> Joint | None:
    """Sum over all pairs of items, with two blocks of rows of every view in memory at a time.

    Args:
        embeddings: the views of either embedding, [N, m] each, of the same items in the same order.
        t: inverse squared width of the Gaussian.
        log_means: the uniformity of each view.
        progress: called with the number of pairs of items that were summed since the last call.

    Returns:
        The moments, or None if a relative potential exceeds the range of numbers.
    """
    count = len(embeddings[0][0])
    blocks = list(slices(count, BLOCK_ROWS))
    pairs = [(rows, columns) for number, columns in enumerate(blocks, start=1) for rows in blocks[:number]]
    sums = torch.zeros(3, dtype=torch.float64, device="cpu")
    for rows, columns in pairs[ranks.rank() :: ranks.world_size()]:
        a, b = (
            _deviations(views, t, logs, rows, columns)
            for views, logs in zip(embeddings, log_means, strict=True)
        )
        moments = torch.stack(
            [a.flatten() @ a.flatten(), b.flatten() @ b.flatten(), a.flatten() @ b.flatten()]
        )
        sums += moments * (1 if rows == columns else 2)
        progress(a.numel())
    device = embeddings[0][0].device  # processes with a GPU each may exchange only what is there
    sums = ranks.add_over_ranks_(sums.to(device) if has_float64(device) else sums).cpu()
    first, second, product = (sums / (count * (count - 1))).tolist()
    return Joint(first, second, product) if math.isfinite(first + second) else None


def joint_cosines(
    embeddings: tuple[Sequence[Population], Sequence[Population]], means: tuple[float, float]
) -> Joint:
    """Return the second moments of the cosines of two embeddings, in closed form.

    Args:
        embeddings: the views of either embedding, as for `joint_potentials`.
        means: the mean cosine of either, averaged over views.
    """
    (a, b), (mean_a, mean_b) = embeddings, means
    return Joint(
        _mean_product(a, a) - mean_a**2,
        _mean_product(b, b) - mean_b**2,
        _mean_product(a, b) - mean_a * mean_b,
    )


def _mean_product(a: Sequence[Population], b: Sequence[Population]) -> float:
    r"""Return the mean product of the cosines of a pair of distinct items in two embeddings.

    For one view of each it is :math:`(\lVert A^T B \rVert_F^2 - \sum_i |a_i|^2 |b_i|^2) / (n (n - 1))`.
    """
    count, squares = len(a[0]), 0.0
    for x in a:
        for y in b:
            outer = sum(
                x.widened(x.raw(part)).cpu().T @ y.widened(y.raw(part)).cpu() for part in block_slices(x)
            )
            squares += float(torch.as_tensor(outer, device="cpu").square().sum()) / (len(a) * len(b))
    own = _mean_squares(a) @ _mean_squares(b)
    return (squares - float(own)) / (count * (count - 1))


def _mean_squares(views: Sequence[Population]) -> Tensor:
    """Return the squared norm of each item, averaged over views, [N]."""
    return torch.stack([products(view, view.centre[:, None])[1] for view in views]).mean(0)


def _deviations(
    views: Sequence[Population], t: float, logs: Sequence[float], rows: slice, columns: slice
) -> Tensor:
    """Return G / U - 1 of all pairs of two blocks, averaged over views, and 0 for an item and itself."""
    found = torch.zeros(
        rows.stop - rows.start, columns.stop - columns.start, dtype=torch.float64, device="cpu"
    )
    for view, log in zip(views, logs, strict=True):
        for tile in tiles_of_blocks(view, t, rows, columns, log, care_of(view, [t])):
            part = widened(tile.exponents).exp().cpu() / len(views)
            own = _within(tile.rows, rows)
            if rows != columns:
                assert tile.columns is not None
                found[own, _within(tile.columns, columns)] += part
                continue
            others = own if tile.columns is None else _within(tile.columns, columns)
            found[own, others] += part
            if tile.columns is not None:
                found[others, own] += part.T
    found -= 1
    return found.fill_diagonal_(0) if rows == columns else found


def _within(part: slice, block: slice) -> slice:
    return slice(part.start - block.start, part.stop - block.start)
