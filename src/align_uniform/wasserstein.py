"""The Wasserstein distance of the moments of features to those of the uniform distribution, as a loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._ranks import add_over_ranks_, sum_over_ranks
from align_uniform._unit_norm import is_wanted
from align_uniform.engine.graphs import refuses_second_derivatives
from align_uniform.engine.precision import widened, widest
from align_uniform.functional import normalize_rows

ORDERS = 3
"""The order up to which derivatives are exact: one step of `_root` for each."""


@refuses_second_derivatives
def w2_loss(x: Tensor, *, normalize: bool | None = None, gather_distributed: bool = False) -> Tensor:
    r"""Return the W2 loss: how far the first two moments of features are from those of the uniform law.

    .. math:: W_2 = \sqrt{\lVert \mu \rVert^2 + 1 + \mathrm{tr}\, \Sigma
              - \tfrac{2}{\sqrt m}\, \mathrm{tr}\, \Sigma^{1/2}}

    for the mean and the covariance of the rows, divided by N. It is the Wasserstein distance of N(mean,
    Sigma) from N(0, I/m), and equals `geometry.w2_uniformity` of the same rows. It takes O(N m min(N, m))
    time, needs no t, and feels a collapsed dimension that `uniform_loss` hides in its third decimal. Any
    features with the moments of the uniform law have the value 0, so it does not spread rows within them.

    Two views are two losses, `(w2_loss(x) + w2_loss(y)) / 2`.

    Args:
        x: features, [..., N, m], N >= 2, of unit norm. The moments are computed in float64, on the CPU for
            devices that lack it, and wait for the device.
        normalize: divide the rows by their norm first. By default the rows are taken as they are, with a
            warning, once, if they are far from unit norm; False takes them as they are without a word.
        gather_distributed: compute the value of the rows of all processes together, whose numbers may differ.
            Processes exchange the moments, [m, m]. Differentiable once, in eager mode; after
            DistributedDataParallel's averaging the gradient is the one-process gradient. The features are
            [N, m].

    Returns:
        [...], a scalar for one set of rows, from 0 to sqrt(2) for unit rows; float32 or float64. It can be
        differentiated three times. N rows of the uniform law have about `geometry.w2_floor(N, m)`, not 0. The
        gradient is finite everywhere: at 0, and along directions that the rows do not use, it is 0, a
        subgradient. A constant is therefore a point from which a gradient does not lead away.

    Raises:
        ValueError: a shape or dtype is not as above.

    Example:
        >>> import torch
        >>> from align_uniform import w2_loss
        >>> w2_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])).round(decimals=6)
        tensor(0.)
        >>> w2_loss(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))  # one of two directions
        tensor(0.7654)

    Reference:
        Fang et al., ICLR 2024, arXiv 2403.00642, "Rethinking the uniformity metric in self-supervised
        learning".
    """
    checks.check_features("x", x)
    rows = widened(x)
    if is_wanted("w2_loss", normalize, x=x):
        rows = normalize_rows(rows)
    if gather_distributed:
        checks.check_gatherable(x)
        squared = _squared_of_all(rows)
    else:
        checks.check_row_count(rows.shape[-2], 2, "a single row has no spread")
        squared = _squared(rows)
    is_zero = squared == 0
    distance = squared.masked_fill(is_zero, 1).sqrt().masked_fill(is_zero, 0)
    return distance.to(x.device, widest(x))


def _squared(x: Tensor) -> Tensor:
    """Return the squared distance of rows, [...] for [..., N, m], from the smaller of two matrices."""
    n, dim = x.shape[-2:]
    mean = x.mean(-2, keepdim=True)
    rows = x - mean
    far = mean.square().sum((-2, -1))
    if n > dim:
        return far + _spread(rows.mT @ rows / n, dim, n)
    # The eigenvalues above 0 are those of the products of rows, too, of which one is 0: that of equal parts
    # of all rows. It is replaced by 1/m, which adds nothing, and of which the root can be differentiated.
    products = rows @ rows.mT / n + 1 / (n * dim)
    return far + _spread(products, dim, n) + (dim - n + 1) / dim


def _squared_of_all(x: Tensor) -> Tensor:
    """Return the squared distance of the rows of all processes, from sums over them."""
    dim = x.shape[-1]
    told = torch.cat([x.detach().sum(0), x.new_full((1,), len(x))])
    *_, count = told = add_over_ranks_(told)
    n = int(count)
    checks.check_row_count(n, 2, "a single row has no spread")
    centre = told[:-1] / n  # taken out as a constant, so that no digits are lost and sums are of one level
    rows = x - centre
    sums = sum_over_ranks(torch.cat([rows.sum(0), (rows.mT @ rows).flatten()])) / n
    rest = sums[:dim]
    covariance = sums[dim:].view(dim, dim) - torch.outer(rest, rest)
    return (centre + rest).square().sum() + _spread(covariance, dim, n)


def _spread(matrix: Tensor, dim: int, count: int) -> Tensor:
    """Return the sum of (sqrt(lambda) - 1/sqrt(m))^2 over the eigenvalues of a matrix, [...] for [..., k, k].

    It is written as the norm of a difference, which is exact near the optimum.
    """
    root = _root(matrix, max(count, dim))
    optimum = torch.eye(matrix.shape[-1], dtype=root.dtype, device=root.device)
    return (root - optimum / math.sqrt(dim)).square().sum((-2, -1))


def _root(matrix: Tensor, count: int) -> Tensor:
    """Return the square root of a symmetric matrix in a constant basis, its own eigenvectors at this point.

    The root T of B solves T^2 = B. Newton's method with the derivative at the root D, which is known, has its
    value from the start; each step T + L(B - T^2), where L(R) solves D X + X D = R, makes one more derivative
    exact. It has no differences of eigenvalues in a denominator, which eigenvectors have in their
    derivatives, and which are 0 near the optimum. Eigenvalues that are rounding count as 0, as in
    `geometry.spectrum`.
    """
    values, basis = torch.linalg.eigh(matrix.detach())
    rounding = count * torch.finfo(values.dtype).eps * values[..., -1:].abs()
    roots = values.masked_fill(values <= rounding, 0).sqrt()
    sums = roots.unsqueeze(-1) + roots.unsqueeze(-2)
    weights = (1 / sums.masked_fill(sums == 0, 1)).masked_fill(sums == 0, 0)
    rotated = basis.mT @ matrix @ basis
    root = torch.diag_embed(roots)
    for _ in range(ORDERS):
        root = root + weights * (rotated - root @ root)
    return root
