"""Measures of features beside alignment and uniformity: from moments, spectra, classes and nearest neighbours.

Uniformity sees a cone that the rank measures miss once the mean is taken off; the rank measures see a collapsed dimension that
uniformity hides in its third decimal. So a set of rows is looked at from several sides:

* **Moments**, the sum of the rows and of their outer products, give the mean cosine, W2 uniformity, RankMe, the participation
  ratio and the modality gap.
* **Class sums**, the same class by class without the outer products, give tolerance and the alignment of classes.
* **Nearest neighbours** give KoLeo, and the near duplicates.

Moments and class sums are float64, small, and mergeable with `+`: rows that come in many files, or on many processes, are
measured a part at a time, and the parts give what the whole would. Nothing here has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import _checks as checks

BLOCK_NUMBERS = 2**20
"""Rows are widened to float64 so many numbers at a time (8 MiB)."""

TILE_ROWS = 1024
"""A tile of the distances between rows has so many rows and columns (8 MiB)."""

# ---------------------------------------------------------------------------------------------------------------- moments


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
        The covariance M/n - mean mean^T loses the digits that a far-off mean takes: of unit rows none that matter; of rows at
        distance R from the origin and spread r, the relative accuracy is 1e-16 R^2 / r^2. Subtract a common centre then.
    """

    count: int
    sum: Tensor
    second: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Moments:
        """The moments of rows, accumulated in float64 a block at a time; on the CPU for MPS, which has no float64.

        Args:
            z: rows, [N, m], of any floating-point dtype.

        Raises:
            ValueError: z is not as above, or holds NaN or infinity.
        """
        _check_rows("z", z)
        total = _wide(z[:0]).sum(0)
        second = torch.outer(total, total)
        for block in _wide_blocks(z):
            total += block.sum(0)
            second.addmm_(block.mT, block)
        return cls(len(z), total, second)

    def __add__(self, other: Moments) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        _check_same_dim(self, other)
        return Moments(self.count + other.count, self.sum + other.sum, self.second + other.second)

    @property
    def dim(self) -> int:
        """m, the number of features."""
        return len(self.sum)

    @property
    def mean(self) -> Tensor:
        """S/n, [m]."""
        _check_count(self, 1, "the mean of no rows is not a number")
        return self.sum / self.count

    @property
    def mean_square(self) -> float:
        """The mean squared norm of a row, 1 for unit rows."""
        _check_count(self, 1, "the mean of no rows is not a number")
        return self.second.trace().item() / self.count

    @property
    def covariance(self) -> Tensor:
        """M/n - mean mean^T, [m, m]: divided by n, not by n - 1."""
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
        It is 0 for any law with mean 0, two opposite points among them: it sees cones, and nothing else.
    """
    _check_count(moments, 2, "a single row has no pair")
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
    _check_same_dim(x, y)
    gap: Tensor = torch.linalg.vector_norm(x.mean - y.mean)
    return gap.item()


def cross_mean_squared_distance(x: Moments, y: Moments) -> float:
    r"""The mean squared distance between a row of one set and a row of another, over all pairs.

    .. math:: \frac{1}{N M} \sum_{i,j} \lVert x_i - y_j \rVert^2
              = \frac{1}{N} \sum_i \lVert x_i \rVert^2 + \frac{1}{M} \sum_j \lVert y_j \rVert^2 - 2\, \bar x^T \bar y

    The scale to read `align_loss(x, y)` by: a cone makes all distances small, those of positive pairs as well. Where row i of
    x and row i of y are a positive pair, the mean D over the N (N - 1) pairs that are not is `(N * D_all - align) / (N - 1)`,
    and align / D is the relative alignment: 0 is perfect, 1 no better than chance. O(m) time.

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
    _check_same_dim(x, y)
    return max(0.0, x.mean_square + y.mean_square - 2 * (x.mean @ y.mean).item())


# ---------------------------------------------------------------------------------------------------------------- spectra


