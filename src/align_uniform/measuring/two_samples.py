"""Two samples of rows whose pairs fit in memory: the permutation test of their squared MMD."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform.measuring.joint import Joint

CHUNK = 50
"""The number of permutations that are tried at a time."""

ROUNDING = 1e-12
"""The share of the mean potential below which a squared MMD is rounding in float64."""


@dataclass(frozen=True)
class PermutationTest:
    """A test of the hypothesis that two samples come from one distribution, by exchanging their rows.

    Example:
        >>> import torch
        >>> from align_uniform import drift
        >>> x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
        >>> test = drift(x, x + 0.1, paired=True).test
        >>> test.p, test.exchanged, test.effect > 2
        (0.005, 'sides of items', True)
    """

    rows: tuple[int, int]
    """The number of rows of each side that were exchanged: all of them, or a random sample."""
    permutations: int
    """The number of random exchanges."""
    exchanged: str
    """The exchange: "sides of items" where row i of both sides is one item, else "labels of rows"."""
    squared_mmd: float
    """The unbiased squared MMD of the rows that were exchanged."""
    null_sd: float
    """The standard deviation of the squared MMD over the exchanges."""
    p: float
    """The share of the exchanges, the given sides counted as one, whose squared MMD is at least as large."""

    @property
    def effect(self) -> float:
        """The squared MMD over `null_sd`: below 2 or so is chance. It grows with the number of rows."""
        if self.null_sd:
            return self.squared_mmd / self.null_sd
        return math.inf if self.squared_mmd > 0 else 0.0


class TwoSamples:
    """The potentials of all pairs of rows of two samples.

    Args:
        x: rows of one sample, [n, m], float64.
        y: rows of the other, [k, m], float64.
        t: inverse squared width of the Gaussian.
        paired: whether row i of x and row i of y are one item, whose own potential does not count.
    """

    def __init__(self, x: Tensor, y: Tensor, t: float, *, paired: bool) -> None:
        self.x, self.y, self.t, self.paired = x, y, t, paired
        self.sizes = (len(x), len(y))
        self.potentials, self.log_scale = _potentials(x, y, t, paired)
        self._rounding = ROUNDING * float(self.potentials.mean())

    @property
    def squared_mmd(self) -> float:
        """The unbiased squared MMD."""
        value = float(self._squared_mmds(self._given_sides()))
        return 0.0 if abs(value) <= self._rounding else value * math.exp(self.log_scale)

    @property
    def within(self) -> float:
        """The mean potential of the pairs within x plus that of the pairs within y."""
        (n, k), scale = self.sizes, math.exp(self.log_scale)
        x, y = self.potentials[:n, :n].sum() / (n * (n - 1)), self.potentials[n:, n:].sum() / (k * (k - 1))
        return float(x + y) * scale

    def test(self, permutations: int, seed: int, progress: Callable[[int], None]) -> PermutationTest:
        """Exchange rows at random, and count how often their squared MMD is at least as large."""
        generator = torch.Generator().manual_seed(seed)
        given = float(self._squared_mmds(self._given_sides()))
        found = []
        for start in range(0, permutations, CHUNK):
            count = min(CHUNK, permutations - start)
            found.append(self._squared_mmds(self._exchanged_sides(count, generator)))
            progress(count)
        values = torch.cat(found)
        at_least = int((values >= given - self._rounding).sum())
        spread = float(values.square().mean().sqrt())  # their mean is 0
        return PermutationTest(
            rows=self.sizes,
            permutations=permutations,
            exchanged="sides of items" if self.paired else "labels of rows",
            squared_mmd=self.squared_mmd,
            null_sd=0.0 if spread <= self._rounding else spread * math.exp(self.log_scale),
            p=(1 + at_least) / (1 + permutations),
        )

    def mean_share(self) -> float | None:
        r"""Return the share of the squared MMD that goes when both sides are centred on their own means.

        .. math:: 1 - \frac{MMD^2(x - \bar x, y - \bar y)}{MMD^2(x, y)}

        It is set to 0 or 1 where noise takes it beyond, and None if the squared MMD is not above 0.
        """
        whole = self.squared_mmd
        if whole <= 0:
            return None
        x, y = (side - side.mean(0) for side in (self.x, self.y))
        rest = TwoSamples(x, y, self.t, paired=self.paired).squared_mmd
        return min(1.0, max(0.0, 1 - rest / whole))

    def joint(self) -> Joint | None:
        """Return how the potentials of the pairs of items go together in both samples, where rows are paired.

        It is None where rows are not paired, or where all potentials within a sample are 0.
        """
        n = self.sizes[0]
        x, y = self.potentials[:n, :n], self.potentials[n:, n:]
        pairs, sums = n * (n - 1), (float(x.sum()), float(y.sum()))
        if not self.paired or not all(sums):
            return None
        a, b = (
            (part * (pairs / total) - 1).fill_diagonal_(0) for part, total in zip((x, y), sums, strict=True)
        )
        first, second, product = (float((u * v).sum()) / pairs for u, v in ((a, a), (b, b), (a, b)))
        return Joint(first, second, product)

    def degenerate_variance(self, sizes: tuple[int, int]) -> float:
        """Return the part of the variance of the squared MMD that is not linear in the rows.

        Args:
            sizes: the numbers of rows of the samples whose variance is wanted, of the same populations.
        """
        (n, k), split = sizes, self.sizes[0]
        xx, yy = self.potentials[:split, :split], self.potentials[split:, split:]
        xy = self.potentials[:split, split:]
        scale = math.exp(2 * self.log_scale)
        if self.paired:
            return 2 * scale * _interaction(xx + yy - xy - xy.T, own=True) / (n * (n - 1))
        within = 2 * _interaction(xx, own=True) / (n * (n - 1)) + 2 * _interaction(yy, own=True) / (
            k * (k - 1)
        )
        return scale * (within + 4 * _interaction(xy, own=False) / (n * k))

    def _squared_mmds(self, is_x: Tensor) -> Tensor:
        """Return the squared MMD of each assignment of rows to sides, [B]; 1 is x and 0 is y, [n + k, B]."""
        n, k = self.sizes
        sums = self.potentials @ is_x
        within_x = (is_x * sums).sum(0)
        across = sums.sum(0) - within_x
        within_y = self.potentials.sum() - within_x - 2 * across
        pairs_across = n * (n - 1) if self.paired else n * k
        return within_x / (n * (n - 1)) + within_y / (k * (k - 1)) - 2 * across / pairs_across

    def _given_sides(self) -> Tensor:
        n, k = self.sizes
        return torch.cat(
            [
                torch.ones(n, 1, dtype=self.x.dtype, device="cpu"),
                torch.zeros(k, 1, dtype=self.x.dtype, device="cpu"),
            ]
        )

    def _exchanged_sides(self, count: int, generator: torch.Generator) -> Tensor:
        """Return random assignments: of the two rows of each item, or of all rows, in the given numbers."""
        n, k = self.sizes
        if self.paired:
            stays = torch.randint(2, (n, count), generator=generator, device="cpu").to(self.x.dtype)
            return torch.cat([stays, 1 - stays])
        order = torch.rand(n + k, count, generator=generator, device="cpu").argsort(0)
        return (order < n).to(self.x.dtype)


def _potentials(x: Tensor, y: Tensor, t: float, paired: bool) -> tuple[Tensor, float]:
    """Return the potentials of the rows of both samples, divided by the largest, and its log.

    The potential of a row and itself is 0, and of the two rows of an item as well.
    """
    rows = torch.cat([x, y]) - (x.mean(0) + y.mean(0)) / 2
    halves = rows.square().sum(1) / 2
    exponents = (rows @ rows.T).sub_(halves).sub_(halves[:, None]).mul_(2 * t).clamp_(max=0)
    exponents.fill_diagonal_(-math.inf)
    if paired:
        exponents.diagonal(len(x)).fill_(-math.inf)
        exponents.diagonal(-len(x)).fill_(-math.inf)
    largest = float(exponents.max())
    return exponents.sub_(largest).exp_(), largest


def _interaction(matrix: Tensor, *, own: bool) -> float:
    """Return the mean square of what is left of a matrix without its row and column means.

    Args:
        matrix: values of pairs, [n, k].
        own: whether the diagonal, of rows and themselves, does not count.
    """
    n, k = matrix.shape
    others = n - 1 if own else k
    rows, columns = matrix.sum(1) / others, matrix.sum(0) / (n - 1 if own else n)
    mean = float(rows.mean())
    left = (matrix - rows[:, None] - columns + mean).square()
    if own:
        left.fill_diagonal_(0)
    return float(left.sum()) / (n * others)
