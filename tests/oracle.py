"""The definitions in float64 numpy, by explicit differences, a row at a time; nothing of ours is imported.

A log of a sum of exponentials is taken with the largest exponent outside, so that no exponent is too small
for it.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


def log_sum_exp(exponents: Array) -> float:
    largest = exponents.max()
    return float(largest + np.log(np.exp(exponents - largest).sum()))


def align(x: Array, y: Array, alpha: float = 2) -> float:
    return float(np.mean([np.sqrt(((u - v) ** 2).sum()) ** alpha for u, v in zip(x, y, strict=True)]))


def align_views(views: Array, alpha: float = 2) -> float:
    """Return the mean over all pairs of views."""
    count = len(views)
    return float(
        np.mean([align(views[v], views[w], alpha) for v in range(count) for w in range(v + 1, count)])
    )


def exponents_within(x: Array, t: float, ids: Any = None) -> Array:
    """Return -t ||x_i - x_j||^2 for the pairs i < j, of different ids if there are any."""
    ids = np.arange(len(x)) if ids is None else np.asarray(ids)
    return np.concatenate(
        [-t * ((x[i + 1 :] - x[i]) ** 2).sum(1)[ids[i + 1 :] != ids[i]] for i in range(len(x))]
    )


def exponents_across(x: Array, z: Array, t: float, ids: Any = None, z_ids: Any = None) -> Array:
    """Return -t ||x_i - z_j||^2 for all i, j, of different ids if there are any."""
    return np.concatenate([-t * ((z - u) ** 2).sum(1)[_others(z, i, ids, z_ids)] for i, u in enumerate(x)])


def _others(z: Array, i: int, ids: Any, z_ids: Any) -> Any:
    """Return which rows of z are not rows of the item of row i."""
    return np.full(len(z), True) if z_ids is None else np.asarray(z_ids) != np.asarray(ids)[i]


def uniform(
    x: Array,
    t: float = 2,
    *,
    negatives: Array | None = None,
    intra_batch: bool = True,
    ids: Any = None,
    negative_ids: Any = None,
) -> float:
    exponents = exponents_within(x, t, ids) if intra_batch else np.empty(0)
    if negatives is not None:
        exponents = np.concatenate([exponents, exponents_across(x, negatives, t, ids, negative_ids)])
    return log_sum_exp(exponents) - float(np.log(len(exponents)))


def uniform_gradient(
    x: Array,
    t: float = 2,
    *,
    negatives: Array | None = None,
    intra_batch: bool = True,
    ids: Any = None,
    negative_ids: Any = None,
) -> tuple[Array, Array | None]:
    """Return the gradients with respect to x and to the negatives.

    Every pair pulls its two ends by its share of the potential.
    """
    exponents = [exponents_within(x, t, ids)] if intra_batch else []
    if negatives is not None:
        exponents.append(exponents_across(x, negatives, t, ids, negative_ids))
    log_total = log_sum_exp(np.concatenate(exponents))
    grad_x = np.zeros_like(x)
    grad_negatives = None if negatives is None else np.zeros_like(negatives)
    for i, u in enumerate(x):
        if intra_batch:  # a pair of itself has difference 0, and pulls nowhere
            differences = u - x
            shares = np.exp(-t * (differences**2).sum(1) - log_total) * _others(x, i, ids, ids)
            grad_x[i] -= 2 * t * (shares[:, None] * differences).sum(0)
        if negatives is not None and grad_negatives is not None:
            differences = u - negatives
            shares = np.exp(-t * (differences**2).sum(1) - log_total) * _others(
                negatives, i, ids, negative_ids
            )
            pulls = 2 * t * shares[:, None] * differences
            grad_x[i] -= pulls.sum(0)
            grad_negatives += pulls
    return grad_x, grad_negatives


def potential_sums(x: Array, t: float, y: Array | None = None, skip: int | None = None) -> Array:
    """Return each row's sum of potentials with the others, or with all of y except row `skip + i`."""
    if y is None:
        y, skip = x, 0
    sums = []
    for i, u in enumerate(x):
        others = y if skip is None else np.delete(y, skip + i, axis=0)
        sums.append(np.exp(-t * ((others - u) ** 2).sum(1)).sum())
    return np.array(sums)


def contrastive(
    x: Array,
    y: Array,
    tau: float,
    *,
    negatives: Array | None = None,
    ids: Any = None,
    negative_ids: Any = None,
) -> float:
    if negatives is not None:
        sides, z_ids = [(x, y, negatives)], negative_ids
    else:
        sides, z_ids = [(x, y, y), (y, x, x)], np.arange(len(x)) if ids is None else ids
        ids = z_ids  # in batch a row is no negative of itself
    losses = []
    for anchors, partners, others in sides:
        for i, (u, v) in enumerate(zip(anchors, partners, strict=True)):
            logits = np.concatenate([[u @ v], others[_others(others, i, ids, z_ids)] @ u]) / tau
            losses.append(log_sum_exp(logits) - logits[0])
    return float(np.mean(losses))


def numbers(z: Any) -> Array:
    """Return a tensor of any dtype as float64."""
    return np.asarray(z.detach().cpu().double().numpy(), dtype=np.float64)


def squared_mmd(x: Array, y: Array, t: float = 2, *, paired: bool = False) -> float:
    """Return the unbiased squared MMD, without the pairs (x_i, y_i) if the rows are paired."""
    ids = np.arange(len(x)) if paired else None
    exponents = exponents_within(x, t), exponents_within(y, t), exponents_across(x, y, t, ids, ids)
    of_x, of_y, across = (float(np.exp(each).mean()) for each in exponents)
    return of_x + of_y - 2 * across


def permutation_p(x: Array, y: Array, t: float = 2, *, paired: bool = False) -> float:
    """Return the share of all exchanges of rows whose squared MMD is at least that of the given sides."""
    n, rows = len(x), np.concatenate([x, y])
    if paired:
        orders = [
            [i + n * swap for i, swap in enumerate(swaps)] for swaps in itertools.product((0, 1), repeat=n)
        ]
    else:
        orders = [list(chosen) for chosen in itertools.combinations(range(len(rows)), n)]
    values = []
    for chosen in orders:
        others = [i % n + n * (i < n) for i in chosen] if paired else sorted({*range(len(rows))} - {*chosen})
        values.append(squared_mmd(rows[chosen], rows[others], t, paired=paired))
    return float(np.mean(np.array(values) >= squared_mmd(x, y, t, paired=paired) - 1e-12))


def w2(x: Array) -> float:
    """Return the distance of the moments of rows to those of the uniform law, by singular values."""
    roots = np.linalg.svd((x - x.mean(0)) / np.sqrt(len(x)), compute_uv=False)
    roots = np.concatenate([roots, np.zeros(x.shape[1] - len(roots))])
    return float(np.sqrt((x.mean(0) ** 2).sum() + ((roots - 1 / np.sqrt(x.shape[1])) ** 2).sum()))