def spectrum(moments: Moments) -> Tensor:
    r"""The eigenvalues of the covariance: how much the features vary in each principal direction.

    .. math:: \lambda_1 \ge \dots \ge \lambda_m \ge 0, \qquad \Sigma = \tfrac{1}{N} M - \bar z \bar z^T

    O(m^3) time.

    Args:
        moments: of at least 1 row.

    Returns:
        [m], float64, descending. What is less than the rounding of the sums, a share max(N, m) eps of the largest eigenvalue
        and of the squared mean, is 0, so that rounding does not count as rank.

    Raises:
        ValueError: there is no row.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, spectrum
        >>> spectrum(Moments.of(torch.tensor([[0.6, 0.8], [0.6, -0.8]])))
        tensor([0.6400, 0.0000], dtype=torch.float64)

    Note:
        The mean is taken off, so a cone does not show. Of N <= m rows at most N - 1 eigenvalues are not 0.
    """
    return _eigenvalues(moments.covariance, _rounding(moments), moments.mean.square().sum().item())


def singular_values(moments: Moments) -> Tensor:
    r"""The singular values of the matrix of rows, the mean left in: the square roots of the eigenvalues of M.

    O(m^3) time, whatever the number of rows.

    Args:
        moments: of any number of rows.

    Returns:
        [min(N, m)], float64, descending. As they come from squares, those below sqrt(max(N, m) eps) of the largest (5e-6 for
        N = 10^5) are rounding, and 0.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, singular_values
        >>> singular_values(Moments.of(torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])))
        tensor([3., 2.], dtype=torch.float64)
    """
    return _eigenvalues(moments.second, _rounding(moments))[: moments.count].sqrt()


def rankme(moments: Moments) -> float:
    r"""RankMe: the number of dimensions that the features fill, by the entropy of their singular values.

    .. math:: \exp \left( -\sum_{k=1}^{\min(N, m)} p_k \log p_k \right), \qquad
              p_k = \frac{\sigma_k}{\lVert \sigma \rVert_1} + 10^{-7}

    O(m^3) time.

    Args:
        moments: of at least 1 row.

    Returns:
        A number from 1 to min(N, m), or 0 where all rows are 0.

    Raises:
        ValueError: there is no row.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, rankme
        >>> round(rankme(Moments.of(torch.eye(8)[:3])), 3)
        3.0

    Note:
        It is at most min(N, m), and for a sample of N rows it lies below its limit: 254 for N = 4096 uniform rows of m = 256.
        Compare values of the same N and m only. The mean is left in, so a cone counts as one large singular value. It says
        nothing about which directions matter.

    Reference:
        Garrido et al., ICML 2023, arXiv 2210.02885; the effective rank of Roy & Vetterli, EUSIPCO 2007.
    """
    _check_count(moments, 1, "no rows have no rank")
    values = singular_values(moments)
    total = values.sum()
    if total == 0:
        return 0.0
    entropy: Tensor = torch.special.entr(values / total + 1e-7).sum()
    return entropy.exp().item()


def participation_ratio(moments: Moments) -> float:
    r"""The number of dimensions that the features fill, by the second moment of the eigenvalues of the covariance.

    .. math:: \frac{(\sum_k \lambda_k)^2}{\sum_k \lambda_k^2} = \frac{(\mathrm{tr}\, \Sigma)^2}{\lVert \Sigma \rVert_F^2}

    O(m^2) time: no eigenvalue is computed.

    Args:
        moments: of at least 1 row.

    Returns:
        A number from 1 to m, or 0 for a constant, which fills none.

    Raises:
        ValueError: there is no row.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, participation_ratio
        >>> participation_ratio(Moments.of(torch.cat([torch.eye(4), -torch.eye(4)])))
        4.0

    Note:
        The mean is taken off: a cone does not show. A few large eigenvalues decide, where RankMe listens to the small ones.
        For a uniform law in m dimensions a sample of N rows gives about m / (1 + m/N) (241 for N = 4096, m = 256).

    Reference:
        Gao et al., 2017, bioRxiv 214262, "A theory of multineuronal dimensionality, dynamics and measurement".
    """
    covariance = moments.covariance
    trace = covariance.trace().item()
    if trace <= _rounding(moments) * moments.mean_square:
        return 0.0
    return trace**2 / covariance.square().sum().item()


