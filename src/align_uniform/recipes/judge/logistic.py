"""Logistic regression on features in memory: the best linear classifier, without epochs or rates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align_uniform._checks import check_positive
from align_uniform._messages import counted
from align_uniform.geometry.rows import widest
from align_uniform.recipes.judge.scores import Scores, check_labels, class_names, score

SCORED_ROWS = 4096
"""The number of rows that are classified at a time."""


def fit_linear(
    features: Tensor,
    labels: Tensor,
    classes: int | None = None,
    *,
    l2: float = 1e-3,
    standardize: bool = True,
    iterations: int = 1000,
    tolerance: float = 1e-6,
) -> nn.Linear:
    r"""Return the multinomial logistic regression on the features.

    It minimises, with L-BFGS in float64,

    .. math:: \frac{1}{N} \sum_i CE(W z_i + b, c_i) + \frac{\lambda}{2} \lVert W \rVert^2,

    which is convex: there are no epochs and no learning rate to choose. It is scikit-learn's
    `LogisticRegression(C=1 / (l2 N))`.

    Args:
        features: [N, m].
        labels: [N] integers from 0.
        classes: number of classes. By default one more than the largest label.
        l2: the weight lambda, above 0.
        standardize: whether z are the features minus their mean, divided by their standard deviation, so that
            lambda does not depend on their scale. The returned classifier takes the features themselves.
        iterations: largest number of L-BFGS steps.
        tolerance: the minimum is reached if no part of the gradient is larger.

    Returns:
        A linear layer from m features to classes, in the dtype of the features (float32 for half precision).

    Raises:
        ValueError: features are not finite, or labels do not fit.

    Warns:
        RuntimeWarning: the minimum was not reached.
    """
    classes = _check_fit(features, labels, classes)
    check_positive("l2", l2)
    dtype = features.dtype if features.dtype == torch.float64 else torch.float32
    z = widest(features)
    mean, deviation = z.mean(0), z.std(0, correction=0)
    deviation = deviation.masked_fill(
        deviation <= torch.finfo(dtype).eps * z.abs().amax(0), 1
    )  # the same in every row
    if standardize:
        z = (z - mean) / deviation
    weight, bias = _minimum(z, labels.to(z.device).long(), classes, l2, iterations, tolerance)
    if standardize:
        weight = weight / deviation
        bias = bias - weight @ mean
    return linear_layer(weight.to(dtype), bias.to(dtype))


def linear_scores(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    classes: int | Sequence[str] | None = None,
    l2: float = 1e-3,
) -> Scores:
    """Fit a classifier to the training rows by `fit_linear`, and return its scores on the test rows.

    Args:
        train_features: [N, m], the same rows on every process.
        train_labels: [N] integers from 0.
        test_features: [M, m], this process's own rows; add up the scores by `scores.over_ranks`. M may be 0.
        test_labels: [M] integers from 0.
        classes: names or number of classes, the same on every process. By default one more than the largest
            label.
        l2: the weight lambda of `fit_linear`.
    """
    names = class_names(classes, train_labels, test_labels)
    return scored(
        fit_linear(train_features, train_labels, len(names), l2=l2), test_features, test_labels, names
    )


def linear_predict(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, *, l2: float = 1e-3
) -> Tensor:
    """Fit a classifier to the training rows by `fit_linear`, and return the classes of the test rows, [M]."""
    classifier = fit_linear(train_features, train_labels, l2=l2)
    return F.linear(test_features, classifier.weight, classifier.bias).argmax(1).detach()


def _minimum(
    z: Tensor, labels: Tensor, classes: int, l2: float, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    weight = z.new_zeros(classes, z.shape[1], requires_grad=True)
    bias = z.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        max_eval=2 * iterations,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=0,  # only a small gradient is a minimum
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        loss: Tensor = F.cross_entropy(F.linear(z, weight, bias), labels) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss.item()

    with torch.enable_grad():
        optimizer.step(closure)
        closure()  # the gradient of where it ended
    steepest = max(float(part.grad.abs().max()) for part in (weight, bias) if part.grad is not None)
    if not steepest <= tolerance:
        warnings.warn(
            f"the logistic regression did not reach its minimum: its gradient is {steepest:.1e} after "
            f"{counted(iterations, 'iteration')}, to be {tolerance:.0e}; raise iterations or l2, or "
            "standardize the features.",
            RuntimeWarning,
            stacklevel=3,
        )
    return weight.detach(), bias.detach()


def _check_fit(features: Tensor, labels: Tensor, classes: int | None) -> int:
    if features.dim() != 2 or not len(features) or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features must be [N, m] and labels [N], N at least 1, got {list(features.shape)} and "
            f"{list(labels.shape)}."
        )
    if not bool(features.isfinite().all()):
        raise ValueError(
            "features must be finite numbers, got a NaN or an infinity, which nothing can be fitted to; look "
            "at the encoder."
        )
    return check_labels(labels, len(features), classes)


def linear_layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer with copies of a weight and a bias."""
    classifier = nn.Linear(weight.shape[1], len(weight), device="meta", dtype=weight.dtype)
    classifier.weight, classifier.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return classifier


def scored(classifier: nn.Linear, rows: Tensor, labels: Tensor, names: tuple[str, ...]) -> Scores:
    """Return the scores of a classifier on rows, which it classifies some at a time."""
    total = score(torch.empty(0, len(names)), labels[:0], names)
    weight, bias = classifier.weight.detach(), classifier.bias.detach()
    for some, their in (
        zip(rows.split(SCORED_ROWS), labels.split(SCORED_ROWS), strict=True) if len(rows) else ()
    ):
        total = total + score(F.linear(some.to(weight), weight, bias), their, names)
    return total
