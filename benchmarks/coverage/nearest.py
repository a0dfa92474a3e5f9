"""The true values of what nearest rows say: partners that are found, classes that are named, and distances.

These numbers depend on the number of rows. A true value is the mean over samples of the size of the cell, in
which all rows are looked at. Nothing here uses the measuring code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from benchmarks.coverage.truth import Truth

SAMPLES = 4000
"""The number of samples whose mean is the true value."""

VOTES = 5
"""The number of nearest rows that name a class."""


def of_samples(draw: Callable[[Generator], Mapping[str, float]]) -> dict[str, Truth]:
    """Return the mean of each number over many samples."""
    generator = Generator().manual_seed(2**31 - 2)
    found = [draw(generator) for _ in range(SAMPLES)]
    values = {name: torch.tensor([each[name] for each in found], dtype=torch.float64) for name in found[0]}
    error = {name: float(each.std()) / math.sqrt(SAMPLES) for name, each in values.items()}
    return {name: Truth(float(each.mean()), error[name]) for name, each in values.items()}


def partners(x: Tensor, y: Tensor, groups: Tensor) -> dict[str, float]:
    """Return recall and reciprocal ranks of two views, without the other rows of a row's group."""
    found: dict[str, float] = {}
    for direction, squares in (("forward", torch.cdist(x, y)), ("backward", torch.cdist(y, x))):
        own = squares.diagonal().unsqueeze(1)
        is_candidate = groups.unsqueeze(1) != groups
        ranks = 1 + ((squares < own) & is_candidate).sum(1).double()
        found |= {
            f"retrieval.{direction}.recall_{depth}": float((ranks <= depth).double().mean())
            for depth in (1, 5, 10)
        }
        found[f"retrieval.{direction}.mrr"] = float((1 / ranks).mean())
    return found


def named_classes(rows: Tensor, labels: Tensor, groups: Tensor) -> dict[str, float]:
    """Return the share of rows whose class most of the nearest rows of other groups have."""
    squares = torch.cdist(rows, rows).masked_fill(groups.unsqueeze(1) == groups, math.inf)
    near = labels[squares.topk(VOTES, largest=False).indices]
    votes = one_hot(near).sum(1).double()
    places = torch.arange(VOTES, dtype=torch.float64).expand_as(near)
    first = torch.full_like(votes, VOTES).scatter_reduce(1, near, places, "amin")  # it decides between equals
    named = (votes - first / (VOTES + 1)).argmax(1)
    return {"classes.knn": float((named == labels).double().mean())}


def nearest_distances(x: Tensor, y: Tensor) -> dict[str, float]:
    """Return the mean distances of rows of x, and of rows of y, to the nearest row of y."""
    within = torch.cdist(y, y).fill_diagonal_(math.inf)
    return {
        "towers.query_distance": float(torch.cdist(x, y).amin(1).mean()),
        "towers.corpus_distance": float(within.amin(1).mean()),
    }
