"""Alignment, streamed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform.engine.precision import widened
from align_uniform.functional import align_loss
from align_uniform.metrics.streamed import Streamed, measurable, place


class Alignment(Streamed):
    r"""The distance between the two views of positive pairs, over all batches.

    .. math:: L_{align}(\alpha) = \frac{1}{N} \sum_{i=1}^{N} \lVert x_i - y_i \rVert_2^{\alpha}

    The value equals `align_loss` of all pairs at once, and `measure(x, y).align.value`. The state is three
    float64 numbers: the number of pairs, the sum of their terms, and the sum of the squared terms. `update`
    takes O(N m) time.

    Args:
        alpha: the exponent of the distance, above 0.
        normalize: whether to divide rows by their norm, in float32 or wider. By default this is done, as in
            `measure` and unlike in the losses.
        kwargs: the arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: alpha is not a finite number above 0.

    Example:
        >>> import torch
        >>> from align_uniform.metrics import Alignment
        >>> metric = Alignment(alpha=1)
        >>> metric.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> metric.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        >>> metric.compute(), metric.stderr()
        (tensor(0.6667, dtype=torch.float64), tensor(0.6667, dtype=torch.float64))

    Note:
        A cone makes raw alignment look good, since all of its rows are near each other;
        `measure(x, y).align.relative` divides by the distance of rows that are no pair. The error assumes
        that pairs are independent, which several views of one item are not.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1.
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    options = ("alpha", "normalize")
    sums: Tensor

    def __init__(self, alpha: float = 2, normalize: bool = True, **kwargs: Any) -> None:
        alpha = checks.check_positive("alpha", alpha)
        super().__init__(alpha, normalize, **kwargs)
        self.alpha, self.normalize = alpha, normalize
        self.add_state("sums", torch.zeros(3, dtype=torch.float64, device=place()), "sum")

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add pairs: row i of x and row i of y.

        Args:
            x: the features of one view, [..., N, m]; N may be 0.
            y: the features of the other view, of the same shape.

        Raises:
            ValueError: a shape or a dtype is wrong, or a row is NaN, infinite, or zero with `normalize`.
        """
        checks.check_features("x", x)
        checks.check_features("y", y)
        checks.check_same_shape(x, y)
        x, y = measurable("x", x, self.normalize), measurable("y", y, self.normalize)
        terms = widened(align_loss(x, y, self.alpha, normalize=self.normalize, reduction="none").detach())
        sums = torch.stack([terms.new_tensor(len(terms)), terms.sum(), terms.square().sum()])
        self.sums = self.sums + sums.to(self.sums.device)

    def compute(self) -> Tensor:
        """Return the mean over all pairs of all processes, a float64 scalar; NaN before the first pair."""
        count, total, squares = self.sums.tolist()
        if count == 0:
            self._stderr = math.nan
            return self._scalar(math.nan)
        variance = max(0.0, squares - total**2 / count) / (count - 1) if count > 1 else math.nan
        self._stderr = math.sqrt(variance / count)
        return self._scalar(total / count)

    def stderr(self) -> Tensor:
        """Return the standard error of the mean, the pairs being a sample; NaN for fewer than two pairs.

        All processes must call this method, since it calls `compute`.
        """
        self.compute()
        return self._scalar(self._stderr)
