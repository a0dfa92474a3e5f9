"""Measure an embedding: alignment, uniformity, and what explains them."""

from __future__ import annotations

import functools
import math
import operator
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor

import align_uniform
from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform import geometry
from align_uniform._progress import progress_bar
from align_uniform.measuring import uniformity
from align_uniform.measuring.difference import standard_error
from align_uniform.measuring.measurement import (
    Alignment,
    CrowdedRow,
    Details,
    Duplicates,
    Measurement,
    Norms,
    PairDistance,
    Tolerance,
    Towers,
    Uniformity,
)
from align_uniform.measuring.populations import Population
from align_uniform.measuring.row_sums import block_slices, cross_log_mean, nearest_rows, take
from align_uniform.measuring.subject import Subject, codes_of, subject
from align_uniform.measuring.uniformity import Potentials

UNIT_TOLERANCE = 0.01
"""Norms this close to 1 pass for unit rows; half precision is off by a tenth of that."""

SAMPLE_ROWS = 448
"""Rows whose pairs, some 100,000, make the histogram of cosines."""


def measure(
    features: Any,
    positives: Any = None,
    *,
    pairs: Any = None,
    scores: Sequence[float] | None = None,
    threshold: float | None = None,
    strict: bool = True,
    ids: Any = None,
    labels: Any = None,
    groups: Any = None,
    t: float | Sequence[float] = 2,
    alpha: float = 2,
    normalize: bool = True,
    method: str = "exact",
    anchors: int = 2000,
    seed: int = 0,
    top: int = 10,
    device: str | torch.device | None = None,
    name: str | None = None,
    progress: bool = False,
    interruptible: bool = False,
) -> Measurement:
    r"""Alignment and uniformity of an embedding, with their errors, and the measures that explain them.

    .. math:: L_{align}(\alpha) = E \lVert x - y \rVert^{\alpha}, \quad
              L_{uniform}(t) = \log E_{i \neq j}\, e^{-t \lVert x_i - x_j \rVert^2}

    over positive pairs (x, y), and over distinct pairs of rows. What is measured depends on what is passed:

    ===================================  =====================================================================
    `measure(x)`                         uniformity alone
    `measure(x, y)`                      two views: row i of x and row i of y are a pair; uniformity of each,
                                         averaged
    `measure(views)`, [V, N, m]          the same for V views, over all pairs of views
    `measure(x, labels=classes)`         alignment within classes, in closed form, and tolerance
    `measure(x, pairs=[[0, 5], ...])`    pairs of rows of one population; with `scores` those above
                                         `threshold`
    `measure(users, items, pairs=...)`   two towers: uniformity of each, between them, and the gap
    `measure(x, y, ids=(x_ids, y_ids))`  the same for rows in order, where an entity may come more than once
    ===================================  =====================================================================

    Arrays are read in blocks, so that they may be larger than memory; under torchrun each process passes the
    same ones, sums its share of the pairs, and gets the result of all.

    Args:
        features: [N, m] or [V, N, m]: a tensor, a numpy array, `files.Rows`, or the path of a file
            (`files.open_rows`).
        positives: [N, m]: a second view; or [M, m]: a second tower, with `pairs`.
        pairs: row numbers, [P, 2] or two sequences: row `pairs[k][0]` of features and row `pairs[k][1]` of
            positives, or of features where there are none.
        scores: [P]: pairs above the threshold are positive.
        threshold: for the scores; STS-B is read with 4.
        strict: whether a score must lie above the threshold, or may equal it.
        ids: [N]: the entity of each row of features; with `positives`, a tuple of two. An entity's first row
            stands for it in uniformity.
        labels: [N]: the class of each row of features: anything hashable, or the path of a file
            (`files.read_column`).
        groups: [N]: items that depend on each other (translations, frames, crops) have one group; the errors
            are those of independent groups.
        t: inverse squared width of the Gaussian, above 0; several are measured in one sweep, the first comes
            first.
        alpha: exponent of the distance, above 0.
        normalize: divide rows by their norm. The losses do not; what is measured is directions unless you say
            otherwise.
        method: "exact", over all N (N - 1) / 2 pairs, or "anchors": over the pairs of `anchors` random rows
            with all others, with a regression on exact moments; its error is `approximation_stderr`.
        anchors: their number; as many as there are rows is exact.
        seed: of the anchors, and of the cosines in `details`.
        top: how many of the worst pairs, and of the most crowded rows, to name.
        device: where to compute; by default where features are, or the CPU.
        name: of the embedding, for tables.
        progress: draw a bar on stderr.
        interruptible: Ctrl-C ends an exact sum early, and uniformity is measured from the anchors instead.

    Returns:
        A `Measurement`: print it, subtract another, keep it as JSON.

    Raises:
        ValueError: an argument is not as above, or a row is NaN, infinite, or zero; the message names the
            rows.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> x = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
        >>> result = measure(x, x + 0.1 * torch.randn(500, 16, generator=torch.Generator().manual_seed(1)))
        >>> print(f"{result.align.value:.3f} {result.uniform.value:.2f} {result.uniform.optimum:.2f}")
        0.011 -3.51 -3.51

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242; the errors are described in `stderr` and
        `approximation_stderr`.
    """
    started = time.perf_counter()
    ts = tuple(checks.check_positive("t", value) for value in (t if isinstance(t, Sequence) else [t]))
    if not ts:
        raise ValueError("t must be at least one number, got none; the paper's are 2 and 3.")
    for number, least, what in ((anchors, 10, "anchors"), (top, 0, "top")):
        if number < least:
            raise ValueError(f"{what} must be at least {least}, got {number}.")
    alpha = checks.check_positive("alpha", alpha)
    checks.check_choice("method", method, ("exact", "anchors"))
    asked = subject(
        features, positives,
        pairs=pairs, scores=scores, threshold=threshold, strict=strict, ids=ids,
        normalize=normalize, device=device, name=name,
    )  # fmt: skip
    count = len(asked.rows)
    classes = None if labels is None else codes_of("labels", labels, count)
    items = None if groups is None else codes_of("groups", groups, count)
    if items is not None and (asked.are_towers or method != "exact" or len(asked.populations[0]) != count):
        raise ValueError("groups are of the rows of one exact population; leave out ids, towers and anchors.")

    found = _potentials(asked, ts, method, anchors, seed, progress, interruptible)
    uniforms = tuple(_uniformity_at(number, ts[number], found, asked, items) for number in range(len(ts)))
    distances = [pairs_of.distances() for pairs_of in asked.positives]
    tolerance, class_sums = _tolerance(asked, classes)
    row_means = tuple(part[0].relative * math.exp(part[0].log_mean) for part in found.potentials)
    moments = [population.survey.moments for population in asked.populations]
    item_align = _item_align(asked, distances, alpha, items)
    return Measurement(
        name=asked.name,
        n=len(asked.populations[0]),
        dim=asked.rows.shape[1],
        align=_alignment(asked, distances, item_align, alpha, items)
        or _class_alignment(class_sums, asked, alpha, tolerance),
        uniform=uniforms[0],
        uniforms=uniforms,
        rankme=_mean(map(geometry.rankme, moments)),
        w2=_mean(map(geometry.w2_uniformity, moments)),
        w2_floor=_mean(geometry.w2_floor(part.count, part.dim) for part in moments),
        participation_ratio=_mean(map(geometry.participation_ratio, moments)),
        mean_cosine=_mean(map(geometry.mean_cosine, moments)),
        tolerance=tolerance,
        towers=_towers(asked, found),
        duplicates=_duplicates(asked, found),
        norms=_norms(asked),
        worst_pairs=_worst_pairs(asked, distances, top),
        crowded=_crowded(asked, found, row_means, top),
        warnings=_warnings(asked, found, uniforms),
        provenance=_provenance(asked, found, seed, seconds=time.perf_counter() - started),
        details=Details(
            distances=torch.cat(distances) if distances else None,
            align=item_align,
            uniform=None if asked.are_towers else _item_uniform(0, found, items),
            row_means=row_means,
            cosines=_cosines(asked.populations[0], seed),
            spectrum=geometry.spectrum(moments[0]),
        ),
    )


