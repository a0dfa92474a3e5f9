"""Measure an embedding: alignment, uniformity, and the measures that explain them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, get_args

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform import geometry
from align_uniform._version import __version__
from align_uniform.geometry import Moments
from align_uniform.geometry.classes import pairs_within
from align_uniform.measuring import doubts, heuristics, notable_rows, packed
from align_uniform.measuring.alignment import Closeness, alignment_of_classes, alignment_of_pairs
from align_uniform.measuring.answers import Classes, Retrieval
from align_uniform.measuring.between_towers import between_towers
from align_uniform.measuring.centered import asked_center, can_be_centred, centered, less_means
from align_uniform.measuring.classes import classes
from align_uniform.measuring.columns import codes_of, values_of
from align_uniform.measuring.cosines import mean_cosine
from align_uniform.measuring.influence import Influence, stderr
from align_uniform.measuring.items import items_of
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.notable_rows import NearPairs
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.prefixes import cut_to, prefixes
from align_uniform.measuring.reference_points import Kind
from align_uniform.measuring.results import Details, Towers, Uniformity
from align_uniform.measuring.retrieval import retrieval
from align_uniform.measuring.row_samples import row_samples
from align_uniform.measuring.subject import Subject, subject
from align_uniform.measuring.sweep import Alike, Plan, Sums, sweep, uniformities
from align_uniform.measuring.towers import towers
from align_uniform.measuring.units import units_of


@ranks.alone_unless_distributed
def measure(
    features: Any,
    positives: Any = None,
    *,
    pairs: Any = None,
    scores: Any = None,
    threshold: float | None = None,
    strict: bool = True,
    ids: Any = None,
    labels: Any = None,
    groups: Any = None,
    items: Any = None,
    t: float | Sequence[float] = 2,
    alpha: float = 2,
    normalize: bool = True,
    center: Any = None,
    dims: Sequence[int] = (),
    method: str = "exact",
    anchors: int = 2000,
    seed: int = 0,
    top: int = 10,
    device: str | torch.device | None = None,
    name: str | None = None,
    kind: Kind | None = None,
    progress: bool = False,
    interruptible: bool = False,
    distributed: bool = False,
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

    Arrays are read in blocks, so that they may be larger than memory. With `distributed=True` each process
    passes the same ones, sums its share of the pairs, and gets the result of all.

    Args:
        features: [N, m] or [V, N, m], V at most 16: a tensor, an array, a list of rows, `files.Rows`, or the
            path of a file (`files.open_rows`), or a pattern for several (`files.open_shards`).
        positives: [N, m]: a second view; or [M, m]: a second tower, with `pairs`.
        pairs: row numbers, [P, 2]: row `pairs[k][0]` of features and row `pairs[k][1]` of positives, or of
            features where there are none. Or their two columns: a tuple of two, or a table (a dictionary or a
            data frame) of the columns x and y. With `ids`, pairs may be of ids that are no whole numbers.
        scores: [P]: pairs above the threshold are positive.
        threshold: for the scores; STS-B is read with 4.
        strict: whether a score must lie above the threshold, or may equal it.
        ids: [N]: the entity of each row of features; with `positives`, a tuple of two. An entity's first row
            stands for it in uniformity.
        labels: [N]: the class of each row of features: anything hashable, or the path of a file
            (`files.read_column`).
        groups: [N]: items that depend on each other (translations, frames, crops) have one group; the errors
            are those of independent groups, and pairs of one group do not count in uniformity, nor in the
            mean cosine. Rows that do not come group by group are copied into memory.
        items: [N]: the name of each item, such as an id, a text, or the path of an image. They are not
            measured: two measurements of the same names in the same order are subtracted item by item.
        t: inverse squared width of the Gaussian, above 0; several are measured in one sweep, the first comes
            first.
        alpha: exponent of the distance, above 0; 2 for classes.
        normalize: divide rows by their norm. The losses do not; what is measured is directions unless you say
            otherwise.
        center: True: subtract the mean of each view or tower, and divide rows by their norms again if they
            are normalised. Or a saved mean, [m], or its file, which is subtracted from all rows.
        dims: rising numbers of first features: `Measurement.prefixes` then has the main numbers of the first
            64, 128, ... features of each row, normalised again if rows are (Matryoshka), with their
            differences from all features.
        method: "exact", over all N (N - 1) / 2 pairs, or "anchors": over the pairs of `anchors` random rows
            with all others, with a regression on exact moments; its error is `approximation_stderr`.
        anchors: their number; as many as there are rows is exact.
        seed: of the anchors, and of the cosines in `details`.
        top: how many of the worst pairs, and of the most crowded rows, to name.
        device: where to compute; by default where features are, or the CPU.
        name: of the embedding, for tables.
        kind: "sentences" or "images": what was encoded, by which `Measurement.places` compares with known
            encoders. Nothing that is measured depends on it.
        progress: draw a bar on stderr.
        interruptible: Ctrl-C ends an exact sum early, and uniformity is measured from the anchors instead.
        distributed: share the work with all processes of the process group, all of which must then call
            `measure` with the same arguments. By default a process measures on its own.

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
    choice = PairChoice(pairs, scores, threshold, strict)
    plan = Plan(_widths(t), method, anchors, seed, progress, interruptible)
    alpha = checks.check_positive("alpha", alpha)
    _check_plan(plan, top, kind)
    given = subject(features, positives, choice, ids=ids, normalize=normalize, device=device, name=name)
    asked, of_center = _centred(given, center, normalize)
    labels, of_classes, codes = _classes_and_groups(asked, plan, alpha, labels, groups)
    cut = cut_to(asked, dims)
    order = items_of(given, items, labels, codes)  # whose length is checked before the work begins
    found = _found(asked, plan, alpha, labels, of_classes, codes)
    near = notable_rows.near_pairs(asked, found.sums, seed)
    result = Measurement(
        name=asked.name,
        n=len(asked.populations[0]),
        dim=asked.rows.shape[1],
        align=found.pairs.alignment or found.classes.alignment,
        uniform=found.uniforms[0],
        uniforms=found.uniforms,
        mean_cosine=found.mean_cosine,
        mean_cosine_stderr=stderr(found.influences.get("mean_cosine")),
        tolerance=found.classes.tolerance,
        towers=found.towers,
        retrieval=found.retrieval,
        classes=found.table,
        duplicates=notable_rows.duplicates(asked, near, is_sampled=found.sums.is_sampled),
        norms=notable_rows.norms(given, asked),
        **_of_moments(asked),
        hubs=notable_rows.hubs(asked, seed, top),
        worst_pairs=notable_rows.worst_pairs(asked, found.pairs.distances, top),
        crowded=notable_rows.crowded_rows(asked, found.sums, top),
        warnings=_warnings(asked, found, plan, codes, near),
        items=order,
        details=_details(asked, found, labels, codes, seed),
        provenance=_provenance(given, found.sums, seed, kind) | of_center,
    )
    result = _with_derived(result, asked, cut, plan, alpha, codes, of_classes)
    return _timed(result, time.perf_counter() - started)


# ------------------------------------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class _Found:
    """The numbers that have errors, and the influences that the errors follow from."""

    sums: Sums
    uniforms: tuple[Uniformity, ...]
    pairs: Closeness
    classes: Closeness
    mean_cosine: float
    towers: Towers | None
    retrieval: Retrieval | None
    table: Classes | None
    influences: dict[str, Influence]
    """The influence of each unit on a number, by the key of the number."""


def _found(
    asked: Subject,
    plan: Plan,
    alpha: float,
    labels: Sequence[Hashable] | None,
    codes: Tensor | None,
    groups: Tensor | None,
) -> _Found:
    units = units_of(asked, groups)
    sums = sweep(asked, plan, units)
    alike = Alike.of(asked, units)
    uniforms, of_uniform = uniformities(sums, asked, plan, units, alike)
    of_pairs = alignment_of_pairs(asked, alpha, units)
    of_classes = alignment_of_classes(asked, codes, alpha, units)
    cosine, of_cosine = mean_cosine(asked, units, alike)
    ranked, of_ranks = retrieval(asked, units, groups, plan.seed)
    table, of_neighbours = classes(asked, labels, codes, units, plan.ts[0], plan.seed)
    between, of_towers = towers(asked, sums.cross, units, units.drawn(sums.anchors))
    if between is not None:
        between = replace(between, **between_towers(asked, plan.ts[0], plan.seed))
    means = {"uniform": of_uniform, "mean_cosine": of_cosine}
    influences = {key: each for key, each in means.items() if each is not None}
    influences |= of_classes.influences | of_pairs.influences
    influences |= of_towers | of_ranks | of_neighbours
    return _Found(sums, uniforms, of_pairs, of_classes, cosine, between, ranked, table, influences)


# ---------------------------------------------------------------------------------------------- what is asked


def _widths(t: Any) -> tuple[float, ...]:
    values = t.tolist() if hasattr(t, "tolist") else t
    are_several = isinstance(values, Sequence) and not isinstance(values, str)
    ts = tuple(checks.check_positive("t", value) for value in (values if are_several else [values]))
    if not ts:
        raise ValueError("t must be at least one number, got none; the paper's are 2 and 3.")
    return ts


def _centred(given: Subject, center: Any, normalize: bool) -> tuple[Subject, dict[str, str]]:
    """Return the subject less its means if asked, and what provenance says of it."""
    if center is None or center is False:
        return given, {}
    mean = asked_center(center, given.rows.shape[1])
    of_center = (
        "own means" if mean is None else str(center) if isinstance(center, str | os.PathLike) else "given"
    )
    return less_means(given, mean, normalize=normalize), {"center": of_center}


def _check_plan(plan: Plan, top: int, kind: Any) -> None:
    for number, least, what in ((plan.anchors, 10, "anchors"), (top, 0, "top")):
        if number < least:
            raise ValueError(f"{what} must be at least {least}, got {number}.")
    checks.check_choice("method", plan.method, ("exact", "anchors"))
    checks.check_choice("kind", kind, (None, *get_args(Kind)))


def _check_closed_form(alpha: float, asked: Subject, classes: Tensor | None) -> None:
    if classes is not None and not asked.positives and alpha != 2:
        raise ValueError(
            f"alpha must be 2 for classes, whose alignment is found in closed form, got {alpha:g}; leave it "
            "out."
        )


def _classes_and_groups(
    asked: Subject, plan: Plan, alpha: float, labels: Any, groups: Any
) -> tuple[list[Hashable] | None, Tensor | None, Tensor | None]:
    """Return the labels, and the class and the group of each row as whole numbers from 0.

    What no sum can use is refused here, before any is made.
    """
    count = len(asked.rows)
    names = None if labels is None else values_of("labels", labels)
    of_a_file = isinstance(labels, str | os.PathLike)  # which a message names
    classes = None if names is None else codes_of("labels", labels if of_a_file else names, count)
    _check_closed_form(alpha, asked, classes)
    if classes is not None:
        pairs_within(classes.bincount())
    codes = None if groups is None else codes_of("groups", groups, count)
    is_one_exact_population = (
        not asked.are_towers and plan.method == "exact" and len(asked.populations[0]) == count
    )
    if codes is not None and not is_one_exact_population:
        raise ValueError("groups are of the rows of one exact population; leave out ids, towers and anchors.")
    if codes is not None and not codes.any():
        raise ValueError("groups must be at least 2, got 1: only pairs of different groups count.")
    return names, classes, codes


# -------------------------------------------------------------------------------------- what is put together


def _of_moments(asked: Subject) -> dict[str, Any]:
    """Return the numbers that follow from the moments of the rows, by their names in a measurement."""
    return {
        "rankme": _mean(asked, geometry.rankme),
        "rankme_uniform": _of_uniform_rows(asked, geometry.rankme_of_uniform),
        "w2": _mean(asked, geometry.w2_uniformity),
        "w2_floor": _of_uniform_rows(asked, geometry.w2_floor),
        "participation_ratio": _mean(asked, geometry.participation_ratio),
        "participation_ratio_uniform": _of_uniform_rows(asked, geometry.participation_ratio_of_uniform),
        **_isoscores(asked),
        "largest_share": _mean(asked, lambda moments: _largest_share(geometry.spectrum(moments))),
    }


def _isoscores(asked: Subject) -> dict[str, float]:
    """Return IsoScore, and what as many uniform rows have; nothing for one feature, which has none."""
    dim = asked.rows.shape[1]
    if dim < 2:
        return {}

    def of_uniform(n: int, dim: int) -> float:
        return max(0.0, geometry.participation_ratio_of_uniform(n, dim) - 1) / (dim - 1)

    uniform = _of_uniform_rows(asked, of_uniform)
    return {"isoscore": _mean(asked, geometry.isoscore), "isoscore_uniform": uniform}


def _mean(asked: Subject, measure_of: Callable[[Moments], float]) -> float:
    """Return the mean of a measure over the populations."""
    return statistics.fmean(measure_of(population.survey.moments) for population in asked.populations)


def _with_derived(
    result: Measurement,
    asked: Subject,
    cut: Mapping[int, Subject],
    plan: Plan,
    alpha: float,
    groups: Tensor | None,
    classes: Tensor | None,
) -> Measurement:
    """Add the numbers of centred rows if the rows form a cone, and those of rows cut to first features."""
    if heuristics.is_cone(result) and can_be_centred(asked):
        result = replace(result, centered=centered(asked, plan, alpha, groups, classes))
    method = result.provenance["method"]
    if cut and "interrupted" not in method:
        result = replace(result, prefixes=prefixes(result, cut, plan, alpha, groups, classes))
        if not cut.keys() <= result.prefixes.keys():
            method = f"{method}, the sums of first features were interrupted"
    return replace(result, provenance={**result.provenance, "method": method})


def _timed(found: Measurement, seconds: float) -> Measurement:
    return replace(found, provenance={**found.provenance, "seconds": round(seconds, 3)})


def _largest_share(spectrum: Tensor) -> float:
    """Return the share of the variance in the first direction; 0 where there is no variance."""
    total = float(spectrum.sum())
    return float(spectrum[0]) / total if total else 0.0


def _of_uniform_rows(asked: Subject, measure_of: Callable[[int, int], float]) -> float:
    """Return a measure of as many uniform rows, of their number and dimension, averaged over populations."""
    return _mean(asked, lambda moments: measure_of(moments.count, moments.dim))


def _details(
    asked: Subject, found: _Found, labels: Sequence[Hashable] | None, groups: Tensor | None, seed: int
) -> Details:
    distances = found.pairs.distances
    return Details(
        distances=torch.cat(distances) if distances else None,
        influences=found.influences,
        row_means=found.sums.row_means,
        row_numbers=tuple(
            population.kept if anchors is None else population.number_of(anchors)
            for population, anchors in zip(asked.populations, found.sums.anchors, strict=True)
        ),
        cosines=notable_rows.sampled_cosines(asked, seed, groups),
        spectrum=torch.stack(
            [geometry.spectrum(population.survey.moments) for population in asked.populations]
        ).mean(0),
        samples=row_samples(asked, found.sums, found.pairs.distances, labels, seed),
    )


def _warnings(
    asked: Subject,
    found: _Found,
    plan: Plan,
    groups: Tensor | None,
    near: Sequence[tuple[NearPairs, NearPairs]],
) -> tuple[str, ...]:
    return (
        *packed.warnings_of(asked.everyone),
        *doubts.of_few(asked.populations, groups),
        *doubts.of_uniformity(asked.populations, found.sums.potentials, plan.ts, near),
        *doubts.of_other_numbers(found.influences),
        *doubts.of_modality_gap(found.towers),
    )


def _provenance(asked: Subject, sums: Sums, seed: int, kind: Kind | None) -> dict[str, Any]:
    of_kind = {} if kind is None else {"kind": kind}
    return of_kind | {
        "align_uniform": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "method": sums.method,
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
    }
