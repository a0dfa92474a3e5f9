"""Several embeddings side by side, with the differences from the first and the p of each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from align_uniform import _ranks as ranks
from align_uniform._extras import require
from align_uniform._messages import counted
from align_uniform._progress import progress_bar
from align_uniform.measuring import notebook
from align_uniform.measuring.difference import Difference, difference
from align_uniform.measuring.joint import joint_cosines, joint_potentials
from align_uniform.measuring.measure import measure
from align_uniform.measuring.measurement import SCHEMA_VERSION, Measurement
from align_uniform.measuring.plain import to_plain
from align_uniform.measuring.populations import Population
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.significance import holm
from align_uniform.measuring.subject import subject

NO_PAIRS = PairChoice(None, None, None, strict=True)


@dataclass(frozen=True)
class AdjustedDifference(Difference):
    """A difference that is one of several.

    Example:
        >>> import json
        >>> import torch
        >>> from align_uniform import compare
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> document = json.loads(compare(x, x + 0.1, x + 1, paired=True).to_json())
        >>> [each["adjusted_p"]["uniform"] < 0.001 for each in document["differences"]]
        [False, True]
    """

    adjusted_p: Mapping[str, float | None] = field(default_factory=dict)
    """The p of each number, by its key, adjusted for all differences of the number."""


@dataclass(frozen=True)
class ComparisonDocument:
    """Several embeddings and their differences from the first, as JSON has them.

    Example:
        >>> import torch
        >>> from align_uniform import compare
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> document = compare(x, x + 1, names=["old", "new"]).to_dict()
        >>> [each["name"] for each in document["embeddings"]], document["p_adjusted_by"]
        (['old', 'new'], 'Holm, for the 1 difference of one number')
    """

    embeddings: tuple[Measurement, ...]
    """The measurement of each embedding."""
    differences: tuple[AdjustedDifference, ...]
    """The numbers of every embedding but the first, less those of the first."""
    accuracy: tuple[float, ...] | None
    """The accuracy of each embedding in some task, if it was given."""
    p_adjusted_by: str
    """The method by which p was adjusted."""


@dataclass(frozen=True)
class Comparison:
    """Several embeddings, and the differences of all others from the first.

    Example:
        >>> import torch
        >>> from align_uniform import compare
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> compared = compare(x, x + 1, names=["old", "new"], paired=True)
        >>> for found in compared.measurements:
        ...     print(f"{found.name} {found.uniform.value:.2f}")
        old -3.51
        new -1.79
        >>> (change,) = compared.differences
        >>> print(f"{change.uniform:+.2f} ± {change.uniform_stderr:.2f}")
        +1.71 ± 0.04
    """

    measurements: tuple[Measurement, ...]
    """The measurement of each embedding."""
    differences: tuple[Difference, ...]
    """The numbers of every embedding but the first, less those of the first."""

    @property
    def p(self) -> tuple[Mapping[str, float | None], ...]:
        """The two-sided p of each number of each difference, by its key, if there were no difference."""
        return tuple(each.p for each in self.differences)

    @property
    def adjusted_p(self) -> tuple[Mapping[str, float | None], ...]:
        """The p adjusted by Holm's method; the differences of one number are a family."""
        found: list[dict[str, float | None]] = [{} for _ in self.differences]
        ps = self.p
        for key in dict.fromkeys(key for each in ps for key in each):
            for place, adjusted in enumerate(holm([each.get(key) for each in ps])):
                if key in ps[place]:
                    found[place][key] = adjusted
        return tuple(found)

    def to_dict(self, accuracy: Sequence[float] | None = None) -> dict[str, Any]:
        """Return everything except single rows as the dictionaries and lists that `compare --json` prints.

        Args:
            accuracy: the accuracy of each embedding in some task, to be kept with the rest.
        """
        document = ComparisonDocument(
            self.measurements,
            tuple(
                AdjustedDifference(**vars(each), adjusted_p=adjusted)
                for each, adjusted in zip(self.differences, self.adjusted_p, strict=True)
            ),
            None if accuracy is None else tuple(accuracy),
            f"Holm, for the {counted(len(self.differences), 'difference')} of one number",
        )
        plain: dict[str, Any] = to_plain(vars(document) | {"embeddings": (), "differences": ()})
        plain["embeddings"] = [each.to_dict() for each in document.embeddings]
        plain["differences"] = [each.to_dict() for each in document.differences]
        return {"schema_version": SCHEMA_VERSION} | plain

    def to_json(self) -> str:
        """Return `to_dict` as JSON; a number that is not finite is null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)

    def report(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the comparison as a page: what differs, all numbers, the plane, maps, the same worst pairs.

        Args:
            path: the file to write.
            **options: `texts`, `images`, `accuracy`, `map` and `force`, as
                `align_uniform.report.write_comparison` takes them.

        Returns:
            The path of the page.

        Raises:
            ModuleNotFoundError: a library of the extra `report` is missing.
            ValueError: the file exists and `force` is not given, or an option is refused.
        """
        require("report")
        import_module("align_uniform.report").write_comparison(Path(path), self, **options)
        return Path(path)

    def _repr_html_(self) -> str:
        """Return the numbers of all embeddings, and the differences, as notebooks show them."""
        return notebook.comparison_html(self)

    def __str__(self) -> str:
        """Return every measurement, and the differences line by line."""
        return "\n\n".join([*map(str, self.measurements), self.text_of_differences()])

    def text_of_differences(self) -> str:
        """Return the main differences line by line, each with its error, z and p."""
        is_family = len(self.differences) > 1
        parts = [
            "\n".join([each.heading, *each.lines(adjusted if is_family else None)])
            for each, adjusted in zip(self.differences, self.adjusted_p, strict=True)
        ]
        if is_family:
            parts.append(
                f"adjusted p: by Holm's method, for the {counted(len(self.differences), 'difference')} of "
                "one number. Errors and p are of single differences."
            )
        return "\n\n".join(parts)