# ------------------------------------------------------------------------------------------------- uniformity


@dataclass(frozen=True)
class _Found:
    """The sums over pairs."""

    method: str
    potentials: tuple[tuple[Potentials, ...], ...]
    """of each population, at each t"""
    near: tuple[Tensor, ...]
    """of each population: which of the rows that were summed have a near duplicate"""
    anchors: tuple[Tensor | None, ...]
    """of each population: the rows that were summed, None for all"""
    cross: float | None
    """of two towers"""


def _potentials(
    asked: Subject,
    ts: tuple[float, ...],
    method: str,
    anchors: int,
    seed: int,
    shown: bool,
    interruptible: bool,
) -> _Found:
    """Sum over pairs by the method that was chosen."""
    if method == "exact":
        try:
            return _sum_pairs(asked, ts, None, seed, shown)
        except KeyboardInterrupt:
            if not interruptible:
                raise
    found = _sum_pairs(asked, ts, anchors, seed, shown)
    return (
        found
        if method == "anchors"
        else replace(found, method=f"{found.method}, the exact sum was interrupted")
    )


def _sum_pairs(asked: Subject, ts: tuple[float, ...], anchors: int | None, seed: int, shown: bool) -> _Found:
    """Sum over all pairs, or over those of so many anchors."""
    chosen = [_sample(len(population), anchors, seed) for population in asked.populations]
    work = sum(
        len(population) * (len(population) - 1) // 2 if rows is None else len(population) * len(rows)
        for population, rows in zip(asked.populations, chosen, strict=True)
    )
    towers = asked.populations[0], asked.populations[-1]
    if asked.are_towers:
        work += len(asked.populations[0] if chosen[0] is None else chosen[0]) * len(asked.populations[1])
    found, cross = [], None
    with progress_bar("pairs", work // ranks.world_size(), shown=shown) as progress:
        for population, rows in zip(asked.populations, chosen, strict=True):
            if rows is None:
                found.append(uniformity.exact_potentials(population, ts, progress))
            else:
                found.append(uniformity.anchor_potentials(population, rows, ts, progress))
        if asked.are_towers:
            cross = cross_log_mean(*towers, ts[0], progress, rows=chosen[0])
    potentials, near = zip(*found, strict=True)
    sampled = [len(rows) for rows in chosen if rows is not None]
    return _Found(f"{max(sampled):,} anchors" if sampled else "exact", potentials, near, tuple(chosen), cross)


def _sample(count: int, size: int | None, seed: int) -> Tensor | None:
    """So many row numbers at random, rising; None if that is all of them."""
    if size is None or size >= count:
        return None
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size].sort().values


