"""Scores of a classifier: counts of test images and hits, which add up over batches and processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from align_uniform._messages import counted
from align_uniform._ranks import gather_objects
from align_uniform.measuring.results import NORMAL_95

SCHEMA_VERSION = 1
TOP = 5
"""The number of classes that are ranked for the top-5 accuracy."""


@dataclass(frozen=True)
class Scores:
    """Counts of test images of each class, and of those that were classified right.

    `a + b` is the score of all images of both, those of `a` first, whatever batches and processes they were
    in. `print(scores)` shows a table; `to_dict` and `from_dict` write and read JSON.
    """

    classes: tuple[str, ...]
    """Names of the classes, in the order of their labels."""
    images: tuple[int, ...]
    """Number of test images of each class."""
    first: tuple[int, ...]
    """Number of images of each class whose class was ranked first."""
    among_five: tuple[int, ...] | None
    """Number of images of each class whose class was among the first five; None if fewer than five classes
    were ranked, or if there are no more than five.
    """
    labels: tuple[int, ...] | None = field(default=None, repr=False)
    """Class of each image, in order; None in files of earlier versions."""
    hits: tuple[bool, ...] | None = field(default=None, repr=False)
    """Whether the class of each image was ranked first, in order; None in files of earlier versions."""

    def __post_init__(self) -> None:
        for name, counts in (("images", self.images), ("first", self.first), ("among_five", self.among_five)):
            if counts is not None and len(counts) != len(self.classes):
                raise ValueError(
                    f"{name} must be {counted(len(self.classes), 'count')}, one for each class, got "
                    f"{len(counts)}."
                )
        ranked = self.first if self.among_five is None else self.among_five
        for name, images, first, five in zip(self.classes, self.images, self.first, ranked, strict=True):
            if not 0 <= first <= five <= images:
                raise ValueError(
                    f"counts must be 0 <= first <= among_five <= images, got {first}, {five} and {images} "
                    f"for class {name}."
                )

    @property
    def n(self) -> int:
        """Number of test images."""
        return sum(self.images)

    @property
    def top1(self) -> float:
        """Share of the images whose class was ranked first; NaN if there are no images."""
        return _share(sum(self.first), self.n)

    @property
    def top5(self) -> float | None:
        """Share of the images whose class was among the first five; None if `among_five` is."""
        return None if self.among_five is None else _share(sum(self.among_five), self.n)

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95% interval of `top1`, with the images as a sample; other seeds may vary by more."""
        return wilson(sum(self.first), self.n)

    @property
    def top5_interval(self) -> tuple[float, float] | None:
        """95% interval of `top5`; None if `among_five` is."""
        return None if self.among_five is None else wilson(sum(self.among_five), self.n)

    @property
    def per_class(self) -> dict[str, float]:
        """Share of each class's images whose class was ranked first; NaN for a class without images."""
        return {
            name: _share(*counts) for name, *counts in zip(self.classes, self.first, self.images, strict=True)
        }

    def __add__(self, other: Scores) -> Scores:
        if not isinstance(other, Scores):
            return NotImplemented
        if self.classes != other.classes:
            raise ValueError(
                f"scores must be of the same classes to be added, got {_named(self)} and {_named(other)}."
            )
        if (self.among_five is None) != (other.among_five is None):
            raise ValueError(
                "scores must both rank five classes, or neither, to be added; score both in the same way."
            )
        five = None
        if self.among_five is not None and other.among_five is not None:
            five = _sums(self.among_five, other.among_five)
        return Scores(
            self.classes,
            _sums(self.images, other.images),
            _sums(self.first, other.first),
            five,
            None if self.labels is None or other.labels is None else self.labels + other.labels,
            None if self.hits is None or other.hits is None else self.hits + other.hits,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return shares, intervals and counts as plain values, for JSON; None if there is no image."""
        five = self.among_five or [None] * len(self.classes)
        return {
            "schema_version": SCHEMA_VERSION,
            "n": self.n,
            "top1": _finite(self.top1),
            "top1_interval": [_finite(bound) for bound in self.top1_interval],
            "top5": _finite(self.top5),
            "top5_interval": None
            if self.top5_interval is None
            else [_finite(bound) for bound in self.top5_interval],
            "per_class": [
                {
                    "class": name,
                    "n": n,
                    "first": first,
                    "among_five": of_five,
                    "top1": _finite(_share(first, n)),
                }
                for name, n, first, of_five in zip(self.classes, self.images, self.first, five, strict=True)
            ],
            # One string each, since a list would take a line for every image.
            "labels": None if self.labels is None else " ".join(map(str, self.labels)),
            "hits": None if self.hits is None else "".join("1" if hit else "0" for hit in self.hits),
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Scores:
        """Return the scores in a document that `to_dict` returned."""
        if document.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version must be {SCHEMA_VERSION}, got {document.get('schema_version')}: these are "
                "no scores, or scores of another version; score again."
            )
        rows = document["per_class"]
        five = tuple(row["among_five"] for row in rows)
        labels, hits = document.get("labels"), document.get("hits")
        return cls(
            classes=tuple(row["class"] for row in rows),
            images=tuple(row["n"] for row in rows),
            first=tuple(row["first"] for row in rows),
            among_five=None if None in five else five,
            labels=None if labels is None else tuple(map(int, labels.split())),
            hits=None if hits is None else tuple(hit == "1" for hit in hits),
        )

    def __str__(self) -> str:
        lines = [_line(f"top-1 of {counted(self.n, 'image')}", self.top1, self.top1_interval)]
        if self.top5 is not None and self.top5_interval is not None:
            lines.append(_line(f"top-5 of {counted(self.n, 'image')}", self.top5, self.top5_interval))
        width = max([len("class"), *map(len, self.classes)])
        lines += ["", f"{'class':<{width}}  images  top-1 %   95% interval"]
        for name, images, first in zip(self.classes, self.images, self.first, strict=True):
            low, high = wilson(first, images)
            lines.append(
                f"{name:<{width}}  {images:6}  {_percent(_share(first, images)):>7}  {_percent(low)} to "
                f"{_percent(high)}"
            )
        return "\n".join(lines)


def score(ranking: Tensor, labels: Tensor, classes: int | Sequence[str]) -> Scores:
    """Count the images whose class is ranked first, and among the first five.

    Args:
        ranking: logits, [N, C] floating point, where the smaller class number wins a tie; or ranked classes,
            [N, r] integers, the best first, with -1 where no further class is ranked; or classes, [N].
        labels: [N] integers from 0. N may be 0.
        classes: the names of the classes, or their number.

    Returns:
        Counts. `among_five` is None if there are five classes or fewer, or if fewer than five are ranked.

    Raises:
        ValueError: shapes or labels do not fit, or a logit is NaN.

    Example:
        >>> scores = score(
        ...     torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]), torch.tensor([1, 2]), ["ant", "bee", "cat"]
        ... )
        >>> scores.top1, scores.n
        (0.5, 2)
    """
    names = class_names(classes)
    labels = labels.long()
    _check(ranking, labels, len(names))
    if ranking.is_floating_point():
        place = _place_of_logit(ranking, labels.to(ranking.device))
        ranked = len(names)
    else:
        ranking = ranking if ranking.dim() == 2 else ranking[:, None]
        found = ranking == labels.to(ranking.device)[:, None]
        ranked = ranking.shape[1]
        place = torch.where(found.any(1), found.int().argmax(1), ranked)
    five = _counts(labels, place < TOP, len(names)) if ranked >= TOP and len(names) > TOP else None
    return Scores(
        names,
        _counts(labels, labels >= 0, len(names)),
        _counts(labels, place < 1, len(names)),
        five,
        tuple(labels.tolist()),
        tuple((place < 1).tolist()),
    )


def over_ranks(scores: Scores, expected: int | None = None) -> Scores:
    """Return the score of the images of all processes, on each of them.

    Every process must call this, also one without images.

    Args:
        scores: scores of this process's own images.
        expected: number of images in all processes. It reveals a sampler that repeats images to fill shards.

    Raises:
        ValueError: the processes' classes differ, or the number of images is not the expected one.
    """
    first, *others = gather_objects(scores)
    for other in others:
        first = first + other
    if expected is not None and first.n != expected:
        raise ValueError(
            f"each of the {counted(expected, 'test image')} must be counted once, got {first.n} in all "
            "processes together; use a sampler that neither repeats nor drops images."
        )
    return first


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share of n (Wilson, 1927); 0 to 1 if n is 0.

    Example:
        >>> [round(bound, 4) for bound in wilson(353, 360)]
        [0.9604, 0.9905]
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + NORMAL_95**2 / (2 * n)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / n + NORMAL_95**2 / (4 * n**2))
    low, high = (bound / (1 + NORMAL_95**2 / n) for bound in (centre - half, centre + half))
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def class_names(classes: int | Sequence[str] | None, *labels: Tensor) -> tuple[str, ...]:
    """Return the names of classes.

    Args:
        classes: the names; or the number of classes, whose names are then numbers; or None for as many
            classes as the largest label needs.
        labels: the labels that are looked at if `classes` is None.
    """
    if classes is None:
        classes = 1 + max(int(some.max()) for some in labels if len(some))
    names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
    if not names:
        raise ValueError(
            f"classes must be at least one, got {classes!r}; pass their names or how many there are."
        )
    return names


def check_labels(labels: Tensor, rows: int, classes: int | None = None, *, name: str = "labels") -> int:
    """Return the number of classes; by default as many as the largest label needs.

    Raises:
        ValueError: there is not one label for each row, or a label is negative or not below the number of
            classes.
    """
    if labels.shape != (rows,):
        raise ValueError(f"{name} must be [{rows}], one for each row, got {list(labels.shape)}.")
    least, most = (int(labels.min()), int(labels.max())) if rows else (0, -1)
    if least < 0 or (classes is not None and most >= classes):
        below = "" if classes is None else f" and below {classes}, the number of classes"
        raise ValueError(
            f"{name} must be from 0{below}, got {least} to {most}; use the part of the data that has labels, "
            "and the classes of the whole data set."
        )
    return most + 1 if classes is None else classes


def _check(ranking: Tensor, labels: Tensor, classes: int) -> None:
    if ranking.is_floating_point() and (ranking.dim() != 2 or ranking.shape[1] != classes):
        raise ValueError(
            f"logits must be [N, {classes}] for {counted(classes, 'class', 'classes')}, got "
            f"{list(ranking.shape)}."
        )
    if ranking.dim() not in (1, 2) or 0 in ranking.shape[1:]:
        raise ValueError(
            f"ranked classes must be [N, r] with r at least 1, or [N], got {list(ranking.shape)}."
        )
    check_labels(labels, len(ranking), classes)
    if ranking.is_floating_point() and bool(ranking.isnan().any()):
        raise ValueError(
            "logits must be numbers, got NaN, by which nothing can be ranked; look for NaN in the features."
        )


def _place_of_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the number of classes that are ranked before the right one, [N]."""
    own = logits.gather(1, labels[:, None])
    number = torch.arange(logits.shape[1], device=logits.device)
    return ((logits > own) | ((logits == own) & (number < labels[:, None]))).sum(1)


def _counts(labels: Tensor, kept: Tensor, classes: int) -> tuple[int, ...]:
    return tuple(torch.bincount(labels.cpu()[kept.cpu()], minlength=classes).tolist())


def _sums(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _named(scores: Scores) -> str:
    few = ", ".join(scores.classes[:3])
    return f"{len(scores.classes)} ({few}{', …' if len(scores.classes) > 3 else ''})"


def _share(part: int, n: int) -> float:
    return part / n if n else math.nan


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _percent(share: float) -> str:
    return f"{100 * share:5.2f}" if math.isfinite(share) else "-"


def _line(what: str, share: float, interval: tuple[float, float]) -> str:
    low, high = map(_percent, interval)
    return f"{what}: {_percent(share).strip()}%, 95% interval {low.strip()} to {high.strip()}%"
