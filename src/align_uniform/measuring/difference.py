"""The difference of two measurements, with its errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from align_uniform import sphere
from align_uniform._messages import counted
from align_uniform.measuring import quantities
from align_uniform.measuring.influence import Influence, share_difference_stderr, stderr
from align_uniform.measuring.joint import Joint
from align_uniform.measuring.plain import to_plain
from align_uniform.measuring.quantities import Quantity, with_error
from align_uniform.measuring.results import Results
from align_uniform.measuring.significance import normal_p, text_of_p


@dataclass(frozen=True)
class Difference:
    """The numbers of one measurement less those of another.

    A number that one of the two lacks is None, and so is an error that is not known. The uniformity and what
    follows from it are those at the first t.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
        >>> noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
        >>> before, after = measure(x, items=range(200)), measure(x + noise + 1, items=range(200))
        >>> change = after - before
        >>> change.paired, change.p["uniform"] < 0.001
        (True, True)
        >>> print(f"{change.uniform:+.2f} ± {change.uniform_stderr:.2f}")
        +1.14 ± 0.04
    """

    names: tuple[str, str]
    """The names of the two measurements."""
    align: float | None
    """The difference of alignment."""
    align_stderr: float | None
    """The standard error of `align`."""
    uniform: float
    """The difference of uniformity."""
    uniform_stderr: float | None
    """The standard error of `uniform`."""
    paired: bool
    """Whether the errors were computed item by item, from the influences of the same items on both."""
    pairing: str
    """The reason why the errors were computed item by item, or why they were not."""
    relative: float | None = None
    """The difference of relative alignment."""
    relative_stderr: float | None = None
    """The standard error of `relative`."""
    gap: float | None = None
    """The difference of the gap to the optimum; for embeddings of one dimension it is that of uniformity."""
    gap_stderr: float | None = None
    """The standard error of `gap`."""
    equivalent_dim: float | None = None
    """The difference of the equivalent dimension."""
    equivalent_dim_stderr: float | None = None
    """The standard error of `equivalent_dim`."""
    mean_cosine: float | None = None
    """The difference of the mean cosine."""
    mean_cosine_stderr: float | None = None
    """The standard error of `mean_cosine`."""
    tolerance: float | None = None
    """The difference of tolerance."""
    tolerance_stderr: float | None = None
    """The standard error of `tolerance`."""
    recall_1: float | None = None
    """The difference of recall@1."""
    recall_1_stderr: float | None = None
    """The standard error of `recall_1`."""
    recall_5: float | None = None
    """The difference of recall@5."""
    recall_5_stderr: float | None = None
    """The standard error of `recall_5`."""
    recall_10: float | None = None
    """The difference of recall@10."""
    recall_10_stderr: float | None = None
    """The standard error of `recall_10`."""
    mrr: float | None = None
    """The difference of the mean reciprocal rank."""
    mrr_stderr: float | None = None
    """The standard error of `mrr`."""
    backward_recall_1: float | None = None
    """The difference of recall@1 where the second row of a pair looks for the first."""
    backward_recall_1_stderr: float | None = None
    """The standard error of `backward_recall_1`."""
    backward_recall_5: float | None = None
    """The difference of recall@5 where the second row of a pair looks for the first."""
    backward_recall_5_stderr: float | None = None
    """The standard error of `backward_recall_5`."""
    backward_recall_10: float | None = None
    """The difference of recall@10 where the second row of a pair looks for the first."""
    backward_recall_10_stderr: float | None = None
    """The standard error of `backward_recall_10`."""
    backward_mrr: float | None = None
    """The difference of the mean reciprocal rank where the second row of a pair looks for the first."""
    backward_mrr_stderr: float | None = None
    """The standard error of `backward_mrr`."""
    within_between: float | None = None
    """The difference of the ratio of distances within and between classes."""
    within_between_stderr: float | None = None
    """The standard error of `within_between`."""
    knn: float | None = None
    """The difference of the accuracy by nearest neighbours."""
    knn_stderr: float | None = None
    """The standard error of `knn`."""
    modality_gap: float | None = None
    """The difference of the modality gap."""
    modality_gap_stderr: float | None = None
    """The standard error of `modality_gap`."""
    cross_uniform: float | None = None
    """The difference of cross-uniformity."""
    cross_uniform_stderr: float | None = None
    """The standard error of `cross_uniform`."""

    @property
    def heading(self) -> str:
        """The names of the two, and how the errors were computed."""
        kind = "paired" if self.paired else "unpaired"
        return f"{self.names[0]} − {self.names[1]} ({kind}: {self.pairing})"

    def numbers(self) -> Iterator[tuple[Quantity, float, float | None]]:
        """Yield the record of each number that both measurements have, its difference, and its error."""
        for record in quantities.shown_by("difference"):
            value = getattr(self, _field(record))
            if value is not None:
                yield record, value, getattr(self, f"{_field(record)}_stderr")

    def main_numbers(self) -> Iterator[tuple[Quantity, float, float | None]]:
        """Yield those numbers that the table of a measurement has."""
        return (each for each in self.numbers() if "table" in each[0].faces)

    @property
    def z(self) -> Mapping[str, float | None]:
        """The difference of each number in its standard errors, by its key; None without an error."""
        return {record.key: value / error if error else None for record, value, error in self.numbers()}

    @property
    def p(self) -> Mapping[str, float | None]:
        """The two-sided p of each number, by its key, if there were no difference; None without an error."""
        return {record.key: normal_p(value, error) for record, value, error in self.numbers()}

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers with their z and p, as JSON has them; what is not finite is None."""
        plain: dict[str, Any] = to_plain(vars(self) | {"z": self.z, "p": self.p})
        return plain

    def __str__(self) -> str:
        """Return the main differences line by line, each with its error, z and p."""
        return "\n".join([self.heading, *self.lines()])

    def lines(self, adjusted_p: Mapping[str, float | None] | None = None) -> list[str]:
        """Return the lines of the main differences, with the p adjusted for several if it is given."""
        z, p = self.z, self.p
        rows = [
            (record.label, with_error(value, error), _remark(record.key, z, p, adjusted_p))
            for record, value, error in self.main_numbers()
        ]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]