def w2_uniformity(moments: Moments) -> float:
    r"""The Wasserstein distance to the uniform law, both taken as the normal laws of their moments.

    .. math:: W_2 = \sqrt{\lVert \bar z \rVert^2 + 1 + \mathrm{tr}\, \Sigma - \tfrac{2}{\sqrt m}\, \mathrm{tr}\, \Sigma^{1/2}}

    It is the distance of N(mean, Sigma) from N(0, I/m), the moments of the uniform law. O(m^3) time.

    Args:
        moments: of at least 1 row, of unit norm.

    Returns:
        A number from 0, for the moments of the uniform law, to sqrt(2), for a constant.

    Raises:
        ValueError: there is no row.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, w2_uniformity
        >>> w2_uniformity(Moments.of(torch.cat([torch.eye(4), -torch.eye(4)])))
        0.0

    Note:
        It sees the first two moments only: the corners above, or any law with the moments of the uniform one, have value 0.
        A sample of the uniform law itself has `w2_floor(N, m)`, which falls slowly with N: subtract nothing, but show it
        beside the value.

    Reference:
        Fang et al., ICLR 2024, arXiv 2403.00642.
    """
    spread = spectrum(moments).sqrt().sum().item()
    squared = moments.mean_square + 1 - 2 * spread / math.sqrt(moments.dim)  # |mean|^2 + tr Sigma is the mean square
    return math.sqrt(max(0.0, squared))


def w2_floor(n: int, dim: int) -> float:
    r"""The `w2_uniformity` of n independent rows of the uniform law, which is not 0.

    .. math:: \sqrt{2 - 2 \sqrt{\tfrac{n - 1}{n}}\, E \sqrt{\lambda}} \approx \tfrac{1}{2} \sqrt{m / n}, \qquad
              E \sqrt{\lambda} = {}_2F_1(-\tfrac{1}{2}, \tfrac{1}{2}; 2; \gamma), \quad \gamma = \tfrac{m - 1}{n - 1} \le 1,

    lambda being an eigenvalue of a sample covariance of n - 1 degrees of freedom, by the law of Marchenko and Pastur. For
    gamma > 1 the two sides of the matrix change roles: E sqrt(lambda) is the same of 1/gamma, over sqrt(gamma). The
    approximation is for large m and larger n.

    Args:
        n: the number of rows, at least 1.
        dim: m, the number of features, at least 1.

    Returns:
        A number above 0, up to sqrt(2) for a single row. From 16 rows on it is the root mean square over samples to 3%
        (simulated, m = 2 to 256), and closer for large m.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> from align_uniform.geometry import w2_floor
        >>> round(w2_floor(4096, 256), 3)
        0.126

    Reference:
        Marchenko & Pastur, 1967; its moments are those of Narayana's polynomials, continued to the power 1/2.
    """
    for name, value in (("n", n), ("dim", dim)):
        if not (math.isfinite(value) and value == int(value) and value >= 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value}.")
    ratio = (dim - 1) / max(1, n - 1)  # a row of unit norm has one coordinate less to choose
    mean_root = _mean_root(ratio) if ratio <= 1 else _mean_root(1 / ratio) / math.sqrt(ratio)
    return math.sqrt(2 - 2 * math.sqrt((n - 1) / n) * mean_root)


def _mean_root(ratio: float) -> float:
    """2F1(-1/2, 1/2; 2; ratio); the terms fall like k^-3 at worst, so 200 leave an error of 2e-6."""
    term = total = 1.0
    for k in range(200):
        term *= (k - 0.5) * (k + 0.5) / ((k + 2) * (k + 1)) * ratio
        total += term
    return total


def _eigenvalues(matrix: Tensor, rounding: float, scale: float = 0) -> Tensor:
    """Eigenvalues, descending, and 0 where they are rounding: of entries the size of the largest, plus `scale`."""
    values: Tensor = torch.linalg.eigvalsh(matrix).flip(0)
    return values.masked_fill(values <= rounding * (values[0] + scale), 0)


def _rounding(moments: Moments) -> float:
    """The relative rounding of the sums; of equal rows, whose errors all have the same sign, it grows with their number."""
    return max(moments.count, moments.dim) * torch.finfo(torch.float64).eps


# ---------------------------------------------------------------------------------------------------------------- classes


