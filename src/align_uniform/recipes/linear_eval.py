"""Linear accuracy: can a linear classifier read the class from the features?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_predict(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, *, penalty: float = 1e-3, iterations: int = 200
) -> Tensor:
    r"""Return the classes that a logistic regression on the features predicts.

    The features are standardised with the training rows' mean and deviation; then L-BFGS minimises

    .. math:: \frac{1}{N} \sum_i CE(W z_i + b, c_i) + \frac{\lambda}{2} \lVert W \rVert^2,

    which is convex: there are no epochs and no learning rate to choose.

    Args:
        train_features: [N, m].
        train_labels: [N], int64 from 0.
        test_features: [M, m].
        penalty: lambda.
        iterations: L-BFGS steps at most.

    Returns:
        [M] classes.
    """
    mean, deviation = train_features.mean(0), train_features.std(0)
    deviation = deviation.masked_fill(deviation == 0, 1)
    train, test = (train_features - mean) / deviation, (test_features - mean) / deviation
    classes = int(train_labels.max()) + 1
    weight = train.new_zeros(classes, train.shape[1], requires_grad=True)
    bias = train.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-6)

    def closure() -> float:
        optimizer.zero_grad()
        loss: Tensor = F.cross_entropy(F.linear(train, weight, bias), train_labels) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    return F.linear(test, weight, bias).argmax(1).detach()
