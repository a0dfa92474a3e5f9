"""The losses, each formula once. For rows on the unit sphere, in two lines of torch, they equal

    align_loss(x, y)  =  (x - y).norm(dim=1).pow(alpha).mean()
    uniform_loss(x)   =  torch.pdist(x).pow(2).mul(-t).exp().mean().log()

and `contrastive_loss(x, y, tau)` the cross-entropy that they take apart. What the functions below add is what the two lines
lack: O(N) memory, half the work, any t, any dtype, leading batch dimensions, higher derivatives, and many processes.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._pairs import log_potential, log_sum_exp
from align_uniform._ranks import gather, log_sum_over_ranks, sum_over_ranks


def align_loss(
    x: Tensor,
    y: Tensor,
    alpha: float = 2,
    *,
    normalize: bool = False,
    reduction: str = "mean",
    gather_distributed: bool = False,
) -> Tensor:
    r"""How far apart the two views of a positive pair are.

    .. math:: L_{align}(\alpha) = \frac{1}{N} \sum_{i=1}^{N} \lVert x_i - y_i \rVert_2^{\alpha}

    Lies in [0, 2^alpha] for unit rows; 0 where both views have the same features. Row i of x and row i of y are a pair.

    Args:
        x: features of one view, [..., N, m]. Half precision is computed in float32.
        y: features of the other view, of the same shape.
        alpha: exponent of the distance, above 0.
        normalize: divide the rows by their norm first. Off by default: the value is that of the rows as they are.
        reduction: "mean" over all pairs, or "none".
        gather_distributed: the mean over the pairs of all processes, whose numbers may differ. Differentiable once, in eager
            mode; after DistributedDataParallel's averaging the gradient is the one-process gradient. The features are [N, m].

    Returns:
        A scalar, or [..., N] with reduction="none"; float32 or float64. Where x_i equals y_i and alpha < 2, the gradient of
        the pair is 0, a subgradient.

    Raises:
        ValueError: a shape, dtype or number is not as above.

    Example:
        >>> import torch
        >>> from align_uniform import align_loss
        >>> align_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(1.)

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1.
    """
    checks.check_features("x", x)
    checks.check_features("y", y)
    checks.check_same_shape(x, y)
    alpha = checks.check_positive("alpha", alpha)
    checks.check_choice("reduction", reduction, ("mean", "none"))
    x, y = _prepare(normalize, x, y)

    squared = (x - y).square().sum(-1)
    distances = squared if alpha == 2 else _power(squared, alpha / 2)
    if reduction == "none":
        if gather_distributed:
            raise ValueError('gather_distributed=True averages over all processes; reduction="none" has nothing to gather.')
        return distances
    if gather_distributed:
        checks.check_gatherable(x)
        total, count = sum_over_ranks(torch.stack([distances.sum(), distances.new_tensor(len(x))])).unbind()
        checks.check_row_count(int(count), 1, "the mean over no pairs is not a number")
        return total / count.detach()
    checks.check_row_count(distances.numel(), 1, "the mean over no pairs is not a number")
    return distances.mean()


def uniform_loss(
    x: Tensor,
    t: float = 2,
    *,
    negatives: Tensor | None = None,
    intra_batch: bool = True,
    normalize: bool = False,
    gather_distributed: bool = False,
) -> Tensor:
    r"""How far the features are from the uniform distribution on the sphere.

    .. math:: L_{uniform}(t) = \log \frac{2}{N (N-1)} \sum_{i<j} e^{-t \lVert x_i - x_j \rVert_2^2}

    At most 0, for features that are all the same. For unit rows in m dimensions the uniform distribution reaches
    `uniform_optimum(m, t)`; a finite sample may lie a little below. The mean is over distinct pairs, as in the original; the
    mean over all N^2 pairs, self-pairs included, is `((N - 1) * L.exp() + 1).div(N).log()`.

    Two views are two losses, `(uniform_loss(x) + uniform_loss(y)) / 2`. Never concatenate them: the positive pairs would count
    as negatives.

    Args:
        x: features, [..., N, m], N >= 2. Half precision is computed in float32.
        t: inverse squared width of the Gaussian, above 0. 2 and 3 are the paper's.
        negatives: a second population, [..., M, m]: a queue of keys, or the other tower. All N M cross pairs are counted, in
            one mean with the pairs within x (the MoCo form, paper appendix B.2).
        intra_batch: count the pairs within x too. False leaves the cross pairs alone.
        normalize: divide the rows by their norm first. Off by default: the value is that of the rows as they are.
        gather_distributed: the value of the rows of all processes together, whose numbers may differ. `negatives` are taken to
            be the same on every process; if they are not, pass `gather_rows(negatives)`. A process evaluates the pairs of its
            own rows. Differentiable once, in eager mode; the gradient of this process's rows is W times their share, so that
            DistributedDataParallel's averaging leaves the one-process gradient. The features are [N, m].

    Returns:
        [...], a scalar for one set of rows; float32 or float64.

    Raises:
        ValueError: a shape, dtype or number is not as above.

    Example:
        >>> import torch
        >>> from align_uniform import uniform_loss
        >>> uniform_loss(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), t=2)  # one pair, at distance 2
        tensor(-8.)

    Note:
        On CUDA, `torch.set_float32_matmul_precision("high")` lets TF32 into the matrix products: three digits instead of six.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2.
    """
    checks.check_features("x", x)
    t = checks.check_positive("t", t)
    if negatives is not None:
        checks.check_negatives(x, negatives)
        x, negatives = _prepare(normalize, x, negatives.expand(*x.shape[:-2], *negatives.shape[-2:]))
    elif intra_batch:
        (x,) = _prepare(normalize, x)
    else:
        raise ValueError("intra_batch=False leaves no pairs without negatives; pass negatives, or intra_batch=True.")
    everyone, start = x, 0
    if gather_distributed:
        checks.check_gatherable(x)
        everyone, start = gather(x)

    n = everyone.shape[-2]
    within = n * (n - 1) // 2 if intra_batch else 0
    across = 0 if negatives is None else n * negatives.shape[-2]
    if not within + across:
        checks.check_row_count(n, 2, "a single row has no pair; give a larger batch, or negatives")
    terms = []
    if within and everyone is x:
        terms.append(log_potential(x, t, within + across))
    elif within:
        # Every process counts its rows against all, so the sum over processes holds each pair twice: once from either end.
        share = log_potential(x, t, 2 * (within + across), y=everyone.detach(), skip=start)
        terms.append(log_sum_over_ranks(share, 2))
    if negatives is not None:
        share = log_potential(x, t, within + across, y=negatives)
        terms.append(log_sum_over_ranks(share) if gather_distributed else share)
    return terms[0] if len(terms) == 1 else torch.logaddexp(*terms)


def contrastive_loss(
    x: Tensor,
    y: Tensor,
    tau: float | Tensor,
    *,
    negatives: Tensor | None = None,
    normalize: bool = False,
    gather_distributed: bool = False,
) -> Tensor:
    r"""The contrastive loss: cross-entropy of the positive among its negatives.

    In batch, the negatives of a row are the other rows of the other view, and both directions are averaged:

    .. math:: L = \frac{1}{2N} \sum_{i=1}^{N} \left[ \log \sum_j e^{x_i^T y_j / \tau} + \log \sum_j e^{y_i^T x_j / \tau}
              - \frac{2}{\tau} x_i^T y_i \right]

    With `negatives` z, K of them (a queue, as in MoCo), a row of x is told from these alone:

    .. math:: L = \frac{1}{N} \sum_{i=1}^{N} \left[ \log \left( e^{x_i^T y_i / \tau} + \sum_j e^{x_i^T z_j / \tau} \right)
              - \frac{1}{\tau} x_i^T y_i \right]

    Less log K, it tends to an alignment and a uniformity term as K grows (theorem 1), where t is 1 / (2 tau).

    Args:
        x: features of one view, [..., N, m], of unit norm as a rule. Half precision is computed in float32.
        y: features of the other view, of the same shape.
        tau: temperature, above 0; or a 0-d tensor, which may be learned.
        negatives: [..., K, m]; None takes them from the batch.
        normalize: divide the rows by their norm first. Off by default: the value is that of the rows as they are.
        gather_distributed: the value of the pairs of all processes together, whose numbers may differ; in batch, every process
            sees the rows of all as negatives, while `negatives` are taken to be the same on every process. Differentiable
            once, in eager mode; after DistributedDataParallel's averaging the gradient is the one-process gradient. The
            features are [N, m].

    Returns:
        [...], a scalar for one batch of pairs; float32 or float64.

    Raises:
        ValueError: a shape, dtype or number is not as above.

    Example:
        >>> import torch
        >>> from align_uniform import contrastive_loss
        >>> contrastive_loss(torch.eye(2), torch.eye(2), tau=0.5)  # log(e^2 + 1) - 2
        tensor(0.1269)

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 2 and theorem 1; He et al., CVPR 2020, 1911.05722 (the queue).
    """
    checks.check_features("x", x)
    checks.check_features("y", y)
    checks.check_same_shape(x, y)
    checks.check_temperature(tau)
    if negatives is None:
        x, y = _prepare(normalize, x, y)
    else:
        checks.check_negatives(x, negatives)
        x, y, negatives = _prepare(normalize, x, y, negatives.expand(*x.shape[:-2], *negatives.shape[-2:]))
    everyones_x, everyones_y = x, y
    if gather_distributed:
        checks.check_gatherable(x)
        everyones_x, everyones_y = gather(x).rows, gather(y).rows

    checks.check_row_count(everyones_x.shape[-2], 1, "the mean over no pairs is not a number")

    positives = (x * y).sum(-1) / tau
    if negatives is not None:
        (against_negatives,) = log_sum_exp(x / tau, negatives, columns=False)
        not_finite = 0 * negatives.detach().sum((-2, -1))  # NaN then: a logit of -inf would go unnoticed in the sum
        losses = torch.logaddexp(positives, against_negatives) - positives + not_finite.unsqueeze(-1)
    elif gather_distributed:
        (x_to_y,) = log_sum_exp(x / tau, everyones_y, columns=False)
        (y_to_x,) = log_sum_exp(y / tau, everyones_x, columns=False)
        losses = (x_to_y + y_to_x) / 2 - positives
    else:
        x_to_y, y_to_x = log_sum_exp(x / tau, y, columns=True)
        losses = (x_to_y + y_to_x) / 2 - positives
    if gather_distributed:
        return sum_over_ranks(losses.sum()) / everyones_x.shape[-2]
    return losses.mean(-1)


def _power(squared: Tensor, exponent: float) -> Tensor:
    """`squared ** exponent`, with derivative 0 where the square is 0 (torch's is NaN or infinite there)."""
    is_zero = squared == 0
    return squared.masked_fill(is_zero, 1).pow(exponent).masked_fill(is_zero, 0)


def _prepare(normalize: bool, *tensors: Tensor) -> list[Tensor]:
    """One dtype for all, float32 or wider; then rows are normalised if asked."""
    dtype = functools.reduce(torch.promote_types, (z.dtype for z in tensors), torch.float32)
    return [_normalize(z.to(dtype)) if normalize else z.to(dtype) for z in tensors]


def _normalize(z: Tensor) -> Tensor:
    """Rows over their norm; a zero row stays zero, with a finite gradient."""
    largest = z.detach().abs().amax(-1, keepdim=True)
    z = z / largest.masked_fill(largest == 0, 1)  # so that no square overflows, and none vanishes
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    unit: Tensor = z / norm.masked_fill(norm == 0, 1)
    return unit