def _uniformity_at(number: int, t: float, found: _Found, asked: Subject, items: Tensor | None) -> Uniformity:
    """Uniformity at one of the t, averaged over the populations."""
    potentials = [part[number] for part in found.potentials]
    count = len(asked.populations[0])
    if asked.are_towers:  # two independent samples
        errors = [
            uniformity.stderr(part.relative, part.square - 1, len(population))
            for part, population in zip(potentials, asked.populations, strict=True)
        ]
        error = None if None in errors else math.hypot(*(e for e in errors if e is not None)) / 2
    else:  # views of the same items: average what belongs to one item first. That pairs of different views
        # go together would add to the excess; without it the error is a little wide.
        excess = sum(part.square - 1 for part in potentials) / len(potentials) ** 2
        relative = _item_uniform(number, found, items)
        size = 1 if items is None else count / len(relative)
        error = uniformity.stderr(relative, excess / size**2, count if items is None else len(relative))
    return uniformity.uniformity(t, potentials, count, asked.rows.shape[1], error)


def _item_uniform(number: int, found: _Found, items: Tensor | None) -> Tensor:
    """[items]: the mean potential of a row over the mean of all, averaged over views, and over the rows of a
    group.
    """
    return uniformity.of_items(
        torch.stack([part[number].relative for part in found.potentials]).mean(0), items
    )