def difference(
    a: Results,
    b: Results,
    *,
    paired: bool | None = None,
    joint: Joint | None = None,
    cosines: Joint | None = None,
) -> Difference:
    """Subtract the second measurement from the first, as `a - b` does.

    Errors are computed item by item where both are known to be of the same items in the same order: then what
    the items have in common leaves the error, which is much smaller.

    Args:
        a: a measurement.
        b: the measurement to subtract.
        paired: True to insist that both are of the same items in the same order; False for errors of two
            independent samples; None to compute item by item where the order of items, `Results.items`, is
            known and the same. Other groups or ids make other units, whatever is said.
        joint: the potentials of the pairs of items in both, as `compare` sums them; without them a paired
            error of uniformity is too large near the optimum.
        cosines: the same for cosines, and the mean cosine near 0.

    Raises:
        ValueError: the measurements have different t, or both have an alignment and different alpha, or
            `paired` is True and the errors cannot be computed item by item.
    """
    if a.uniform.t != b.uniform.t:
        raise ValueError(
            f"both must be measured at one t, got {a.uniform.t:g} and {b.uniform.t:g}; measure one again."
        )
    if a.align and b.align and a.align.alpha != b.align.alpha:
        raise ValueError(
            f"both must have one alpha, got {a.align.alpha:g} and {b.align.alpha:g}; measure one again."
        )
    obstacle = _obstacle(a, b)
    if paired and obstacle is not None:
        raise ValueError(f"{a.name} and {b.name} cannot be compared item by item: {obstacle}.")
    is_paired, pairing = _decision(a, b, paired, obstacle)
    found: dict[str, float | None] = {}
    for record in quantities.shown_by("difference"):
        values = record.value(a), record.value(b)
        if None in values or not (record.applies(a) and record.applies(b)):
            continue
        name = _field(record)
        found[name] = values[0] - values[1]
        errors = record.error(a), record.error(b)
        found[f"{name}_stderr"] = (
            None if None in errors else math.hypot(*(e for e in errors if e is not None))
        )
        if is_paired:
            found[f"{name}_stderr"] = _paired_error(record, a, b, (joint, cosines))
    known = {part.name for part in fields(Difference)}
    return Difference(
        names=(a.name, b.name),
        paired=is_paired,
        pairing=pairing,
        align=found.pop("align", None),
        align_stderr=found.pop("align_stderr", None),
        uniform=a.uniform.value - b.uniform.value,
        uniform_stderr=found.pop("uniform_stderr"),
        **{name: value for name, value in found.items() if name in known and name != "uniform"},
    )


