"""RankMe, streamed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform.functional import normalize_rows
from align_uniform.geometry import Moments
from align_uniform.metrics.streamed import StreamedRows, place


class RankMe(StreamedRows):
    r"""The number of dimensions that the features fill, over all batches.

    .. math:: \exp \left( -\sum_{k=1}^{\min(N, m)} p_k \log p_k \right), \qquad
              p_k = \frac{\sigma_k}{\lVert \sigma \rVert_1} + 10^{-7}

    This is the exponential of the entropy of the singular values. It equals `geometry.rankme` of the moments
    of all rows, and `measure(x).rankme`. The state is these moments, m^2 float64 numbers; `update` takes O(N
    m^2) time, `compute` O(m^3).

    Args:
        normalize: whether to divide rows by their norm, in float32 or wider. By default this is done, as in
            `measure`; the paper takes rows as they are.
        kwargs: the arguments of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> from align_uniform.metrics import RankMe
        >>> metric = RankMe()
        >>> metric.update(torch.eye(8)[:3])
        >>> metric.update(torch.eye(8)[3:5])
        >>> round(metric.compute().item(), 3)
        5.0

    Note:
        RankMe is at most min(N, m), and grows with N: compare values of the same N and m only. The mean is
        not subtracted, so a cone counts as one large singular value.

    Reference:
        Garrido et al., ICML 2023, arXiv 2210.02885.
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    options = ("normalize",)
    count: Tensor
    total: Tensor
    second: Tensor

    def __init__(self, normalize: bool = True, **kwargs: Any) -> None:
        super().__init__(normalize, **kwargs)
        self.normalize = normalize
        self.add_state("count", torch.tensor(0, device=place()), "sum")
        # The width is not known yet; a zero adds to any.
        self.add_state("total", torch.zeros((), dtype=torch.float64, device=place()), "sum")
        self.add_state("second", torch.zeros((), dtype=torch.float64, device=place()), "sum")

    def _add(self, rows: Tensor) -> None:
        moments = Moments.of(normalize_rows(rows) if self.normalize else rows)
        self.count = self.count + moments.count
        self.total = self.total + moments.sum.to(self.total.device)
        self.second = self.second + moments.second.to(self.second.device)

    def compute(self) -> Tensor:
        """Return RankMe of all rows of all processes, a float64 scalar; NaN before the first row."""
        count = int(self.count)
        return self._scalar(geometry.rankme(Moments(count, self.total, self.second)) if count else math.nan)

    @staticmethod
    def _shape_of(state: Mapping[str, Any]) -> tuple[int, bool]:
        total = state["total"]
        return (len(total), False) if total.dim() else (0, False)

    def _take_shape(self, width: int, *, is_wide: bool) -> None:  # noqa: ARG002  # the moments are always float64
        self.total = self.total + self.total.new_zeros(width, dtype=torch.float64)
        self.second = self.second + self.second.new_zeros(width, width, dtype=torch.float64)
