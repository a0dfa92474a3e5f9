"""Sums class by class, and the closeness of the rows of a class, which follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform.engine.precision import widened
from align_uniform.geometry.moments import Moments, check_count, mean_cosine
from align_uniform.geometry.rows import block_rows, check_rows, check_same_dim, wide_blocks


@dataclass(frozen=True, eq=False)
class ClassSums:
    r"""The sums of the rows of each class, from which the measures of classes are computed.

    .. math:: n_c, \qquad S_c = \sum_{i \in c} z_i, \qquad q_c = \sum_{i \in c} \lVert z_i \rVert^2

    O(N m) time and O(C m) memory. Two sets are merged by `+`, in any order; a class that one of them lacks
    counts 0 there.

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
        """Sum labelled rows in float64 a block at a time, on the CPU for MPS, which lacks float64.

        Args:
            z: rows, [N, m], of any floating-point dtype.
            labels: the class of each row, [N], whole numbers from 0. The largest decides the memory;
                `torch.unique(labels, return_inverse=True)` turns numbers with gaps into such labels.

        Raises:
            ValueError: z or labels have another form, or z has NaN or infinity.
        """
        check_rows("z", z)
        _check_labels(labels, len(z))
        wide = widened(z.detach()[:0])
        labels = labels.to(wide.device, torch.int64)
        counts = labels.bincount()
        sums, squares = wide.new_zeros(len(counts), z.shape[1]), wide.new_zeros(len(counts))
        for block, classes in zip(wide_blocks(z), labels.split(block_rows(z)), strict=True):
            sums.index_add_(0, classes, block)
            squares.index_add_(0, classes, block.square().sum(1))
        return cls(counts, sums, squares)

    def __add__(self, other: ClassSums) -> ClassSums:
        if not isinstance(other, ClassSums):
            return NotImplemented
        check_same_dim(self, other)
        classes = max(len(self.counts), len(other.counts))
        a, b = self._padded(classes), other._padded(classes)
        return ClassSums(a.counts + b.counts, a.sums + b.sums, a.squares + b.squares)

    def _padded(self, classes: int) -> ClassSums:
        more = classes - len(self.counts)
        return ClassSums(
            *(
                torch.cat([part, part.new_zeros(more, *part.shape[1:])])
                for part in (self.counts, self.sums, self.squares)
            )
        )

    @property
    def dim(self) -> int:
        """The number of features, m."""
        return self.sums.shape[1]

    @property
    def singletons(self) -> int:
        """The number of classes of one row, which have no pair and do not count in means over pairs."""
        return int((self.counts == 1).sum())

    @property
    def pairs(self) -> int:
        """The number of ordered pairs of distinct rows of one class, the sum of n_c (n_c - 1); at least 2."""
        return pairs_within(self.counts)

    @property
    def products(self) -> Tensor:
        """The sum of z_i.z_j over ordered pairs of distinct rows of each class, [C]."""
        return self.sums.square().sum(1) - self.squares


def pairs_within(counts: Tensor) -> int:
    """Return the number of ordered pairs of distinct rows of one class, given the rows of each class, [C].

    Raises:
        ValueError: there is none.
    """
    pairs = int((counts * (counts - 1)).sum())
    if pairs == 0:
        raise ValueError(
            f"a class must have at least 2 rows to hold a pair, got {int(counts.sum())} rows of which no two "
            "share a class; check that labels are classes, not numbers of samples."
        )
    return pairs


def tolerance(classes: ClassSums) -> float:
    r"""Tolerance: the mean cosine over the pairs of distinct rows of the same class, all classes pooled.

    .. math:: T = \frac{\sum_c \left( \lVert S_c \rVert^2 - q_c \right)}{\sum_c n_c (n_c - 1)}

    A row in a class of one has no pair: such classes are left out, and `classes.singletons` counts them. O(C
    m) time.

    Args:
        classes: sums of the rows of each class, of unit norm; one class at least of 2 rows.

    Returns:
        A number up to 1, where all rows of a class coincide; near 0 or below where the class says nothing
        about the cosine. For rows of other norms it is the mean inner product.

    Raises:
        ValueError: no two rows share a class.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, tolerance
        >>> tolerance(ClassSums.of(torch.eye(4)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])))
        1.0

    Note:
        A cone raises it as it raises every cosine: compare with the mean cosine over all pairs. Pooling over
        pairs weighs a class by its number of pairs, so a large class outvotes the small ones.

    Reference:
        Wang & Liu, CVPR 2021, arXiv 2012.09740.
    """
    return classes.products.sum().item() / classes.pairs


