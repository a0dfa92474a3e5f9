"""The first two moments of rows, and the measures that follow from them alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform._messages import counted
from align_uniform.engine.precision import widened
from align_uniform.geometry.rows import check_rows, check_same_dim, wide_blocks


@dataclass(frozen=True, eq=False)
class Moments:
    r"""The first two moments of a set of rows, from which the measures below are computed.

    .. math:: n, \qquad S = \sum_i z_i, \qquad M = \sum_i z_i z_i^T

    O(N m^2) time and O(m^2) memory. Two sets are merged by `+`, in any order.

    Attributes:
        count: n, the number of rows; may be 0.
        sum: S, [m], float64.
        second: M, [m, m], float64; its trace is the sum of squared norms, n for unit rows.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, mean_cosine
        >>> first, second = torch.eye(3)[:2], torch.eye(3)[2:]
        >>> moments = Moments.of(first) + Moments.of(second)
        >>> moments.count, mean_cosine(moments)
        (3, 0.0)

    Note:
        The covariance M/n - mean mean^T loses digits if the mean is far from the origin. For unit rows this
        does not matter; for rows at distance R from the origin and with spread r the relative accuracy is
        1e-16 R^2 / r^2, and a common centre should be subtracted first.
    """

    count: int
    sum: Tensor
    second: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Moments:
        """Compute the moments of rows in float64 a block at a time, on the CPU for MPS, which lacks float64.

        Args:
            z: rows, [N, m], of any floating-point dtype.

        Raises:
            ValueError: z has another form, or has NaN or infinity.
        """
        check_rows("z", z)
        total = widened(z.detach()[:0]).sum(0)
        second = torch.outer(total, total)
        for block in wide_blocks(z):
            total += block.sum(0)
            second.addmm_(block.mT, block)
        return cls(len(z), total, second)

    def __add__(self, other: Moments) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        check_same_dim(self, other)
        return Moments(self.count + other.count, self.sum + other.sum, self.second + other.second)

    def cpu(self) -> Moments:
        """Return the same moments on the CPU."""
        return Moments(self.count, self.sum.cpu(), self.second.cpu())

    @property
    def dim(self) -> int:
        """The number of features, m."""
        return len(self.sum)

    @property
    def mean(self) -> Tensor:
        """The mean row, S/n, [m]."""
        check_count(self, 1, "the mean of no rows is not a number")
        return self.sum / self.count

    @property
    def mean_square(self) -> float:
        """The mean squared norm of a row, 1 for unit rows."""
        check_count(self, 1, "the mean of no rows is not a number")
        return self.second.trace().item() / self.count

    @property
    def covariance(self) -> Tensor:
        """The covariance, M/n - mean mean^T, [m, m]: divided by n, not by n - 1."""
        return self.second / self.count - torch.outer(self.mean, self.mean)


def mean_cosine(moments: Moments) -> float:
    r"""The mean cosine over the pairs of distinct rows.

    .. math:: \frac{2}{N (N - 1)} \sum_{i<j} z_i^T z_j = \frac{\lVert S \rVert^2 - \mathrm{tr}\, M}{N (N - 1)}

    0 for a uniform law, towards 1 in a narrow cone: features that share a large common direction. O(m) time.

    Args:
        moments: of at least 2 rows, of unit norm.

    Returns:
        A number from -1/(N - 1) to 1. For rows of other norms it is the mean inner product.

    Raises:
        ValueError: there are fewer than 2 rows.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, mean_cosine
        >>> round(mean_cosine(Moments.of(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))), 6)
        0.6

    Note:
        It is 0 for any law with mean 0, such as two opposite points: it shows cones, and nothing else.
    """
    check_count(moments, 2, "a single row has no pair")
    products = moments.sum.square().sum().item() - moments.second.trace().item()
    return products / (moments.count * (moments.count - 1))


def modality_gap(x: Moments, y: Moments) -> float:
    r"""The distance between the means of two sets of features, as of images and of their texts.

    .. math:: \lVert \bar x - \bar y \rVert_2

    O(m) time.

    Args:
        x: moments of one modality, of at least 1 row.
        y: moments of the other, of the same number of features.

    Returns:
        A number from 0 to 2 for unit rows. Of n uniform rows each it is about sqrt(2/n), not 0.

    Raises:
        ValueError: a set is empty, or the numbers of features differ.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, modality_gap
        >>> modality_gap(Moments.of(torch.tensor([[1.0, 0.0]])), Moments.of(torch.tensor([[-1.0, 0.0]])))
        2.0

    Note:
        Two modalities may lie on separate surfaces with equal means. Look at the uniformity across them too:
        `uniform_loss(x, negatives=y, intra_batch=False)`.

    Reference:
        Liang et al., NeurIPS 2022, arXiv 2203.02053, "Mind the gap".
    """
    check_same_dim(x, y)
    gap: Tensor = torch.linalg.vector_norm(x.mean - y.mean)
    return gap.item()


def cross_mean_squared_distance(x: Moments, y: Moments) -> float:
    r"""The mean squared distance between a row of one set and a row of another, over all pairs.

    .. math:: \frac{1}{N M} \sum_{i,j} \lVert x_i - y_j \rVert^2
              = \frac{1}{N} \sum_i \lVert x_i \rVert^2 + \frac{1}{M} \sum_j \lVert y_j \rVert^2 - 2\, \bar x^T
              \bar y

    This is the scale for `align_loss(x, y)`: a cone makes all distances small, also the distances of positive
    pairs. Where row i of x and row i of y are a positive pair, the mean D over the N (N - 1) other pairs is
    `(N * D_all - align) / (N - 1)`, and align / D is the relative alignment: 0 is perfect, 1 is no better
    than chance. O(m) time.

    Args:
        x: moments of one set, of at least 1 row.
        y: moments of the other, of the same number of features.

    Returns:
        A number from 0 to 4 for unit rows, 2 where the means are orthogonal or one of them is 0.

    Raises:
        ValueError: a set is empty, or the numbers of features differ.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, cross_mean_squared_distance
        >>> axes = Moments.of(torch.eye(2))
        >>> cross_mean_squared_distance(axes, axes)  # 0, 2, 2, 0
        1.0
    """
    check_same_dim(x, y)
    return max(0.0, x.mean_square + y.mean_square - 2 * (x.mean @ y.mean).item())


def check_count(moments: Moments, least: int, why: str) -> None:
    """Refuse moments of too few rows."""
    if moments.count < least:
        raise ValueError(f"moments must be of at least {counted(least, 'row')}, got {moments.count}: {why}.")