def _towers(asked: Subject, found: _Found) -> Towers | None:
    if found.cross is None:
        return None
    x, y = asked.populations
    return Towers((len(x), len(y)), geometry.modality_gap(x.survey.moments, y.survey.moments), found.cross)


# -------------------------------------------------------------------------------------------------- alignment


def _item_align(asked: Subject, distances: list[Tensor], alpha: float, items: Tensor | None) -> Tensor | None:
    """[items]: the mean of ||x - y||^alpha over the pairs of an item."""
    if not distances:
        return None
    of_rows = torch.stack(distances).pow(alpha).mean(0)
    rows = asked.positives[0].x_rows
    return uniformity.of_items(
        of_rows, items if items is None or rows is None else codes_of("groups", items[rows], len(rows))
    )


def _alignment(
    asked: Subject, distances: list[Tensor], item_align: Tensor | None, alpha: float, items: Tensor | None
) -> Alignment | None:
    item_squares = _item_align(asked, distances, 2, items)
    if item_align is None or item_squares is None:
        return None
    squares = [float(part.square().mean()) for part in distances]
    others = [pairs.other_mean_square(part) for pairs, part in zip(asked.positives, distances, strict=True)]
    chance = None if None in others else _mean(other for other in others if other is not None)
    return Alignment(
        value=float(item_align.mean()),
        stderr=standard_error(item_align) if len(item_align) > 1 else None,
        relative=_mean(squares) / chance if chance else None,
        relative_stderr=standard_error(item_squares) / chance if chance and len(item_squares) > 1 else None,
        alpha=alpha,
        pairs=sum(map(len, distances)),
        of=asked.of,
    )


def _tolerance(asked: Subject, classes: Tensor | None) -> tuple[Tolerance | None, geometry.ClassSums | None]:
    """The mean cosine within classes, in two passes over the rows."""
    if classes is None:
        return None, None
    blocks = block_slices(asked.rows)
    parts = (geometry.ClassSums.of(asked.rows[part].cpu(), classes[part]) for part in blocks)
    sums = functools.reduce(operator.add, parts)
    shares = [geometry.within_class_products(asked.rows[part].cpu(), classes[part], sums) for part in blocks]
    return (
        Tolerance(
            value=geometry.tolerance(sums),
            stderr=geometry.tolerance_stderr(torch.cat(shares), classes, sums),
            classes=len(sums.counts) - sums.singletons,
            skipped=sums.singletons,
        ),
        sums,
    )


def _class_alignment(
    sums: geometry.ClassSums | None, asked: Subject, alpha: float, tolerance: Tolerance | None
) -> Alignment | None:
    """The mean squared distance within classes, which their sums give; it is alignment where no pair is
    closer than a class.
    """
    if sums is None or tolerance is None or alpha != 2:
        return None
    moments, pairs = asked.rows.survey.moments, sums.pairs / 2
    value = geometry.class_alignment(sums)
    others = moments.count * (moments.count - 1) / 2 - pairs
    total = geometry.cross_mean_squared_distance(moments, moments) * moments.count**2 / 2
    # Of unit rows a squared distance is 2 less two cosines, and so is its error.
    error = 2 * tolerance.stderr if asked.rows.normalize and tolerance.stderr is not None else None
    chance = (total - value * pairs) / others if others >= 1 else 0.0
    return Alignment(
        value=value,
        stderr=error,
        relative=value / chance if chance else None,
        relative_stderr=error / chance if chance and error is not None else None,
        alpha=alpha,
        pairs=int(pairs),
        of="same class",
    )


# ------------------------------------------------------------------------------------------ rows and warnings