def class_alignment(classes: ClassSums) -> float:
    r"""Alignment with classes as positives: the mean squared distance of distinct rows of one class.

    .. math:: A = \frac{2 \sum_c \left( n_c q_c - \lVert S_c \rVert^2 \right)}{\sum_c n_c (n_c - 1)}

    For unit rows it is `2 - 2 * tolerance(classes)`. O(C m) time.

    Args:
        classes: sums of the rows of each class; one class at least of 2 rows. Classes of one row are left
            out.

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
        As with `tolerance`, a cone makes it small, and the large classes decide.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1, with pairs of one class in place of two
        views.
    """
    squared = (classes.counts * classes.squares - classes.sums.square().sum(1)).clamp(min=0)
    return 2 * squared.sum().item() / classes.pairs


def permuted_tolerance(classes: ClassSums, moments: Moments) -> tuple[float, float]:
    r"""The mean and the standard deviation of `tolerance` over all permutations of the labels.

    .. math:: E\, T = \bar k, \qquad
              \mathrm{Var}\, T = \frac{1}{A_0^2} \left( \frac{2 A_1 K_1}{n_2}
              + \frac{4 (A_2 - A_1)(K_2 - K_1)}{n_3} + \frac{(A_0^2 + 2 A_1 - 4 A_2)(2 K_1 - 4 K_2)}{n_4}
              \right)

    with :math:`n_r = n (n-1) \dots (n-r+1)`, the mean cosine of distinct rows :math:`\bar k`, and, of the
    cosines less that mean, the sum of squares :math:`K_1` over ordered pairs and the sum :math:`K_2` of the
    squared sums of each row; :math:`A_0 = A_1 = \sum_c n_c (n_c - 1)` and
    :math:`A_2 = \sum_c n_c (n_c - 1)^2`. No label is permuted: all three sums of cosines follow from the
    moments. O(m^2) time.

    Args:
        classes: sums of the rows of each class, of unit norm; one class at least of 2 rows.
        moments: of the same rows, at least 4.

    Returns:
        The mean, and the standard deviation, at least 0. It is 0 if all rows are of one class.

    Raises:
        ValueError: the moments are of other rows or of fewer than 4, or no two rows share a class.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, Moments, permuted_tolerance
        >>> z = torch.eye(4)[[0, 0, 1, 1]]
        >>> mean, deviation = permuted_tolerance(ClassSums.of(z, torch.tensor([0, 0, 1, 1])), Moments.of(z))
        >>> round(mean, 4), round(deviation, 4)  # of 1, 0 and 0
        (0.3333, 0.4714)

    Reference:
        Mantel, Cancer Research 1967, "The detection of disease clustering and a generalized regression
        approach".
    """
    check_count(moments, 4, "a permutation of fewer has no variance")
    n = moments.count
    if n != int(classes.counts.sum()):
        raise ValueError(
            f"both must be of the same rows, got {int(classes.counts.sum())} with a class and {n} in moments."
        )
    mean = mean_cosine(moments)
    total, sizes = moments.sum, classes.counts.double()
    of_rows = (
        (total @ moments.second @ total - 2 * total.square().sum()).item() + n - n * ((n - 1) * mean) ** 2
    )
    of_pairs = moments.second.square().sum().item() - n - n * (n - 1) * mean**2
    pairs, shared = classes.pairs, (sizes * (sizes - 1).square()).sum().item()
    variance = 2 * pairs * of_pairs / (n * (n - 1))
    variance += 4 * (shared - pairs) * (of_rows - of_pairs) / (n * (n - 1) * (n - 2))
    apart = pairs * pairs + 2 * pairs - 4 * shared
    variance += apart * (2 * of_pairs - 4 * of_rows) / (n * (n - 1) * (n - 2) * (n - 3))
    return mean, math.sqrt(max(0.0, variance)) / pairs