@dataclass(frozen=True, eq=False)
class ClassSums:
    r"""The sums of the rows of each class, from which the measures of classes are computed.

    .. math:: n_c, \qquad S_c = \sum_{i \in c} z_i, \qquad q_c = \sum_{i \in c} \lVert z_i \rVert^2

    O(N m) time and O(C m) memory. Two sets are merged by `+`, in any order; a class that one of them lacks counts 0 there.

    Attributes:
        counts: n_c, [C], int64.
        sums: S_c, [C, m], float64.
        squares: q_c, [C], float64; n_c for unit rows.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, tolerance
        >>> z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> sums = ClassSums.of(z, torch.tensor([0, 0, 1]))
        >>> sums.counts.tolist(), sums.singletons, round(tolerance(sums), 6)
        ([2, 1], 1, 0.6)
    """

    counts: Tensor
    sums: Tensor
    squares: Tensor

    @classmethod
    def of(cls, z: Tensor, labels: Tensor) -> ClassSums:
        """The sums of labelled rows, accumulated in float64 a block at a time; on the CPU for MPS, which has no float64.

        Args:
            z: rows, [N, m], of any floating-point dtype.
            labels: the class of each row, [N], whole numbers from 0. The memory is that of the largest: of names, or of
                numbers with gaps, `torch.unique(labels, return_inverse=True)` makes such labels.

        Raises:
            ValueError: z or labels are not as above, or z holds NaN or infinity.
        """
        _check_rows("z", z)
        _check_labels(labels, len(z))
        wide = _wide(z[:0])
        labels = labels.to(wide.device, torch.int64)
        counts = labels.bincount()
        sums, squares = wide.new_zeros(len(counts), z.shape[1]), wide.new_zeros(len(counts))
        for block, classes in zip(_wide_blocks(z), labels.split(_block_rows(z)), strict=True):
            sums.index_add_(0, classes, block)
            squares.index_add_(0, classes, block.square().sum(1))
        return cls(counts, sums, squares)

    def __add__(self, other: ClassSums) -> ClassSums:
        if not isinstance(other, ClassSums):
            return NotImplemented
        _check_same_dim(self, other)
        classes = max(len(self.counts), len(other.counts))
        a, b = self._padded(classes), other._padded(classes)
        return ClassSums(a.counts + b.counts, a.sums + b.sums, a.squares + b.squares)

    def _padded(self, classes: int) -> ClassSums:
        more = classes - len(self.counts)
        return ClassSums(
            *(torch.cat([part, part.new_zeros(more, *part.shape[1:])]) for part in (self.counts, self.sums, self.squares))
        )

    @property
    def dim(self) -> int:
        """m, the number of features."""
        return self.sums.shape[1]

    @property
    def singletons(self) -> int:
        """The number of classes of one row, which have no pair and no part in the means over pairs."""
        return int((self.counts == 1).sum())

    @property
    def pairs(self) -> int:
        """The number of ordered pairs of distinct rows of one class, the sum of n_c (n_c - 1); at least 2."""
        pairs = int((self.counts * (self.counts - 1)).sum())
        if pairs == 0:
            raise ValueError(
                f"a class must have at least 2 rows to hold a pair, got {int(self.counts.sum())} rows of which no two share "
                f"a class; check that labels are classes, not numbers of samples."
            )
        return pairs

    @property
    def products(self) -> Tensor:
        """The sum of z_i.z_j over ordered pairs of distinct rows of each class, [C]."""
        return self.sums.square().sum(1) - self.squares


def tolerance(classes: ClassSums) -> float:
    r"""Tolerance: the mean cosine over the pairs of distinct rows of the same class, all classes pooled.

    .. math:: T = \frac{\sum_c \left( \lVert S_c \rVert^2 - q_c \right)}{\sum_c n_c (n_c - 1)}

    A row in a class of one has no pair: such classes are left out, and `classes.singletons` counts them. O(C m) time.

    Args:
        classes: sums of the rows of each class, of unit norm; one class at least of 2 rows.

    Returns:
        A number up to 1, where all rows of a class coincide; near 0 or below where the class says nothing about the cosine.
        For rows of other norms it is the mean inner product.

    Raises:
        ValueError: no two rows share a class.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, tolerance
        >>> tolerance(ClassSums.of(torch.eye(4)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])))
        1.0

    Note:
        A cone raises it as it raises every cosine: compare with the mean cosine over all pairs. Pooling over pairs weighs a
        class by its number of pairs, so a large class outvotes the small ones.

    Reference:
        Wang & Liu, CVPR 2021, arXiv 2012.09740.
    """
    return classes.products.sum().item() / classes.pairs