def _remark(
    key: str,
    z: Mapping[str, float | None],
    p: Mapping[str, float | None],
    adjusted_p: Mapping[str, float | None] | None,
) -> str:
    """Return z and p of a difference in words, as far as they are known."""
    parts = []
    if (deviations := z.get(key)) is not None:
        parts.append(f"z = {deviations:.2f}" if abs(deviations) < 100 else f"z = {deviations:.0f}")
    if (chance := p.get(key)) is not None:
        parts.append(text_of_p(chance))
    if adjusted_p is not None and (of_family := adjusted_p.get(key)) is not None:
        parts.append(f"adjusted {text_of_p(of_family)}")
    return ", ".join(parts)


def _field(record: Quantity) -> str:
    """Return the name of a number in a `Difference`, the last part of its key."""
    *path, name = record.key.split(".")
    return f"backward_{name}" if "backward" in path else name


def _decision(a: Results, b: Results, paired: bool | None, obstacle: str | None) -> tuple[bool, str]:
    """Return whether errors are computed item by item, and the reason in words."""
    if paired:
        return True, "as was said"
    if paired is False:
        return False, "as was said"
    if a.items.order is None or b.items.order is None:
        return False, "the order of the items is not known"
    if (a.items.order, a.items.of) != (b.items.order, b.items.of):
        return False, "the items differ"
    if obstacle is not None:
        return False, obstacle
    return True, f"the same {a.items.of}"


def _obstacle(a: Results, b: Results) -> str | None:
    """Return the reason why errors cannot be computed item by item, None if they can."""
    for each in (a, b):
        if each.details is None:
            return f"the numbers of each item of {each.name} are not at hand; keep them with --rows-out"
        if each.uniform.approximation_stderr:
            return f"{each.name} was measured from anchors; measure it exactly"
    if a.n != b.n:
        return f"they have {a.n:,} and {counted(b.n, 'item')}"
    if a.items.groups != b.items.groups:
        return "their rows are grouped differently; measure both with the same groups and ids"
    return None


def _paired_error(
    record: Quantity, a: Results, b: Results, joints: tuple[Joint | None, Joint | None]
) -> float | None:
    """Return the error of a difference of one number from the influences of the same units on both.

    The pairs of units count by the joint moments of potentials or of cosines, if they are known.
    """
    influences = _influence_on(record, a), _influence_on(record, b)
    if influences[0] is None or influences[1] is None or not influences[0].matches(influences[1]):
        return None
    found = influences[0] - influences[1]
    if record.is_share:
        return share_difference_stderr(found)
    of_potentials, of_cosines = joints
    slopes = _slope(record, a), _slope(record, b)
    if of_cosines is not None and record.key == "mean_cosine":
        found = found.with_kernel(of_cosines.excess())
    elif of_potentials is not None and slopes[0] is not None and slopes[1] is not None:
        found = found.with_kernel(of_potentials.excess(slopes[0], slopes[1]))
    return stderr(found)


def _influence_on(record: Quantity, measurement: Results) -> Influence | None:
    """Return the influences on a number; for what follows from uniformity, multiples of those on it."""
    assert measurement.details is not None
    influences = measurement.details.influences
    slope = _slope(record, measurement)
    if slope is None:
        return influences.get(record.key)
    of_uniform = influences.get("uniform")
    return None if of_uniform is None or math.isinf(slope) else of_uniform * slope


def _slope(record: Quantity, measurement: Results) -> float | None:
    """Return the change of a number with uniformity; None if it does not follow from uniformity alone."""
    if record.key in ("uniform", "uniform.gap"):
        return 1.0
    if record.key == "uniform.equivalent_dim":
        return sphere.equivalent_dim_slope(measurement.uniform.value, measurement.uniform.t)
    return None
