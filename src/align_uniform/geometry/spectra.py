"""Measures of the number of directions that rows use, from the eigenvalues of their moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align_uniform.geometry.moments import Moments, check_count


def spectrum(moments: Moments) -> Tensor:
    r"""The eigenvalues of the covariance: how much the features vary in each principal direction.

    .. math:: \lambda_1 \ge \dots \ge \lambda_m \ge 0, \qquad \Sigma = \tfrac{1}{N} M - \bar z \bar z^T

    O(m^3) time.

    Args:
        moments: of at least 1 row.

    Returns:
        The eigenvalues, [m], float64, descending. Eigenvalues below the rounding of the sums, a share
        max(N, m) eps of the largest eigenvalue and of the squared mean, are 0, so that rounding does not
        count as rank.

    Raises:
        ValueError: there is no row.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, spectrum
        >>> spectrum(Moments.of(torch.tensor([[0.6, 0.8], [0.6, -0.8]])))
        tensor([0.6400, 0.0000], dtype=torch.float64)

    Note:
        The mean is subtracted, so a cone does not show. N <= m rows have at most N - 1 eigenvalues above 0.
    """
    return _eigenvalues(moments.covariance, _rounding(moments), moments.mean.square().sum().item())


def singular_values(moments: Moments) -> Tensor:
    r"""The singular values of the matrix of rows, the mean left in: the square roots of the eigenvalues of M.

    O(m^3) time, whatever the number of rows.

    Args:
        moments: of any number of rows.

    Returns:
        The singular values, [min(N, m)], float64, descending. They come from squares, so values below
        sqrt(max(N, m) eps) of the largest (5e-6 for N = 10^5) are rounding, and set to 0.

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
        RankMe is at most min(N, m), and for a sample of N rows it lies below its limit: 254 for N = 4096
        uniform rows of m = 256. Compare values of the same N and m only. The mean is not subtracted, so a
        cone counts as one large singular value. RankMe does not depend on which directions matter.

    Reference:
        Garrido et al., ICML 2023, arXiv 2210.02885; the effective rank of Roy & Vetterli, EUSIPCO 2007.
    """
    check_count(moments, 1, "no rows have no rank")
    values = singular_values(moments)
    total = values.sum()
    if total == 0:
        return 0.0
    entropy: Tensor = torch.special.entr(values / total + 1e-7).sum()
    return entropy.exp().item()


def participation_ratio(moments: Moments) -> float:
    r"""The number of dimensions that the features fill, by the squares of the covariance's eigenvalues.

    .. math:: \frac{(\sum_k \lambda_k)^2}{\sum_k \lambda_k^2}
              = \frac{(\mathrm{tr}\, \Sigma)^2}{\lVert \Sigma \rVert_F^2}

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
        The mean is subtracted, so a cone does not show. A few large eigenvalues decide, while RankMe depends
        on the small ones. A sample of N rows of the uniform law in m dimensions has about m / (1 + m/N) (241
        for N = 4096, m = 256).

    Reference:
        Gao et al., 2017, bioRxiv 214262, "A theory of multineuronal dimensionality, dynamics and
        measurement".
    """
    covariance = moments.covariance
    trace = covariance.trace().item()
    if trace <= _rounding(moments) * moments.mean_square:
        return 0.0
    return trace**2 / covariance.square().sum().item()


def isoscore(moments: Moments) -> float:
    r"""IsoScore: the share of the dimensions that the features use evenly, from 0 to 1.

    .. math:: \iota = \frac{m \phi - 1}{m - 1}, \qquad
              \phi = \frac{(m - \delta^2 (m - \sqrt m))^2}{m^2}, \qquad
              \delta = \frac{\lVert \sqrt m \, \lambda / \lVert \lambda \rVert_2 - 1 \rVert_2}
              {\sqrt{2 (m - \sqrt m)}}

    for the eigenvalues lambda of the covariance, which are the variances of the principal components. Put
    together, it is the `participation_ratio` P on another scale, (P - 1) / (m - 1). O(m^2) time.

    Args:
        moments: of at least 1 row, of at least 2 features.

    Returns:
        A number from 0, where all rows lie in one direction, to 1, where the covariance is a multiple of the
        identity; 0 for a constant.

    Raises:
        ValueError: there is no row, or a single feature, which is neither even nor uneven.

    Example:
        >>> import torch
        >>> from align_uniform.geometry import Moments, isoscore
        >>> round(isoscore(Moments.of(torch.cat([torch.eye(4), -torch.eye(4)]))), 6)
        1.0

    Note:
        The mean is subtracted, so a cone does not show. A sample of N rows of the uniform law has about (N -
        2) / (m + N - 2), not 1.

    Reference:
        Rudman et al., Findings of ACL 2022, arXiv 2108.07344, "IsoScore: measuring the uniformity of
        embedding space utilization", algorithm 1.
    """
    if moments.dim < 2:
        raise ValueError(
            f"moments must be of at least 2 features for IsoScore, got {moments.dim}; leave it out."
        )
    return max(0.0, participation_ratio(moments) - 1) / (moments.dim - 1)


def w2_uniformity(moments: Moments) -> float:
    r"""The Wasserstein distance to the uniform law, both taken as the normal laws of their moments.

    .. math:: W_2 = \sqrt{\lVert \bar z \rVert^2 + 1 + \mathrm{tr}\, \Sigma
              - \tfrac{2}{\sqrt m}\, \mathrm{tr}\, \Sigma^{1/2}}

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
        It depends on the first two moments only: the corners above, or any law with the moments of the
        uniform law, have value 0. A sample of the uniform law itself has `w2_floor(N, m)`, which falls slowly
        with N; show it next to the value.

    Reference:
        Fang et al., ICLR 2024, arXiv 2403.00642.
    """
    spread = spectrum(moments).sqrt().sum().item()
    squared = (
        moments.mean_square + 1 - 2 * spread / math.sqrt(moments.dim)
    )  # |mean|^2 + tr Sigma is the mean square
    return math.sqrt(max(0.0, squared))


def w2_floor(n: int, dim: int) -> float:
    r"""The `w2_uniformity` of n independent rows of the uniform law, which is not 0.

    .. math:: \sqrt{2 - 2 \sqrt{\tfrac{n - 1}{n}}\, E \sqrt{\lambda}} \approx \tfrac{1}{2} \sqrt{m / n},
              \qquad E \sqrt{\lambda} = {}_2F_1(-\tfrac{1}{2}, \tfrac{1}{2}; 2; \gamma),
              \quad \gamma = \tfrac{m - 1}{n - 1} \le 1,

    lambda being an eigenvalue of a sample covariance of n - 1 degrees of freedom, by the law of Marchenko and
    Pastur. For gamma > 1 the two sides of the matrix change roles: E sqrt(lambda) is its value at 1/gamma,
    divided by sqrt(gamma). The approximation is for large m and larger n.

    Args:
        n: the number of rows, at least 1.
        dim: m, the number of features, at least 1.

    Returns:
        A number above 0, up to sqrt(2) for a single row. From 16 rows on it is the root mean square over
        samples to 3% (simulated, m = 2 to 256), and closer for large m.

    Raises:
        ValueError: a number is not a whole number of at least 1.

    Example:
        >>> from align_uniform.geometry import w2_floor
        >>> round(w2_floor(4096, 256), 3)
        0.126

    Reference:
        Marchenko & Pastur, 1967; its moments are those of Narayana's polynomials, continued to the power 1/2.
    """
    _check_sizes(n, dim)
    ratio = (dim - 1) / max(1, n - 1)  # a row of unit norm has one coordinate less to choose
    mean_root = _mean_power(ratio, 0.5) if ratio <= 1 else _mean_power(1 / ratio, 0.5) / math.sqrt(ratio)
    return math.sqrt(2 - 2 * math.sqrt((n - 1) / n) * mean_root)


def rankme_of_uniform(n: int, dim: int) -> float:
    r"""The `rankme` of n independent rows of the uniform law: what to compare a value of n rows with.

    .. math:: r\, E \sqrt{\lambda} \; \exp \left( -\frac{E \sqrt{\lambda} \log \lambda}
              {2\, E \sqrt{\lambda}} \right), \qquad E \lambda^s = {}_2F_1(-s, 1 - s; 2; \gamma),
              \quad \gamma = \frac{r}{\max(n, m)}, \quad r = \min(n, m),

    lambda being an eigenvalue of a sample covariance by the law of Marchenko and Pastur. The derivative of
    the mean of lambda^s in s is the mean with the logarithm.

    Args:
        n: the number of rows, at least 1.
        dim: m, the number of features, at least 1.

    Returns:
        A number from 1 to min(n, m). From 8 rows and features on it is the mean over samples to 0.4%
        (simulated), and closer for more.

    Raises:
        ValueError: a number is not a whole number of at least 1.

    Example:
        >>> from align_uniform.geometry import rankme_of_uniform
        >>> round(rankme_of_uniform(1500, 384), 1), round(rankme_of_uniform(128, 128), 1)
        (370.7, 103.0)

    Reference:
        Marchenko & Pastur, 1967; see `w2_floor`.
    """
    _check_sizes(n, dim)
    rank, step = min(n, dim), 1e-4
    ratio = rank / max(n, dim)
    root = _mean_power(ratio, 0.5)
    slope = (_mean_power(ratio, 0.5 + step) - _mean_power(ratio, 0.5 - step)) / (2 * step)
    return max(1.0, rank * root * math.exp(-slope / (2 * root)))


def participation_ratio_of_uniform(n: int, dim: int) -> float:
    r"""The `participation_ratio` of n independent rows of the uniform law.

    .. math:: \frac{m (n - 1)}{m + n - 2}

    It is the square of the mean trace of the covariance over the mean of its squared norm.

    Args:
        n: the number of rows, at least 1.
        dim: m, the number of features, at least 1.

    Returns:
        A number from 0, for a single row, to min(n - 1, m). It is the mean over samples to 2% from 5 rows and
        features on (simulated), and closer for more.

    Raises:
        ValueError: a number is not a whole number of at least 1.

    Example:
        >>> from align_uniform.geometry import participation_ratio_of_uniform
        >>> round(participation_ratio_of_uniform(4096, 256))
        241
    """
    _check_sizes(n, dim)
    return dim * (n - 1) / max(1, dim + n - 2)


def _check_sizes(n: int, dim: int) -> None:
    for name, value in (("n", n), ("dim", dim)):
        if not (math.isfinite(value) and value == int(value) and value >= 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value}.")


def _mean_power(ratio: float, power: float) -> float:
    """Return 2F1(-power, 1 - power; 2; ratio), the mean of lambda^power by the law of Marchenko and Pastur.

    Its terms fall like k^-3 at worst for a power of 1/2, so 200 leave an error of 2e-6.
    """
    term = total = 1.0
    for k in range(200):
        term *= (k - power) * (k + 1 - power) / ((k + 2) * (k + 1)) * ratio
        total += term
    return total


def _eigenvalues(matrix: Tensor, rounding: float, scale: float = 0) -> Tensor:
    """Return the eigenvalues, descending, with 0 for those that are rounding of the largest plus `scale`."""
    values: Tensor = torch.linalg.eigvalsh(matrix).flip(0)
    return values.masked_fill(values <= rounding * (values[0] + scale), 0)


def _rounding(moments: Moments) -> float:
    """Return the relative rounding of the sums, which grows with the number of rows.

    The errors of equal rows all have the same sign.
    """
    return max(moments.count, moments.dim) * torch.finfo(torch.float64).eps