def class_alignment(classes: ClassSums) -> float:
    r"""The mean squared distance over the pairs of distinct rows of the same class: alignment, with classes as positives.

    .. math:: A = \frac{2 \sum_c \left( n_c q_c - \lVert S_c \rVert^2 \right)}{\sum_c n_c (n_c - 1)}

    For unit rows it is `2 - 2 * tolerance(classes)`. O(C m) time.

    Args:
        classes: sums of the rows of each class; one class at least of 2 rows. Classes of one row are left out.

    Returns:
        A number from 0 to 4 for unit rows; about 2 where the class says nothing about the distance.

    Raises:
        ValueError: no two rows share a class.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, class_alignment
        >>> class_alignment(ClassSums.of(torch.eye(2), torch.tensor([0, 0])))
        2.0

    Note:
        As of `tolerance`: a cone makes it small, and the large classes decide.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1, with pairs of one class in place of two views.
    """
    squared = (classes.counts * classes.squares - classes.sums.square().sum(1)).clamp(min=0)
    return 2 * squared.sum().item() / classes.pairs


def within_class_products(z: Tensor, labels: Tensor, classes: ClassSums) -> Tensor:
    r"""The share of each row in `tolerance`: the sum of its cosines with the other rows of its class.

    .. math:: a_i = z_i^T S_{c(i)} - \lVert z_i \rVert^2, \qquad T = \sum_i a_i \, / \sum_c n_c (n_c - 1)

    A second pass over the rows, O(N m) time. Over n_c - 1, a low share is that of a row unlike its class: an outlier, or a
    wrong label. Rows in parts give their shares in parts, `classes` being the sums of all of them.

    Args:
        z: rows, [N, m], of any floating-point dtype.
        labels: the class of each row, [N], whole numbers from 0.
        classes: the sums that these rows went into.

    Returns:
        [N], float64.

    Raises:
        ValueError: an argument is not as above.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, within_class_products
        >>> z, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, 0, 0])
        >>> within_class_products(z, labels, ClassSums.of(z, labels))
        tensor([0.6000, 1.4000, 0.8000], dtype=torch.float64)
    """
    _check_rows("z", z)
    _check_labels(labels, len(z), len(classes.counts))
    if z.shape[1] != classes.dim:
        raise ValueError(f"z must have the {classes.dim} features of the class sums, got shape {list(z.shape)}.")
    labels = labels.to(classes.sums.device, torch.int64)
    parts = zip(_wide_blocks(z), labels.split(_block_rows(z)), strict=True)
    return torch.cat([(block * (classes.sums[label] - block)).sum(1) for block, label in parts])


