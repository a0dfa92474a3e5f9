"""Alignment, uniformity and RankMe as torchmetrics metrics, for features that come in batches.

Rows may be spread over many processes. Each metric equals what `measure` finds in all rows at once, whatever
the batches, since both call the same functions. A mean of the batches' uniformities would be another number:
it is no log of a mean, and pairs of rows of different batches are missing from it.

A `MetricCollection` passes each metric the arguments that it takes, if they are given by name:

    >>> import torch
    >>> from torchmetrics import MetricCollection
    >>> from align_uniform.metrics import Alignment, RankMe, Uniformity
    >>> metrics = MetricCollection({"align": Alignment(), "uniform": Uniformity(t=3), "rankme": RankMe()})
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> metrics.update(x=x, y=x + 0.1)  # and not (x, y): Uniformity and RankMe take x alone
    >>> {name: round(value.item(), 2) for name, value in metrics.compute().items()}
    {'align': 0.01, 'rankme': 7.97, 'uniform': -4.07}
    >>> metrics["uniform"]
    Uniformity(t=3.0, normalize=True, max_rows=16384, seed=0)

For two views, `(Uniformity() + Uniformity()) / 2` is the average that the losses take. Never update one
metric with both views, since positive pairs would count as negatives.
"""

from __future__ import annotations

from align_uniform.metrics.alignment import Alignment
from align_uniform.metrics.rankme import RankMe
from align_uniform.metrics.uniformity import Uniformity

__all__ = ["Alignment", "RankMe", "Uniformity"]
