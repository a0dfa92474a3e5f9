"""The losses, each formula once.

For rows on the unit sphere, in two lines of torch, they equal

    align_loss(x, y)  =  (x - y).norm(dim=1).pow(alpha).mean()
    uniform_loss(x)   =  torch.pdist(x).pow(2).mul(-t).exp().mean().log()

and `contrastive_loss(x, y, tau)` is the cross-entropy that they take apart. The functions below add what the
two lines lack: O(N) memory, half the work, any t, any dtype, leading batch dimensions, higher derivatives,
and many processes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform import engine
from align_uniform._ids import check_some_pair, equal_pairs
from align_uniform._ranks import add_over_ranks_, gather, log_sum_over_ranks, sum_over_ranks
from align_uniform._unit_norm import is_wanted
from align_uniform.engine import log_potential
from align_uniform.engine.graphs import refuses_second_derivatives
from align_uniform.engine.plain import softplus
from align_uniform.engine.precision import widest

NO_PAIRS = "the mean over no pairs is not a number"


@refuses_second_derivatives
def align_loss(
    x: Tensor,
    y: Tensor | None = None,
    alpha: float = 2,
    *,
    normalize: bool | None = None,
    reduction: str = "mean",
    gather_distributed: bool = False,
) -> Tensor:
    r"""Return the alignment loss: how far apart the views of the same item are.

    .. math:: L_{align}(\alpha) = \frac{1}{N} \sum_{i=1}^{N} \lVert x_i - y_i \rVert_2^{\alpha}

    The loss lies in [0, 2^alpha] for unit rows; it is 0 where both views have the same features. Row i of x
    and row i of y are a pair.

    With several positives per item, pass all V views as x, [V, N, m], and leave y out: the value is the mean
    of the loss over the V (V - 1) / 2 pairs of views.

    Args:
        x: features of one view, [..., N, m], or of all views, [..., V, N, m]. Half precision is computed in
            float32.
        y: features of the other view, of the same shape; None if x holds all views.
        alpha: exponent of the distance, above 0.
        normalize: divide the rows by their norm first. By default the rows are taken as they are, with a
            warning, once, if they are far from unit norm; False takes them as they are without a word.
        reduction: "mean" over all pairs, or "none": a value for each item.
        gather_distributed: take the mean over the pairs of all processes, whose numbers may differ.
            Differentiable once, in eager mode; after DistributedDataParallel's averaging the gradient is the
            one-process gradient. The features are [N, m], or [V, N, m] without y.

    Returns:
        A scalar, or [..., N] with reduction="none"; float32 or float64. Where x_i equals y_i and alpha < 2,
        the gradient of the pair is 0, a subgradient.

    Raises:
        ValueError: a shape, dtype or number is not as above.

    Example:
        >>> import torch
        >>> from align_uniform import align_loss
        >>> align_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(1.)
        >>> align_loss(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]]))  # one item, three views
        tensor(1.3333)

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1.
    """
    checks.check_features("x", x)
    alpha = checks.check_positive("alpha", alpha)
    checks.check_choice("reduction", reduction, ("mean", "none"))
    if y is None:
        checks.check_views(x)
        (views,) = _prepare(is_wanted("align_loss", normalize, x=x), x)
        distances = _distances_of_views(views, alpha)
    else:
        checks.check_features("y", y)
        checks.check_same_shape(x, y)
        first, second = _prepare(is_wanted("align_loss", normalize, x=x, y=y), x, y)
        distances = _distances(first - second, alpha)
    if reduction == "none":
        if gather_distributed:
            raise ValueError(
                'gather_distributed=True averages over all processes; reduction="none" has nothing to gather.'
            )
        return distances
    if gather_distributed:
        checks.check_gatherable(x, "[V, N, m]" if y is None else "[N, m]")
        sums = torch.stack([distances.sum(), distances.new_full((), len(distances))])
        total, count = sum_over_ranks(sums).unbind()
        checks.check_row_count(int(count), 1, NO_PAIRS)
        return total / count.detach()
    checks.check_row_count(distances.numel(), 1, NO_PAIRS)
    return distances.mean()


@refuses_second_derivatives
def uniform_loss(
    x: Tensor,
    t: float = 2,
    *,
    negatives: Tensor | None = None,
    intra_batch: bool = True,
    ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    normalize: bool | None = None,
    gather_distributed: bool = False,
) -> Tensor:
    r"""Return the uniformity loss: how far the features are from the uniform distribution on the sphere.

    .. math:: L_{uniform}(t) = \log \frac{2}{N (N-1)} \sum_{i<j} e^{-t \lVert x_i - x_j \rVert_2^2}

    The loss is at most 0, for features that are all the same. For unit rows in m dimensions the uniform
    distribution reaches `uniform_optimum(m, t)`; a finite sample may lie a little below. The mean is over
    distinct pairs, as in the original; the mean over all N^2 pairs, self-pairs included, is `((N - 1) *
    L.exp() + 1).div(N).log()`.

    Two views are two losses, `(uniform_loss(x) + uniform_loss(y)) / 2`. Never concatenate them: the positive
    pairs would count as negatives.

    Args:
        x: features, [..., N, m], N >= 2. Half precision is computed in float32.
        t: inverse squared width of the Gaussian, above 0. The paper uses 2 and 3.
        negatives: a second population, [..., M, m]: a queue of keys, or the other tower. All N M cross pairs
            are counted, in one mean with the pairs within x (the MoCo form, paper appendix B.2).
        intra_batch: count the pairs within x too. If False, only the cross pairs count.
        ids: the item of each row, [N] (or [..., N]) integers. Pairs of rows with the same id are left out,
            and the mean is over those that remain: for an item twice in a batch, for classes, for several
            views of an item, and for padding, to which one id is given.
        negative_ids: with `ids`, the items of the negatives, [M] (or [..., M]). Without it, every negative is
            another item.
        normalize: divide the rows by their norm first. By default the rows are taken as they are, with a
            warning, once, if they are far from unit norm; False takes them as they are without a word.
        gather_distributed: compute the value of the rows of all processes together, whose numbers may differ.
            `negatives` are taken to be the same on every process; if they are not, pass
            `gather_rows(negatives)`. A process evaluates the pairs of its own rows. Differentiable once, in
            eager mode; the gradient of this process's rows is W times their share, so that
            DistributedDataParallel's averaging leaves the one-process gradient. The features are [N, m].

    Returns:
        [...], a scalar for one set of rows; float32 or float64. NaN if `ids` leave no pair and this cannot be
        known without waiting for a device.

    Raises:
        ValueError: a shape, dtype or number is not as above, or `ids` leave no pair.

    Example:
        >>> import torch
        >>> from align_uniform import uniform_loss
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
        >>> uniform_loss(x[:2], t=2)  # one pair, at distance 2
        tensor(-8.)
        >>> uniform_loss(x, t=2, ids=torch.tensor([3, 7, 7]))  # the last two are one item
        tensor(-8.)

    Note:
        Float32 rows far from their common centre, at distances R with t R^2 beyond about 840, are computed in
        float64 on the CPU. On other devices, where reading R would mean waiting, exponents are only kept from
        exceeding 0: pass float64 rows there.

        On CUDA, `torch.set_float32_matmul_precision("high")` lets TF32 into the matrix products of the tile
        loop: three digits instead of six.

        To overwrite a queue or its ids before `backward`, pass `queue.clone()` and `queue_ids.clone()`.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2.
    """
    checks.check_features("x", x)
    t = checks.check_positive("t", t)
    if negatives is None and not intra_batch:
        raise ValueError(
            "intra_batch=False leaves no pairs without negatives; pass negatives, or intra_batch=True."
        )
    negatives, ids, negative_ids = _check_negatives(x, negatives, ids, negative_ids, alone=not intra_batch)
    normalize = is_wanted("uniform_loss", normalize, x=x, negatives=negatives)
    if normalize or gather_distributed or not engine.keeps_halves(x, negatives):
        x, negatives = _prepare(normalize, x, negatives)
    everyone, everyones_ids, start = x, ids, 0
    if gather_distributed:
        checks.check_gatherable(x)
        everyone, start = gather(x)
        everyones_ids = None if ids is None else gather(ids).rows
    n = everyone.shape[-2]
    if negatives is None or n == 0:
        checks.check_row_count(n, 2, "a single row has no pair; give a larger batch, or negatives")

    within = n * (n - 1) // 2 if intra_batch else 0
    across = 0 if negatives is None else n * negatives.shape[-2]
    pairs = within + across
    terms = []
    if intra_batch and n > 1 and everyone is x:
        terms.append(log_potential(x, t, pairs, ids=ids))
    elif intra_batch and n > 1:
        # Every process counts its rows against all: the sum over processes has each pair from either end.
        share = log_potential(x, t, 2 * pairs, y=everyone.detach(), skip=start, ids=ids, y_ids=everyones_ids)
        terms.append(log_sum_over_ranks(share, 2))
    if negatives is not None:
        cross_ids = ids if negative_ids is not None else None
        share = log_potential(x, t, pairs, y=negatives, ids=cross_ids, y_ids=negative_ids)
        terms.append(log_sum_over_ranks(share) if gather_distributed else share)
    if everyones_ids is None:
        return terms[0] if len(terms) == 1 else torch.logaddexp(*terms)
    loss = terms[0] if len(terms) == 1 else _log_of_both(*terms)
    left = _pairs_left(everyones_ids, negative_ids, within, across)
    check_some_pair(left)
    return loss - (left.to(loss.dtype) / pairs).log()


@refuses_second_derivatives
def contrastive_loss(
    x: Tensor,
    y: Tensor,
    tau: float | Tensor,
    *,
    negatives: Tensor | None = None,
    ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    normalize: bool | None = None,
    gather_distributed: bool = False,
) -> Tensor:
    r"""Return the contrastive loss: the cross-entropy of the positive among its negatives.

    In batch, the negatives of a row are the other rows of the other view, and both directions are averaged:

    .. math:: L = \frac{1}{2N} \sum_{i=1}^{N} \left[ \log \sum_j e^{x_i^T y_j / \tau}
              + \log \sum_j e^{y_i^T x_j / \tau} - \frac{2}{\tau} x_i^T y_i \right]

    With `negatives` z, K of them (a queue, as in MoCo), the positive of a row of x is told from these alone:

    .. math:: L = \frac{1}{N} \sum_{i=1}^{N} \left[ \log \left( e^{x_i^T y_i / \tau}
              + \sum_j e^{x_i^T z_j / \tau} \right) - \frac{1}{\tau} x_i^T y_i \right]

    Less log K, it tends to an alignment and a uniformity term as K grows (theorem 1), where t is 1 / (2 tau).

    Args:
        x: features of one view, [..., N, m], usually of unit norm. Half precision is computed in float32.
        y: features of the other view, of the same shape.
        tau: temperature, above 0; or a 0-d tensor on the device of x, which may be learned.
        negatives: [..., K, m]; None takes them from the batch.
        ids: the item of each row, [N] (or [..., N]) integers. Rows with the same id are no negatives of each
            other; the positive of a row always counts. A row that has no negative left contributes 0.
        negative_ids: the items of the negatives, [K] (or [..., K]); `ids` and `negative_ids` are given
            together.
        normalize: divide the rows by their norm first. By default the rows are taken as they are, with a
            warning, once, if they are far from unit norm; False takes them as they are without a word.
        gather_distributed: compute the value of the pairs of all processes together, whose numbers may
            differ; in batch, every process sees the rows of all as negatives, while `negatives` are taken to
            be the same on every process. Differentiable once, in eager mode; after DistributedDataParallel's
            averaging the gradient is the one-process gradient. The features are [N, m].

    Returns:
        [...], a scalar for one batch of pairs; float32 or float64.

    Raises:
        ValueError: a shape, dtype or number is not as above.

    Example:
        >>> import torch
        >>> from align_uniform import contrastive_loss
        >>> contrastive_loss(torch.eye(2), torch.eye(2), tau=0.5)  # log(e^2 + 1) - 2
        tensor(0.1269)

    Note:
        To overwrite a queue or its ids before `backward`, pass `queue.clone()` and `queue_ids.clone()`.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 2 and theorem 1; He et al., CVPR 2020, 1911.05722
        (the queue).
    """
    checks.check_features("x", x)
    checks.check_features("y", y)
    checks.check_same_shape(x, y)
    checks.check_temperature(tau)
    negatives, ids, negative_ids = _check_negatives(
        x, negatives, ids, negative_ids, alone=negatives is not None
    )
    normalize = is_wanted("contrastive_loss", normalize, x=x, y=y, negatives=negatives)
    if normalize or gather_distributed or not engine.keeps_halves(x, y, negatives):
        x, y, negatives = _prepare(normalize, x, y, negatives)
    scale = 1 / tau
    if negatives is None and gather_distributed:
        checks.check_gatherable(x)
        return _contrastive_of_all(x, y, scale, ids)
    count = x.shape[-2]
    if gather_distributed:
        checks.check_gatherable(x)
        count = int(add_over_ranks_(torch.tensor(count, device=x.device)))
    checks.check_row_count(count, 1, NO_PAIRS)
    if negatives is None:
        return _contrastive_in_batch(x, y, scale, ids)
    positives = _products(x, y) * scale
    against = engine.log_sum_exp(x, negatives, scale, ids=ids, y_ids=negative_ids)
    losses = softplus(against - positives) + _not_finite(positives, negatives)
    return sum_over_ranks(losses.sum()) / count if gather_distributed else losses.mean(-1)


def _contrastive_in_batch(x: Tensor, y: Tensor, scale: float | Tensor, ids: Tensor | None) -> Tensor:
    """Return the contrastive loss of one process without negatives, [...]: the mean over both directions."""
    of_few = engine.contrastive_of_few(x, y, scale, ids=ids)
    if of_few is not None:
        return of_few
    odds = engine.log_odds(x, y, scale, ids=ids)
    only_if_infinite = ids is None and x.shape[-2] > 1  # odds of -inf
    not_finite = 0 * odds.detach() if only_if_infinite else _not_finite(_products(x, y)).unsqueeze(-2)
    return (softplus(odds) + not_finite).mean((-2, -1))


def _contrastive_of_all(x: Tensor, y: Tensor, scale: float | Tensor, ids: Tensor | None) -> Tensor:
    """Return the contrastive loss of the pairs of all processes.

    A process has the logits of its own rows of x with all rows of y: the sums of its rows, and its share of
    the sums of all columns, whose losses every process computes.
    """
    everyones_y, start = gather(y)
    count = everyones_y.shape[-2]
    checks.check_row_count(count, 1, NO_PAIRS)
    everyones_ids = None if ids is None else gather(ids).rows
    positives = _products(x, y) * scale
    of_rows, shares = engine.log_sums(x, everyones_y, scale, skip=start, ids=ids, y_ids=everyones_ids)
    losses = softplus(of_rows - positives) + _not_finite(positives)
    everyones_positives = gather(positives.unsqueeze(-1)).rows.squeeze(-1)
    everyones_losses = softplus(log_sum_over_ranks(shares) - everyones_positives)
    return (sum_over_ranks(losses.sum()) + everyones_losses.sum()) / (2 * count)


def _products(x: Tensor, y: Tensor) -> Tensor:
    """Return x_i . y_i, in float32 or wider."""
    dtype = widest(x, y)
    return (x.to(dtype) * y.to(dtype)).sum(-1)


def _not_finite(positives: Tensor, negatives: Tensor | None = None) -> Tensor:
    """Return NaN where a number is not finite that would pass for an easy pair, else 0.

    Infinite positives and logits of -inf would.
    """
    zero = 0 * positives.detach()
    return (
        zero
        if negatives is None
        else zero + 0 * negatives.detach().sum((-2, -1), dtype=zero.dtype).unsqueeze(-1)
    )


def _distances(differences: Tensor, alpha: float) -> Tensor:
    """Return `||difference||^alpha` of every row."""
    squared = differences.square().sum(-1)
    return squared if alpha == 2 else _power(squared, alpha / 2)


def _distances_of_views(views: Tensor, alpha: float) -> Tensor:
    """Return the mean of `||difference||^alpha` over all pairs of views, [..., N] from [..., V, N, m]."""
    count = views.shape[-3]
    if alpha == 2:  # in closed form, from the mean of the views
        deviations = views - views.mean(-3, keepdim=True)
        return _distances(deviations, alpha).sum(-2) * (2 / (count - 1))
    sums = [
        _distances(views[..., first + 1 :, :, :] - views[..., first : first + 1, :, :], alpha).sum(-2)
        for first in range(count - 1)
    ]
    total: Tensor = torch.stack(sums).sum(0)
    return total / (count * (count - 1) / 2)


def _log_of_both(a: Tensor, b: Tensor) -> Tensor:
    """Return `log(exp(a) + exp(b))`.

    One of them may be -inf, the log of nothing, and has then derivatives of 0 to any order.
    """
    negligible = 80  # less by so much, a number adds nothing to the other, and its exp is still one
    filled_a = torch.where(a == -torch.inf, b.detach() - negligible, a)
    return torch.logaddexp(filled_a, torch.where(b == -torch.inf, a.detach() - negligible, b))


def _pairs_left(ids: Tensor, negative_ids: Tensor | None, within: int, across: int) -> Tensor:
    """Return the number of pairs of different ids, [...], among those within the batch and across."""
    left = ids.new_full(ids.shape[:-1], within + across)
    if within:
        # Each pair is counted from both ends, each row once.
        left = left - (equal_pairs(ids, ids) - ids.shape[-1]) // 2
    if negative_ids is not None:
        left = left - equal_pairs(ids, negative_ids)
    return left


def _check_negatives(
    x: Tensor, negatives: Tensor | None, ids: Tensor | None, negative_ids: Tensor | None, *, alone: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return negatives and ids with the leading dimensions of x, ids as int64.

    With `alone`, no pairs within x are counted.
    """
    if negatives is not None:
        checks.check_negatives(x, negatives)
        negatives = negatives.expand(*x.shape[:-2], *negatives.shape[-2:])
    if negative_ids is not None:
        if ids is None or negatives is None:
            raise ValueError(
                "negative_ids say which negatives are items of the batch; pass ids and negatives too."
            )
        negative_ids = checks.check_ids("negative_ids", negative_ids, "negatives", negatives)
    if ids is not None:
        if negative_ids is None and alone:
            raise ValueError(
                "ids have no effect on negatives without ids; pass negative_ids, or leave ids out."
            )
        ids = checks.check_ids("ids", ids, "x", x)
    return negatives, ids, negative_ids


def _power(squared: Tensor, exponent: float) -> Tensor:
    """Return `squared ** exponent`, with derivative 0 where the square is 0 and torch's is not finite."""
    is_zero = squared == 0
    return squared.masked_fill(is_zero, 1).pow(exponent).masked_fill(is_zero, 0)


def _prepare(normalize: bool, x: Tensor, *others: Tensor | None) -> list[Any]:
    """Bring all rows to one dtype, float32 or wider, and normalise them if asked. None stays None."""
    dtype = widest(x, *others)
    rows = [z if z is None or z.dtype == dtype else z.to(dtype) for z in (x, *others)]
    return [z if z is None else normalize_rows(z) for z in rows] if normalize else rows


def normalize_rows(z: Tensor) -> Tensor:
    """Divide rows by their norm; a zero row stays zero, with a finite gradient."""
    largest = z.detach().abs().amax(-1, keepdim=True)
    z = z / largest.masked_fill(largest == 0, 1)  # so that no square overflows, and none vanishes
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    unit: Tensor = z / norm.masked_fill(norm == 0, 1)
    return unit