def tolerance_stderr(products: Tensor, labels: Tensor, classes: ClassSums) -> float:
    r"""The standard error of `tolerance`: the classes are given, the rows a sample of each.

    .. math:: \mathrm{Var}\, T \approx \frac{4}{\left( \sum_c n_c (n_c - 1) \right)^2}
              \sum_c \frac{n_c (n_c - 1)}{(n_c - 2)^2} \sum_{i \in c} (a_i - \bar a_c)^2

    The jackknife of a U-statistic within each class: leaving row i out moves the class mean by a multiple of a_i. A class of
    two rows has one cosine, which shows no variance; K such classes add K times the variance of their cosines to the sum over
    classes, which the differences between these classes make too large rather than too small. O(N) time.

    Args:
        products: a_i of all rows, [N], from `within_class_products`.
        labels: the class of each row, [N], whole numbers from 0.
        classes: the sums of all rows.

    Returns:
        The standard error, at least 0.

    Raises:
        ValueError: an argument is not as above, or no two rows share a class.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, tolerance_stderr, within_class_products
        >>> z, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, 0, 0])
        >>> sums = ClassSums.of(z, labels)
        >>> round(tolerance_stderr(within_class_products(z, labels, sums), labels, sums), 4)
        0.4807

    Note:
        It answers "other rows of these classes", not "other classes". It errs on the wide side of classes of fewer than 10
        rows, and of classes that are themselves spread evenly over the sphere: there up to sqrt(2), the noise of a_i being
        counted as spread. Simulated coverage of T +- 1.96 standard errors: 95 to 97% for classes of 10 and 30 rows, 97 to 98%
        for classes of 5, 99% for 30 rows spread evenly. A single class of two, with no other of its size, adds nothing: alone
        it has the error 0.

    Reference:
        Arvesen, 1969, "Jackknifing U-statistics", Annals of Mathematical Statistics 40(6).
    """
    count = int(classes.counts.sum())
    if not isinstance(products, Tensor) or products.shape != (count,):
        got = list(products.shape) if isinstance(products, Tensor) else type(products).__name__
        raise ValueError(f"products must hold one number for each of the {count} rows of the class sums, [N], got {got}.")
    _check_labels(labels, count, len(classes.counts))
    labels = labels.to(products.device, torch.int64)
    means = classes.products / classes.counts.clamp(min=1)
    squares = torch.zeros_like(means).index_add_(0, labels, (products - means[labels]).square())
    variances = squares * classes.counts * (classes.counts - 1) / (classes.counts - 2).clamp(min=1).square()
    cosines = classes.products[classes.counts == 2] / 2
    between = len(cosines) * cosines.var().item() if len(cosines) > 1 else 0.0
    return 2 * math.sqrt(variances.sum().item() + between) / classes.pairs


# ------------------------------------------------------------------------------------------------------ nearest neighbours


