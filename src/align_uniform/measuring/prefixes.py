"""The first features of each row, divided by their norms again: what shorter rows are worth."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from align_uniform import geometry
from align_uniform.files.rows import to_tensor
from align_uniform.measuring.classes import accuracy
from align_uniform.measuring.derived import derived, main_numbers
from align_uniform.measuring.influence import Influence, share_difference_stderr, stderr
from align_uniform.measuring.populations import Population, Source
from align_uniform.measuring.prefix_result import COMPARED, Change, Prefix
from align_uniform.measuring.quantities import quantity
from align_uniform.measuring.quantity import Quantity
from align_uniform.measuring.results import Results
from align_uniform.measuring.subject import Subject
from align_uniform.measuring.sweep import Plan


@dataclass(frozen=True)
class FirstFeatures:
    """The first features of rows, [N, dim], as a source of rows."""

    source: Source
    """The rows."""
    dim: int
    """The number of features that are kept."""

    @property
    def shape(self) -> Sequence[int]:
        """The numbers of rows and of kept features."""
        return self.source.shape[0], self.dim

    def __getitem__(self, part: slice, /) -> Tensor:
        """Return some rows."""
        rows = self.source[part]
        return (rows if isinstance(rows, Tensor) else to_tensor(rows))[:, : self.dim]


def checked_dims(dims: Any, dim: int) -> tuple[int, ...]:
    """Return numbers of first features, rising; all features may be the last of them.

    Raises:
        ValueError: they are no whole numbers from 1 to `dim` that rise.
    """
    try:
        found = tuple(map(operator.index, dims))
    except TypeError:
        raise ValueError(f"dims must be whole numbers of features, such as 64 128, got {dims!r}.") from None
    if wrong := [each for each in found if not 1 <= each <= dim]:
        raise ValueError(
            f"dims must be from 1 to {dim}, the number of features, got {wrong[0]}; leave it out."
        )
    if any(b <= a for a, b in pairwise(found)):
        rising = " ".join(map(str, sorted({*found})))
        raise ValueError(f"dims must rise, each given once, got {' '.join(map(str, found))}; give {rising}.")
    return found


def cut_to(asked: Subject, dims: Any) -> dict[int, Subject]:
    """Return the subject with its rows cut to their first features, for each number of them.

    Nothing is copied: rows are cut when they are read. Where a mean is subtracted, the rows are cut after it.

    Raises:
        ValueError: `dims` are wrong, or the first features of a row are all 0 and rows are to be normalised.
    """

    def first(dim: int) -> Subject:
        def cut(rows: Population) -> FirstFeatures:
            return FirstFeatures(rows.source, dim)

        words = f" (dims {dim}, the first features)"
        return derived(asked, cut, normalize=asked.rows.normalize, words=words)

    whole = asked.rows.shape[1]
    return {dim: asked if dim == whole else first(dim) for dim in checked_dims(dims, whole)}


def prefixes(
    whole: Results,
    subjects: Mapping[int, Subject],
    plan: Plan,
    alpha: float,
    groups: Tensor | None,
    classes: Tensor | None,
) -> dict[int, Prefix]:
    """Measure the first features of each row, and take the differences from all features.

    The numbers of all features are those of the measurement, and come last. Ctrl-C, if it may end a sum,
    leaves out the numbers of features that are not measured yet.

    Args:
        whole: the measurement of all features, with its details.
        subjects: the rows for each number of features, as `cut_to` cuts them.
        plan: the method of the sums, as for all features.
        alpha: the exponent of alignment.
        groups: the group of each row, [N]; None without groups.
        classes: the class of each row, [N]; None without labels.
    """
    found: dict[int, Prefix] = {}
    is_interruptible, plan = plan.interruptible, replace(plan, interruptible=False)
    try:
        for dim, subject in subjects.items():
            if dim < whole.dim:
                found[dim] = _prefix(whole, subject, plan, alpha, groups, classes)
    except KeyboardInterrupt:
        if not is_interruptible:
            raise
    return found | {whole.dim: _of_all(whole)}


def _prefix(
    whole: Results,
    subject: Subject,
    plan: Plan,
    alpha: float,
    groups: Tensor | None,
    classes: Tensor | None,
) -> Prefix:
    main = main_numbers(subject, plan, alpha, groups, classes)
    moments = [population.survey.moments for population in subject.populations]
    answers, influences = None, main.influences
    if classes is not None:
        answers, of_classes, _ = accuracy(subject, classes, main.units, plan.seed)
        influences = influences | of_classes
    prefix = Prefix(
        dim=subject.rows.shape[1],
        uniform=main.uniform,
        align=main.align,
        rankme=math.fsum(map(geometry.rankme, moments)) / len(moments),
        rankme_uniform=math.fsum(geometry.rankme_of_uniform(each.count, each.dim) for each in moments)
        / len(moments),
        retrieval=main.retrieval,
        classes=answers,
    )
    changes = {key: _change(quantity(key), prefix, whole, influences) for key in COMPARED}
    return replace(prefix, changes={key: each for key, each in changes.items() if each is not None})


def _of_all(whole: Results) -> Prefix:
    return Prefix(
        dim=whole.dim,
        uniform=whole.uniform,
        align=whole.align,
        rankme=whole.rankme,
        rankme_uniform=whole.rankme_uniform,
        retrieval=whole.retrieval,
        classes=None if whole.classes is None else replace(whole.classes, table=()),
    )


def _change(
    record: Quantity, prefix: Prefix, whole: Results, influences: Mapping[str, Influence]
) -> Change | None:
    """Return a number of the first features less that of all, with its error; None if there is none.

    The error is computed item by item. Only the gap of anchors has that of two independent numbers, which is
    too large: every number of features has anchors of its own.
    """
    values = record.value(prefix), record.value(whole)
    if None in values:
        return None
    errors = record.error(prefix), record.error(whole)
    if record.key == "uniform.gap" and max(
        prefix.uniform.approximation_stderr, whole.uniform.approximation_stderr
    ):
        error = None if None in errors else math.hypot(*(each for each in errors if each is not None))
        return Change(values[0] - values[1], error)
    assert whole.details is not None
    key = "uniform" if record.key == "uniform.gap" else record.key
    both = influences.get(key), whole.details.influences.get(key)
    if both[0] is None or both[1] is None or not both[0].matches(both[1]):
        return Change(values[0] - values[1], None)
    apart = both[0] - both[1]
    error = share_difference_stderr(apart) if record.is_share else stderr(apart)
    return Change(values[0] - values[1], error)