def _worst_pairs(asked: Subject, distances: list[Tensor], top: int) -> tuple[PairDistance, ...]:
    if not distances:
        return ()
    flat = torch.cat(distances)
    worst = flat.topk(min(top, len(flat)))
    found = []
    for distance, position in zip(worst.values.tolist(), worst.indices.tolist(), strict=True):
        pairs, pair = divmod(position, len(distances[0]))
        x, y = asked.positives[pairs].row_numbers(pair)
        found.append(PairDistance(x, y, distance))
    return tuple(found)


def _crowded(
    asked: Subject, found: _Found, row_means: tuple[Tensor, ...], top: int
) -> tuple[CrowdedRow, ...]:
    """The most crowded rows of all populations, with their nearest neighbours."""
    rows: list[CrowdedRow] = []
    if top == 0:
        return ()
    for view, (population, means, anchors) in enumerate(
        zip(asked.populations, row_means, found.anchors, strict=True)
    ):
        most = means.topk(min(top, len(means)))
        indices = most.indices if anchors is None else anchors[most.indices]
        neighbours, distances = nearest_rows(population, indices)
        numbers = (population.number_of(part).tolist() for part in (indices, neighbours))
        rows += [
            CrowdedRow(view, row, mean, neighbour, distance)
            for row, mean, neighbour, distance in zip(
                next(numbers), most.values.tolist(), next(numbers), distances.tolist(), strict=True
            )
        ]
    return tuple(sorted(rows, key=lambda row: row.mean_potential, reverse=True)[:top])


def _duplicates(asked: Subject, found: _Found) -> Duplicates:
    near = sum(
        round(float(flags.sum()) * len(population) / len(flags))
        for flags, population in zip(found.near, asked.populations, strict=True)
    )
    return Duplicates(exact=sum(population.survey.duplicates for population in asked.populations), near=near)


def _norms(asked: Subject) -> Norms:
    surveys = [population.survey for population in asked.populations]
    return Norms(
        smallest=min(survey.smallest for survey in surveys),
        mean=sum(survey.norms for survey in surveys) / sum(survey.moments.count for survey in surveys),
        largest=max(survey.largest for survey in surveys),
        normalized=asked.rows.normalize,
    )


def _cosines(population: Population, seed: int) -> Tensor:
    """The cosines of all pairs of a few random rows."""
    sample = _sample(len(population), SAMPLE_ROWS, seed)
    rows = population[slice(0, len(population))] if sample is None else take(population, sample)
    rows = torch.nn.functional.normalize(rows.double().cpu(), dim=1)
    above = torch.triu_indices(len(rows), len(rows), offset=1)
    return (rows @ rows.T)[above[0], above[1]]


def _warnings(asked: Subject, found: _Found, uniforms: tuple[Uniformity, ...]) -> tuple[str, ...]:
    norms, warnings = _norms(asked), []
    if norms.smallest < 1 - UNIT_TOLERANCE or norms.largest > 1 + UNIT_TOLERANCE:
        consequence = (
            "they were divided by them, and what is measured is their directions"
            if norms.normalized
            else "they were measured as they are, and the optimum, of unit rows, does not apply"
        )
        warnings.append(f"rows have norms from {norms.smallest:.4g} to {norms.largest:.4g}; {consequence}.")
    for number, uniform in enumerate(uniforms):
        for part, population in zip(found.potentials, asked.populations, strict=True):
            effective = len(population) * (len(population) - 1) / 2 / part[number].square
            if effective < uniformity.FEW_PAIRS:
                warnings.append(
                    f"at t = {uniform.t:g} the mean of {population.name} rests on effectively "
                    f"{effective:.3g} pairs; its error cannot be relied on. Measure at a smaller t, or more "
                    "rows."
                )
    return tuple(warnings)


def _provenance(asked: Subject, found: _Found, seed: int, *, seconds: float) -> dict[str, Any]:
    return {
        "align_uniform": align_uniform.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "method": found.method,
        "seed": seed,
        "device": str(asked.rows.device),
        "processes": ranks.world_size(),
        "sources": [
            {
                "name": getattr(part.source, "name", None) or part.name,
                "shape": list(part.source.shape),
                "dtype": part.dtype_name,
            }
            for part in asked.everyone
        ],
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
