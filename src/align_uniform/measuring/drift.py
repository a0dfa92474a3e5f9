"""Compare two embeddings as two samples of rows: has the embedding moved?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform._progress import progress_bar
from align_uniform._version import __version__
from align_uniform.measuring.difference import Difference, difference
from align_uniform.measuring.discrepancy import Discrepancy, Side, discrepancy
from align_uniform.measuring.drift_result import Drift
from align_uniform.measuring.influence import are_few, of_mean, stderr
from align_uniform.measuring.joint import Joint
from align_uniform.measuring.measure import measure
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.populations import Population, take
from align_uniform.measuring.row_sums import anchor_row_sums
from align_uniform.measuring.shapes import shape_change
from align_uniform.measuring.significance import holm, normal_p
from align_uniform.measuring.sweep import random_rows
from align_uniform.measuring.two_samples import PermutationTest, TwoSamples
from align_uniform.measuring.two_sides import Items, TwoSides, two_sides

SAME_ITEMS = 5.0
"""The standard errors by which rows of one number must be closer than others to look like one item."""

NORM_CHANGE = 0.05
"""The relative change of the mean norm that is worth a warning, since normalising hides it."""


@ranks.alone_unless_distributed
def drift(
    a: Any,
    b: Any,
    *,
    positives: Any = None,
    ids: Any = None,
    paired: bool | None = None,
    rotation_invariant: bool = False,
    t: float = 2,
    alpha: float = 2,
    normalize: bool = True,
    method: str = "exact",
    anchors: int = 2000,
    test_rows: int = 2000,
    permutations: int = 199,
    significance: float = 0.05,
    tolerance: float = 0,
    seed: int = 0,
    top: int = 5,
    texts: Any = None,
    device: str | torch.device | None = None,
    names: tuple[str, str] | None = None,
    progress: bool = False,
    interruptible: bool = False,
    distributed: bool = False,
) -> Drift:
    r"""Test whether two samples of features come from one distribution, and say what changed.

    .. math:: MMD^2 = E_{i \neq j}\, G(a_i, a_j) + E_{i \neq j}\, G(b_i, b_j) - 2 E\, G(a_i, b_j), \qquad
              G(x, y) = e^{-t \lVert x - y \rVert^2}

    is the squared maximum mean discrepancy, without bias: 0 on average if nothing moved. A permutation test
    exchanges rows between the sides and counts how often the squared MMD is at least as large. Where row i of
    a and row i of b are one item, the sides of items are exchanged, and an item's own potential does not
    count; else all rows are relabelled.

    A retrained encoder has other axes than the one before, and the squared MMD is then large whether or not
    anything of interest changed. Where dimensions differ, or `rotation_invariant` is set, only numbers that
    no rotation changes are compared, and p is that of the differences of uniformity and alignment.

    Args:
        a: the rows before, [N, m]: a tensor, a numpy array, `files.Rows`, or the path of a file.
        b: the rows after, [M, m].
        positives: a tuple of two: a second view of a and of b, for alignment.
        ids: a tuple of two: the item of each row of a and of b. Equal ones in the same order make the rows
            pairs.
        paired: whether row i of a and row i of b are one item; by default where the ids say so.
        rotation_invariant: compare only what no rotation changes, as for two encoders trained apart.
        t: inverse squared width of the Gaussian, above 0.
        alpha: exponent of alignment, above 0.
        normalize: divide rows by their norm.
        method: "exact", over all pairs, or "anchors": the squared MMD is estimated from `anchors` random rows
            of each side and all rows of both, and its error is `approximation_stderr`.
        anchors: their number.
        test_rows: the largest number of rows of each side that the test exchanges, drawn at random.
        permutations: the number of random exchanges.
        significance: the largest p that counts as moved, above 0 and below 1.
        tolerance: the largest relative squared MMD that does not count as moved, however significant it is.
        seed: of the exchanges, the anchors and the rows of the test.
        top: how many of the rows that are most typical of either side to name.
        texts: a tuple of two: a text for each row of a and of b, to name rows by; by default their ids.
        device: where to sum over pairs; by default where a is, or the CPU.
        names: of both sides; by default those of their files, or "a" and "b".
        progress: draw a bar on stderr.
        interruptible: Ctrl-C ends an exact sum early, and the anchors are taken instead.
        distributed: share the work with all processes of the process group, all of which must then call
            `drift` with the same arguments. By default a process works on its own.

    Returns:
        A `Drift`: print it, ask whether it `moved`, keep it as JSON.

    Raises:
        ValueError: an argument is not as above, or a row is NaN, infinite, or zero; the message names the
            rows.

    Example:
        >>> import torch
        >>> from align_uniform import drift
        >>> x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
        >>> found = drift(x, x + 0.1, paired=True)
        >>> found.moved, found.p
        (True, 0.005)

    Note:
        The test holds its level for independent rows; rows that depend on each other within a side, such as
        crops of one image, are averaged first. Paired tests see differences that are far too small to matter:
        `tolerance` says what is. With `paired=False` for the same items in the same order the test sees next
        to nothing, and the result warns.

    Reference:
        Gretton et al., "A kernel two-sample test", JMLR 2012.
    """
    plan = Plan(
        t=checks.check_positive("t", t), alpha=alpha, method=method, anchors=anchors, test_rows=test_rows,
        permutations=permutations, significance=significance, tolerance=tolerance, seed=seed, top=top,
        progress=progress, interruptible=interruptible,
    )  # fmt: skip
    asked = two_sides(
        a, b, Items(positives, ids, texts, paired), normalize=normalize, device=device, names=names,
        rotation_invariant=rotation_invariant,
    )  # fmt: skip
    if asked.reason is not None and tolerance:
        raise ValueError(f"tolerance is for the squared MMD, but {asked.reason}; leave it out.")
    exchanged = _exchanged(asked, plan) if asked.reason is None else None
    summed = _summed(asked, plan, exchanged)
    change = _difference(asked, summed, exchanged)
    return Drift(
        names=(asked.sides[0].name, asked.sides[1].name),
        paired=asked.paired,
        p=_p_of_change(change) if exchanged is None else exchanged.test.p,
        significance=significance,
        tolerance=tolerance,
        discrepancy=summed.discrepancy,
        mean_share=None if exchanged is None else exchanged.mean_share,
        test=None if exchanged is None else exchanged.test,
        shape=shape_change(*asked.sides, seed),
        measurements=summed.measurements,
        difference=change,
        rotation_invariant=asked.reason,
        warnings=tuple(_warnings(asked, summed, plan)),
        provenance={
            "align_uniform": __version__,
            "torch": torch.__version__,
            "method": summed.method,
            "seed": seed,
        },
    )


@dataclass(frozen=True)
class Plan:
    """The settings of a comparison."""

    t: float
    """The inverse squared width of the Gaussian."""
    alpha: float
    """The exponent of alignment."""
    method: str
    """The rows whose witness makes the squared MMD: "exact" for all, "anchors" for some of them."""
    anchors: int
    """The number of anchors of each side."""
    test_rows: int
    """The largest number of rows of each side that the test exchanges."""
    permutations: int
    """The number of random exchanges."""
    significance: float
    """The largest p that counts as moved."""
    tolerance: float
    """The largest relative squared MMD that does not."""
    seed: int
    """The seed of all random choices."""
    top: int
    """The number of typical rows of either side."""
    progress: bool
    """Whether to draw a bar on stderr."""
    interruptible: bool
    """Whether Ctrl-C ends an exact sum early, in favour of the anchors."""

    def __post_init__(self) -> None:
        checks.check_choice("method", self.method, ("exact", "anchors"))
        if not 0 < self.significance < 1:
            raise ValueError(
                f"significance must be a number above 0 and below 1, got {self.significance}; 0.05 is usual."
            )
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, got {self.tolerance}; 0 tolerates nothing.")
        least = math.ceil(1 / self.significance - 1 - 1e-9)
        for name, number, smallest, why in (
            ("permutations", self.permutations, least, f", or no p is as small as {self.significance:g}"),
            ("anchors", self.anchors, 10, ""),
            ("test_rows", self.test_rows, 20, ""),
            ("top", self.top, 0, ""),
        ):
            if number < smallest:
                raise ValueError(f"{name} must be at least {smallest}{why}, got {number}.")


# --------------------------------------------------------------------------------------------------- the test


@dataclass(frozen=True)
class Exchanged:
    """The numbers that come from pairs of a sample of the rows."""

    test: PermutationTest
    """The permutation test."""
    mean_share: float | None
    """The share of the mean; None if the test found nothing."""
    degenerate: float
    """The part of the variance of the squared MMD of all rows that is not linear in the rows."""
    joint: Joint | None
    """The potentials of pairs of items in both; None where rows are not paired."""


def _exchanged(asked: TwoSides, plan: Plan) -> Exchanged:
    """Exchange the rows of a sample: the same items of both sides where rows are paired."""
    a, b = (
        take(side, torch.arange(len(side), device="cpu") if rows is None else rows).cpu().double()
        for side, rows in zip(asked.sides, _chosen(asked, plan.test_rows, plan.seed), strict=True)
    )
    samples = TwoSamples(a, b, plan.t, paired=asked.paired)
    with progress_bar("permutations", plan.permutations, shown=plan.progress) as bar:
        test = samples.test(plan.permutations, plan.seed, bar)
    share = samples.mean_share() if test.p <= plan.significance else None
    return Exchanged(test, share, samples.degenerate_variance(asked.counts), samples.joint())


def _chosen(asked: TwoSides, size: int | None, seed: int) -> tuple[Tensor | None, Tensor | None]:
    """Return random row numbers of both sides, the same where rows are paired; None for all of a side."""
    n, k = asked.counts
    return random_rows(n, size, seed), random_rows(k, size, seed if asked.paired else seed + 1)


# --------------------------------------------------------------------------------------------------- the sums


@dataclass(frozen=True)
class Summed:
    """The numbers that come from all pairs, or from those of anchors."""

    measurements: tuple[Measurement, Measurement]
    """The measurements of both sides."""
    discrepancy: Discrepancy | None
    """The squared MMD; None if rows are not compared."""
    method: str
    """The method, in words."""


def _summed(asked: TwoSides, plan: Plan, exchanged: Exchanged | None) -> Summed:
    """Sum over pairs by the planned method; after Ctrl-C by anchors."""
    try:
        return _summed_by(asked, plan, exchanged)
    except KeyboardInterrupt:
        if not plan.interruptible or plan.method == "anchors":
            raise
    summed = _summed_by(asked, replace(plan, method="anchors"), exchanged)
    return replace(summed, method=f"{summed.method}, the exact sum was interrupted")


def _summed_by(asked: TwoSides, plan: Plan, exchanged: Exchanged | None) -> Summed:
    measured = _measure(asked, plan, 0), _measure(asked, plan, 1)
    chosen = _chosen(asked, plan.anchors if plan.method == "anchors" else None, plan.seed)
    counts = [len(rows) for rows in chosen if rows is not None]
    method = counted(max(counts), "anchor") if counts else "exact"
    if exchanged is None:
        return Summed(measured, None, method)
    with progress_bar("pairs of both sides", _work(asked, chosen), shown=plan.progress) as bar:
        a, b = (
            Side(
                population=asked.sides[number],
                own=_own_means(asked.sides[number], measured[number], chosen[number], plan.t, bar),
                anchors=chosen[number],
                texts=None if asked.texts is None else asked.texts[number],
            )
            for number in (0, 1)
        )
        found = discrepancy(
            a, b, plan.t, paired=asked.paired, degenerate=exchanged.degenerate, top=plan.top, progress=bar
        )
    return Summed(measured, found, method)


def _measure(asked: TwoSides, plan: Plan, number: int) -> Measurement:
    """Measure one side."""
    side = asked.sides[number]
    return measure(
        side.source,
        asked.positives[number],
        t=plan.t,
        alpha=plan.alpha,
        normalize=side.normalize,
        method=plan.method,
        anchors=plan.anchors,
        seed=plan.seed,
        top=0,
        device=side.device,
        name=side.name,
        progress=plan.progress,
        distributed=True,  # as `drift` itself is
    )


def _own_means(
    side: Population, measured: Measurement, anchors: Tensor | None, t: float, progress: Callable[[int], None]
) -> Tensor:
    """Return the mean potential of rows with the others of their side; the measurement has it of all rows."""
    if anchors is None:
        assert measured.details is not None
        return measured.details.row_means[0]
    found = anchor_row_sums(side, anchors, [t], progress)
    return found.sums[0] * found.shift.exp() / (len(side) - 1)


def _work(asked: TwoSides, chosen: tuple[Tensor | None, Tensor | None]) -> int:
    """Return the number of potentials of this process that the measurements do not sum."""
    n, k = asked.counts
    a, b = chosen
    if a is None and b is None:
        return n * k // ranks.world_size()
    across = (n if a is None else len(a)) * k + (k if b is None else len(b)) * n
    within = (0 if a is None else len(a) * n) + (0 if b is None else len(b) * k)
    return (across + within) // ranks.world_size()


# ------------------------------------------------------------------------------------------ what follows


def _difference(asked: TwoSides, summed: Summed, exchanged: Exchanged | None) -> Difference:
    """Subtract the old measurement from the new one, item by item where exact rows are the same items."""
    old, new = summed.measurements
    are_exact = not (new.uniform.approximation_stderr or old.uniform.approximation_stderr)
    is_one_view = all(second is None for second in asked.positives)
    joint = exchanged.joint if exchanged is not None and is_one_view else None
    if joint is not None:  # of old and new, where the difference is new less old
        joint = replace(joint, first=joint.second, second=joint.first)
    return difference(new, old, paired=asked.paired and are_exact, joint=joint)


def _p_of_change(change: Difference) -> float:
    """Return the smaller p of the differences of uniformity and alignment, adjusted for there being two."""
    found = [normal_p(change.uniform, change.uniform_stderr)]
    if change.align is not None:
        found.append(normal_p(change.align, change.align_stderr))
    return min(p for p in holm(found) if p is not None)


def _warnings(asked: TwoSides, summed: Summed, plan: Plan) -> Iterator[str]:
    """Yield the reasons to doubt the answer."""
    (a, b), measured = asked.sides, summed.measurements
    for side, each in zip(asked.sides, measured, strict=True):
        for warning in each.warnings:
            yield f"{side.name}: {warning}"
    before, after = (each.norms.mean for each in measured)
    if a.normalize and asked.reason is None and abs(after - before) > NORM_CHANGE * before:
        yield (
            f"the mean norm went from {before:.4g} to {after:.4g}; rows were divided by their norms, so no "
            "other number sees it."
        )
    if (found := summed.discrepancy) is not None:
        units = sum(map(len, found.witness)) // (2 if asked.paired else 1)
        if are_few(found.effective_rows, units):
            yield (
                f"the error of the squared MMD rests on effectively {found.effective_rows:.3g} of "
                f"{counted(units, 'row')}, and may be too small; p does not depend on it."
            )
    if asked.paired or asked.reason is not None:
        return
    if asked.common:
        yield (
            f"{counted(asked.common, 'id')} occur on both sides; the two rows of an item depend on each "
            "other, which makes the test miss changes. Compare the items of both sides alone, in the same "
            "order."
        )
    elif len(a) == len(b) and _look_paired(asked, plan):
        without_ids = " without ids" if asked.are_named else ""
        yield (
            "rows of the same number lie much closer than others, as if they were the same items; the test "
            f"then misses most changes. If they are, say so (paired=True, or --paired){without_ids}."
        )


def _look_paired(asked: TwoSides, plan: Plan) -> bool:
    """Return whether row i of one side is closer to row i of the other than to other rows."""
    rows = random_rows(len(asked.sides[0]), plan.test_rows, plan.seed)
    rows = torch.arange(len(asked.sides[0]), device="cpu") if rows is None else rows
    a, b = (take(side, rows).cpu().double() for side in asked.sides)
    same, other = ((a - each).square().sum(1).mul(-plan.t).exp() for each in (b, b.roll(1, dims=0)))
    excess = same - other
    return float(excess.mean()) > SAME_ITEMS * (stderr(of_mean(excess)) or 0.0)
