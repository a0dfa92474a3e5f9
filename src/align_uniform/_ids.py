"""The numbers of pairs of rows that share an id, and so are no negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from align_uniform.engine import routes


def equal_pairs(ids: Tensor, others: Tensor) -> Tensor:
    """Return the number of pairs (i, j) with `ids[..., i] == others[..., j]`: [...].

    The time is O(N log N), except where operations are recorded.
    """
    if routes.is_recorded():
        return (ids.unsqueeze(-1) == others.unsqueeze(-2)).sum((-2, -1))
    rising, ids = others.sort(-1).values, ids.contiguous()
    return (torch.searchsorted(rising, ids, right=True) - torch.searchsorted(rising, ids)).sum(-1)


def check_some_pair(pairs: Tensor) -> None:
    """Refuse a batch of which no pair is left, where that can be known without waiting."""
    if routes.may_ask(pairs) and bool((pairs <= 0).any()):
        raise ValueError(
            "ids must leave at least one pair, but every two rows that would be compared share an id; "
            "give a batch of several items, or negatives of other items."
        )