def explained_variance(classes: ClassSums) -> float | None:
    r"""The share of the variance of the rows that their classes explain, adjusted for chance.

    .. math:: 1 - \frac{\sum_c \left( q_c - \lVert S_c \rVert^2 / n_c \right) / (n - C)}
              {\left( \sum_c q_c - \lVert \sum_c S_c \rVert^2 / n \right) / (n - 1)}

    O(C m) time.

    Args:
        classes: sums of the rows of each class.

    Returns:
        A number up to 1, where the rows of a class are equal; 0 on average for labels drawn at random, which
        without the adjustment would explain (C - 1)/(n - 1). None if every row has a class of its own, or if
        all rows are equal.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, explained_variance
        >>> z = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
        >>> round(explained_variance(ClassSums.of(z, torch.tensor([0, 0, 1, 1]))), 4)
        0.9851

    Reference:
        Kelley, PNAS 1935, "An unbiased correlation ratio measure".
    """
    kept = classes.counts > 0
    n, count = int(classes.counts.sum()), int(kept.sum())
    square = classes.squares.sum().item()
    total = square - classes.sums.sum(0).square().sum().item() / max(1, n)
    if n == count or total <= n * torch.finfo(torch.float64).eps * square:
        return None
    of_means = (classes.sums[kept].square().sum(1) / classes.counts[kept]).sum().item()
    return 1 - (square - of_means) / (n - count) / (total / (n - 1))


def within_class_products(z: Tensor, labels: Tensor, classes: ClassSums) -> Tensor:
    r"""The share of each row in `tolerance`: the sum of its cosines with the other rows of its class.

    .. math:: a_i = z_i^T S_{c(i)} - \lVert z_i \rVert^2, \qquad T = \sum_i a_i \, / \sum_c n_c (n_c - 1)

    A second pass over the rows, O(N m) time. Over n_c - 1, a low share means that a row is unlike its class:
    an outlier, or a wrong label. Rows may come in parts, `classes` being the sums of all parts.

    Args:
        z: rows, [N, m], of any floating-point dtype.
        labels: the class of each row, [N], whole numbers from 0.
        classes: the sums that these rows went into.

    Returns:
        [N], float64.

    Raises:
        ValueError: an argument has another form.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, within_class_products
        >>> z, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, 0, 0])
        >>> within_class_products(z, labels, ClassSums.of(z, labels))
        tensor([0.6000, 1.4000, 0.8000], dtype=torch.float64)
    """
    check_rows("z", z)
    _check_labels(labels, len(z), len(classes.counts))
    if z.shape[1] != classes.dim:
        raise ValueError(
            f"z must have the {classes.dim} features of the class sums, got shape {list(z.shape)}."
        )
    labels = labels.to(classes.sums.device, torch.int64)
    parts = zip(wide_blocks(z), labels.split(block_rows(z)), strict=True)
    return torch.cat([(block * (classes.sums[label] - block)).sum(1) for block, label in parts])


