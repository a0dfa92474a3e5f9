"""The rows of a cone less their mean: what is left when the part that all rows share is taken out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from align_uniform import geometry
from align_uniform.engine.precision import widened
from align_uniform.files import read_column
from align_uniform.measuring.derived import derived, main_numbers
from align_uniform.measuring.populations import Population
from align_uniform.measuring.quantities_of_rows import EQUAL_COSINE
from align_uniform.measuring.results import Centered
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Plan


@dataclass(frozen=True)
class CenteredRows:
    """The rows of a population less their mean, [N, m], as a source of rows."""

    population: Population
    """The rows."""
    center: Tensor
    """The mean, [m], float64."""

    @property
    def shape(self) -> Sequence[int]:
        """The numbers of rows and features, N and m."""
        return self.population.shape

    def __getitem__(self, part: slice, /) -> Tensor:
        """Return some rows; the difference is taken in float64, since in a narrow cone it is small."""
        rows = self.population[part]
        wide = widened(rows)
        return (wide - self.center.to(wide)).to(rows)


def can_be_centred(asked: Subject) -> bool:
    """Return whether no view or tower has nearly equal rows, which less their mean are rounding alone."""
    return all(geometry.mean_cosine(rows.survey.moments) <= EQUAL_COSINE for rows in asked.populations)


def centered(
    asked: Subject, plan: Plan, alpha: float, groups: Tensor | None, classes: Tensor | None
) -> Centered:
    """Measure the rows less the mean of their view or tower, divided by their norms again.

    It reads all rows and pairs again, and sums the pairs of as many rows as there are anchors with all
    others, which is what a measurement by `method="anchors"` costs. The errors of groups take the pairs of
    all rows.
    """
    subject = less_means(asked, normalize=True)
    plan = replace(plan, method="anchors" if groups is None else "exact")
    found = main_numbers(subject, plan, alpha, groups, classes)
    return Centered(found.align, found.uniform, found.retrieval)


def less_means(asked: Subject, mean: Tensor | None = None, *, normalize: bool) -> Subject:
    """Return the subject with its rows less a mean.

    Args:
        asked: the subject.
        mean: the mean, [m]; None for that of each view or tower.
        normalize: whether to divide the rows by their norms again.
    """

    def less(rows: Population) -> CenteredRows:
        return CenteredRows(rows, rows.survey.moments.mean if mean is None else mean)

    return derived(asked, less, normalize=normalize)


def asked_center(center: Any, dim: int) -> Tensor | None:
    """Return the mean that `measure` was given, [m], or None for that of each view or tower.

    Raises:
        ValueError: it is not a finite mean of as many features.
    """
    if center is True:
        return None
    given = read_column(os.fspath(center)) if isinstance(center, str | os.PathLike) else center
    found = widened(torch.as_tensor(given, device="cpu").detach())
    named = str(center) if isinstance(center, str | os.PathLike) else "center"
    if found.shape != (dim,) or not found.isfinite().all():
        raise ValueError(
            f"{named} must be a finite mean of the {dim} features, [{dim}], got shape {list(found.shape)}; "
            "pass True for the mean of the rows."
        )
    return found