@ranks.alone_unless_distributed
def compare(
    *embeddings: Any,
    positives: Sequence[Any] | None = None,
    pairs: Any = None,
    scores: Any = None,
    threshold: float | None = None,
    strict: bool = True,
    labels: Any = None,
    groups: Any = None,
    items: Any = None,
    paired: bool | None = None,
    t: float = 2,
    alpha: float = 2,
    normalize: bool = True,
    names: Sequence[str] | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
    distributed: bool = False,
) -> Comparison:
    r"""Measure several embeddings, and take the differences from the first.

    Where all are of the same items in the same order, errors are computed item by item. For uniformity they
    then rest on the joint kernel of both embeddings,

    .. math:: \zeta_2 = \frac{E\, G_a^2}{U_a^2} + \frac{E\, G_b^2}{U_b^2} - \frac{2 E\, G_a G_b}{U_a U_b},

    which takes one more sum over all pairs of items for every embedding but the first; likewise for the mean
    cosine, in closed form. It is known only here, where the rows of both are at hand: the error of `a - b`
    near the optimum is too large by up to the square root of 2. With groups, the error is that of `a - b`.

    The p of a difference is that of a normal distribution. Of K embeddings without any difference, one of the
    K - 1 differences is soon significant by chance, so that each p is also adjusted by Holm's method.

    Args:
        *embeddings: rows of each embedding, as `measure` takes them, or a `Measurement`.
        positives: the second view of each embedding, in order; None for features alone, and for measurements.
        pairs: [P, 2]: the rows of positive pairs, the same for all embeddings, as `measure` takes them;
            without `positives`.
        scores: [P]: the score of each pair.
        threshold: the score above which a pair is positive.
        strict: whether a score must lie above the threshold, or may equal it.
        labels: [N]: the class of each row, the same for all embeddings.
        groups: [N]: the group of each row, the same for all embeddings.
        items: [N]: the name of each row, the same for all embeddings, which are then compared item by item.
        paired: True to insist on errors item by item; False for errors of independent samples; None for
            errors item by item where items are known to be the same.
        t: inverse squared width of the Gaussian, above 0.
        alpha: exponent of the distance, above 0.
        normalize: divide rows by their norm.
        names: the name of each embedding.
        device: where to compute; by default where the rows are, or the CPU.
        progress: draw a bar on stderr.
        distributed: share the work with all processes of the process group, all of which must then call
            `compare` with the same arguments. By default a process works on its own.

    Returns:
        A `Comparison`: print it.

    Raises:
        ValueError: there are fewer than two embeddings, positives or names are not one for each, or an
            embedding cannot be measured or compared.

    Example:
        >>> import torch
        >>> from align_uniform import compare
        >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
        >>> result = compare(x, x + torch.tensor([1.0] + 7 * [0.0]), x + 1, paired=True)
        >>> [p["uniform"] < 0.001 for p in result.adjusted_p]
        [True, True]

    Reference:
        Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    count = len(embeddings)
    if count < 2:
        raise ValueError(f"there must be at least two embeddings, got {count}.")
    for what, given in (("positives", positives), ("names", names)):
        if given is not None and len(given) != count:
            raise ValueError(f"{what} must be one for each of the {count} embeddings, got {len(given)}.")

    if pairs is not None and positives is not None:
        raise ValueError("pairs are of the rows of one population; leave positives out.")

    def measured(number: int) -> Measurement:
        name, rows = None if names is None else names[number], embeddings[number]
        if isinstance(rows, Measurement):
            return rows if name is None else replace(rows, name=name)
        return measure(
            rows, second[number], pairs=pairs, scores=scores, threshold=threshold, strict=strict,
            labels=labels, groups=groups, items=items, t=t, alpha=alpha,
            normalize=normalize, device=device, name=name, progress=progress, distributed=True,
        )  # fmt: skip

    second = [None] * count if positives is None else list(positives)
    measurements = [measured(number) for number in range(count)]
    rows = None if groups is not None else _Rows(embeddings, second, normalize, device, progress)
    differences = [_difference(measurements, number, paired, rows) for number in range(1, count)]
    return Comparison(tuple(measurements), tuple(differences))


@dataclass(frozen=True)
class _Rows:
    """The rows of all embeddings, as they were given, and how they are measured."""

    embeddings: Sequence[Any]
    positives: Sequence[Any]
    normalize: bool
    device: str | torch.device | None
    progress: bool

    def views(self, number: int) -> tuple[Population, ...] | None:
        """Return the views of an embedding, or None if it is a measurement, whose rows are not at hand."""
        rows = self.embeddings[number]
        if isinstance(rows, Measurement):
            return None
        asked = subject(
            rows, self.positives[number], NO_PAIRS, ids=None, normalize=self.normalize, device=self.device,
            name=None,
        )  # fmt: skip
        return asked.populations


def _difference(
    measurements: Sequence[Measurement], number: int, paired: bool | None, rows: _Rows | None
) -> Difference:
    """Return the difference from the first embedding, by the joint kernel if the rows of both are at hand."""
    a, b = measurements[number], measurements[0]
    found = difference(a, b, paired=paired)
    if not found.paired or rows is None:
        return found
    views = rows.views(number), rows.views(0)
    if views[0] is None or views[1] is None:
        return found
    with progress_bar("pairs of items", a.n * (a.n + 1) // 2, shown=rows.progress) as advance:
        joint = joint_potentials(
            (views[0], views[1]), a.uniform.t, (a.uniform.by_population, b.uniform.by_population), advance
        )
    cosines = joint_cosines((views[0], views[1]), (a.mean_cosine, b.mean_cosine))
    return difference(a, b, paired=paired, joint=joint, cosines=cosines)