def tolerance_influence(products: Tensor, labels: Tensor, classes: ClassSums) -> Tensor:
    r"""The influence of each row on `tolerance`: the part of the row in the deviation of T.

    .. math:: \psi_i = \frac{2}{\sum_c n_c (n_c - 1)} \frac{\sqrt{n_c (n_c - 1)}}{n_c - 2} (a_i - \bar a_c),
              \qquad \mathrm{Var}\, T \approx \sum_i \psi_i^2

    The jackknife of a U-statistic within each class, the classes being given and the rows a sample of each:
    leaving row i out moves the class mean by a multiple of a_i. A class of two rows has one cosine, which
    shows no variance. The K classes of two rows share the variance of their cosines, half of which goes to
    each of the two rows; differences between these classes make it too large rather than too small. O(N)
    time.

    Args:
        products: a_i of all rows, [N], from `within_class_products`.
        labels: the class of each row, [N], whole numbers from 0.
        classes: the sums of all rows.

    Returns:
        [N], float64. The influences on the difference of two tolerances of the same rows are the difference
        of theirs.

    Raises:
        ValueError: an argument has another form, or no two rows share a class.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, tolerance_influence, within_class_products
        >>> z, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, 0, 0])
        >>> sums = ClassSums.of(z, labels)
        >>> tolerance_influence(within_class_products(z, labels, sums), labels, sums)
        tensor([-0.2722,  0.3810, -0.1089], dtype=torch.float64)

    Reference:
        Arvesen, 1969, "Jackknifing U-statistics", Annals of Mathematical Statistics 40(6).
    """
    count = int(classes.counts.sum())
    if not isinstance(products, Tensor) or products.shape != (count,):
        got = list(products.shape) if isinstance(products, Tensor) else type(products).__name__
        raise ValueError(
            f"products must hold one number for each of the {count} rows of the class sums, [N], got {got}."
        )
    _check_labels(labels, count, len(classes.counts))
    labels, sizes = labels.to(products.device, torch.int64), classes.counts.double()
    means = classes.products / sizes.clamp(min=1)
    factors = (sizes * (sizes - 1)).sqrt() / (sizes - 2).clamp(min=1)
    influences = factors[labels] * (products - means[labels])
    of_two = sizes == 2
    if int(of_two.sum()) > 1:
        cosines = classes.products[of_two] / 2
        share = torch.zeros_like(means)
        share[of_two] = (cosines - cosines.mean()) * math.sqrt(len(cosines) / (len(cosines) - 1) / 2)
        influences = influences + share[labels]
    return 2 * influences / classes.pairs


def tolerance_stderr(products: Tensor, labels: Tensor, classes: ClassSums) -> float:
    r"""The standard error of `tolerance`: the classes are given, the rows a sample of each.

    It is the root of the sum of the squares of `tolerance_influence`, which takes the same arguments.

    Args:
        products: a_i of all rows, [N], from `within_class_products`.
        labels: the class of each row, [N], whole numbers from 0.
        classes: the sums of all rows.

    Returns:
        The standard error, at least 0.

    Raises:
        ValueError: an argument has another form, or no two rows share a class.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import ClassSums, tolerance_stderr, within_class_products
        >>> z, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, 0, 0])
        >>> sums = ClassSums.of(z, labels)
        >>> round(tolerance_stderr(within_class_products(z, labels, sums), labels, sums), 4)
        0.4807

    Note:
        It is the error for other rows of these classes, not for other classes. It is too large for classes of
        fewer than 10 rows, and for classes that are themselves spread evenly over the sphere, by up to
        sqrt(2), since the noise of a_i counts as spread. Simulated coverage of T +- 1.96 standard errors: 95
        to 97% for classes of 10 and 30 rows, 97 to 98% for classes of 5, 99% for 30 rows spread evenly. A
        single class of two rows adds nothing: alone it has the error 0.
    """
    influences: Tensor = torch.linalg.vector_norm(tolerance_influence(products, labels, classes))
    return influences.item()


def _check_labels(labels: Tensor, rows: int, classes: int | None = None) -> None:
    """One whole number from 0 for each row, below the number of classes where that is known."""
    if (
        not isinstance(labels, Tensor)
        or labels.is_floating_point()
        or labels.is_complex()
        or labels.dtype == torch.bool
    ):
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(
            f"labels must be a tensor of whole numbers, got {got}; use labels.long(), or number the classes."
        )
    if labels.shape != (rows,):
        raise ValueError(
            f"labels must hold one class for each of the {rows} rows, [N], got shape {list(labels.shape)}."
        )
    if rows and labels.min() < 0:
        raise ValueError(
            f"labels must be at least 0, got {labels.min()}; leave unlabelled rows out: z[labels >= 0]."
        )
    if rows and classes is not None and labels.max() >= classes:
        raise ValueError(f"labels must be below the {classes} classes of the class sums, got {labels.max()}.")