def nearest_neighbours(x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""The distance of each row to the nearest other row, and which it is.

    .. math:: \min_{j \ne i} \lVert x_i - x_j \rVert_2, \qquad \mathrm{or} \quad \min_j \lVert q_i - x_j \rVert_2

    The neighbour is found by matrix products in float64 (float32 on MPS), tile by tile, and its distance is then computed from
    the difference, which a product would lose for near duplicates. O(N^2 m) time, or O(Q N m); O(N m + tile) memory.

    Args:
        x: rows, [N, m], of any floating-point dtype; at least 2, or with queries 1.
        queries: rows to find the neighbours of, [Q, m]; None takes those of x, of which none is its own neighbour.

    Returns:
        Distances [Q], float64 (float32 on MPS), and the numbers of the neighbours among x, [Q], int64. Of neighbours whose
        distances from a row agree to about 1e-8 of the spread of x, either may be named.

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
    centre = torch.stack([_widest(block).sum(0) for block in x.split(TILE_ROWS)]).sum(0) / len(x)
    distances, neighbours = [], []
    for number, narrow in enumerate(rows.split(TILE_ROWS)):
        block = _widest(narrow)
        found = _nearest(block - centre, x, centre, None if queries is not None else number * TILE_ROWS)
        distances.append(torch.linalg.vector_norm(block - _widest(x[found]), dim=1))
        neighbours.append(found)
    return torch.cat(distances), torch.cat(neighbours)


def koleo(nearest: Tensor, eps: float = 1e-8) -> float:
    r"""KoLeo: the mean negative log distance to the nearest neighbour, an estimate of the entropy but for its sign and scale.

    .. math:: -\frac{1}{N} \sum_{i=1}^{N} \log \max \left( \min_{j \ne i} \lVert z_i - z_j \rVert, \epsilon \right)

    O(N) time, after the neighbours.

    Args:
        nearest: distances to the nearest neighbour, [N], from `nearest_neighbours`; at least one.
        eps: the least distance to take a log of, above 0. How many are below says how many rows are duplicates.

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
        One duplicate in a thousand adds log(1/eps)/1000, and a few per cent of them decide the value: report their count. It
        rises with N, by log(N)/(m - 1) for a uniform law, so compare values of the same N only. It sees the nearest neighbour
        alone, and cannot tell a few large gaps from none.

    Reference:
        Sablayrolles et al., ICLR 2019, arXiv 1806.03198; the estimator of Kozachenko & Leonenko, 1987.
    """
    eps = checks.check_positive("eps", eps)
    if not (isinstance(nearest, Tensor) and nearest.is_floating_point() and nearest.dim() == 1 and len(nearest)):
        got = f"{nearest.dtype} of shape {list(nearest.shape)}" if isinstance(nearest, Tensor) else type(nearest).__name__
        raise ValueError(f"nearest must be a floating-point tensor of at least one distance, [N], got {got}.")
    return -_widest(nearest).clamp(min=eps).log().mean().item()


def _nearest(block: Tensor, x: Tensor, centre: Tensor, skip: int | None) -> Tensor:
    """The number of the nearest row of x for each row of the block; row i of it may be row `skip + i` of x, no neighbour."""
    least = block.new_full((len(block),), math.inf)
    neighbours = torch.zeros(len(block), dtype=torch.int64, device=block.device)
    for number, narrow in enumerate(x.split(TILE_ROWS)):
        start = number * TILE_ROWS
        columns = _widest(narrow) - centre
        # |a - b|^2 less |a|^2, which is the same for all neighbours of a.
        tile = torch.addmm(columns.square().sum(1), block, columns.mT, alpha=-2)
        if start == skip:
            tile.fill_diagonal_(math.inf)
        values, positions = tile.min(1)
        closer = values < least
        least = torch.where(closer, values, least)
        neighbours = torch.where(closer, positions + start, neighbours)
    return neighbours


# ------------------------------------------------------------------------------------------------------------------- rows


def _wide_blocks(z: Tensor) -> Iterator[Tensor]:
    return map(_wide, z.detach().split(_block_rows(z)))


def _block_rows(z: Tensor) -> int:
    return max(1, BLOCK_NUMBERS // z.shape[1])


def _wide(z: Tensor) -> Tensor:
    """Float64, on the CPU where the device has none."""
    return (z.detach().cpu() if z.device.type == "mps" else z.detach()).double()


def _widest(z: Tensor) -> Tensor:
    """Float64 where the device has it."""
    return z.float() if z.device.type == "mps" else z.double()


def _check_rows(name: str, z: Tensor) -> None:
    """Finite rows, [N, m]; N may be 0."""
    checks.check_features(name, z)
    if z.dim() != 2:
        raise ValueError(f"{name} must be [N, m], got shape {list(z.shape)}; use {name}.flatten(0, -2).")
    if len(z) and not all(bound.isfinite() for bound in z.detach().aminmax()):
        raise ValueError(f"{name} must be finite, got NaN or infinity; leave those rows out: {name}[{name}.isfinite().all(1)].")


def _check_neighbourhood(x: Tensor, queries: Tensor | None) -> None:
    """Rows that have a neighbour."""
    _check_rows("x", x)
    if queries is None:
        checks.check_row_count(len(x), 2, "a single row has no neighbour; give more, or queries")
        return
    checks.check_row_count(len(x), 1, "there is no neighbour to find")
    _check_rows("queries", queries)
    if queries.shape[1] != x.shape[1]:
        raise ValueError(f"queries must have the {x.shape[1]} features of x, got shape {list(queries.shape)}.")


def _check_labels(labels: Tensor, rows: int, classes: int | None = None) -> None:
    """One whole number from 0 for each row, below the number of classes where that is known."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"labels must be a tensor of whole numbers, got {got}; use labels.long(), or number the classes.")
    if labels.shape != (rows,):
        raise ValueError(f"labels must hold one class for each of the {rows} rows, [N], got shape {list(labels.shape)}.")
    if rows and labels.min() < 0:
        raise ValueError(f"labels must be at least 0, got {labels.min()}; leave unlabelled rows out: z[labels >= 0].")
    if rows and classes is not None and labels.max() >= classes:
        raise ValueError(f"labels must be below the {classes} classes of the class sums, got {labels.max()}.")


def _check_count(moments: Moments, least: int, why: str) -> None:
    if moments.count < least:
        raise ValueError(f"moments must be of at least {least} rows, got {moments.count}: {why}.")


def _check_same_dim(x: Moments | ClassSums, y: Moments | ClassSums) -> None:
    if x.dim != y.dim:
        raise ValueError(f"both must have the same number of features, got {x.dim} and {y.dim}.")
