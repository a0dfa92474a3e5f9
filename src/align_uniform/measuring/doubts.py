"""Warnings about errors that are themselves uncertain, because little carries them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from align_uniform._messages import counted, listed
from align_uniform.measuring.influence import ENOUGH_UNITS, Influence, are_few, stderr
from align_uniform.measuring.notable_rows import NearPairs
from align_uniform.measuring.populations import Population
from align_uniform.measuring.quantities import quantity
from align_uniform.measuring.results import Towers
from align_uniform.measuring.uniformity import Potentials

MOST_NAMES = 2
"""The most views that a warning names, which is given once for all."""

ENOUGH_FOR_ANY_LAW = 100
"""The number of rows, items or groups from which errors can be relied on for any law; unequal groups count as
fewer.
"""


def of_few(populations: Sequence[Population], groups: Tensor | None) -> Iterator[str]:
    r"""Yield a warning if rows or items are few, or groups are few or so unequal that few have most rows.

    By their sizes groups count as :math:`(\sum n)^2 / \sum n^2`. Whether a law has clusters so uneven, or a
    tail so long, that the errors of this many are too small cannot be seen in a sample of them.
    """
    if groups is None:
        count = effective = float(min(map(len, populations)))
        what, counting, remedy = "rows or items", "", "of them"
    else:
        sizes = groups.bincount().double()
        count, effective = len(sizes), float(sizes.sum().square() / sizes.square().sum())
        what, counting = "groups", f", which count as {effective:.3g} by their sizes"
        remedy = "groups of similar sizes"
    if effective < ENOUGH_FOR_ANY_LAW:
        yield (
            f"all errors come from {count:,.0f} {what}{counting}, and may be too small by a tenth. "
            f"Measure at least {ENOUGH_FOR_ANY_LAW} {remedy}."
        )


def of_uniformity(
    populations: Sequence[Population],
    potentials: Sequence[Sequence[Potentials]],
    ts: Sequence[float],
    near: Sequence[tuple[NearPairs, NearPairs]],
) -> Iterator[str]:
    """Yield a warning for each t at which an error rests on few rows, or leaves out a rare place.

    Args:
        populations: each view or tower.
        potentials: the potentials of each population at each t.
        ts: inverse squared widths of the Gaussian.
        near: the near duplicates in each population, and the rows within twice the angle.
    """
    for number, t in enumerate(ts):
        few: dict[str, str] = {}
        rare: dict[str, float] = {}
        for population, parts, (_, close) in zip(populations, potentials, near, strict=True):
            words = _few_units(parts[number].influence)
            if words is not None:
                few[population.name] = words
            elif _leaves_out_a_place(parts[number], close):
                rare[population.name] = close.rows
        what = f"at t = {t:g} the error of the uniformity of"
        if few:
            yield (
                f"{what} {listed(few, MOST_NAMES)} rests on effectively {next(iter(few.values()))}, and may "
                "be too small. See the crowded rows, measure at a smaller t, or measure more rows."
            )
        if rare:
            yield (
                f"{what} {listed(rare, MOST_NAMES)} may be too small: {max(rare.values()):.0f} rows nearly "
                "repeat another, and a new sample could have several times as many. Remove what repeats, or "
                "measure more rows."
            )


def of_other_numbers(influences: Mapping[str, Influence]) -> Iterator[str]:
    """Yield a warning for each other number whose error rests on few units.

    The errors of shares, of partners or classes that are found, hold for few hits or misses too.
    """
    for key, influence in influences.items():
        few = None if key.startswith(("uniform", "retrieval", "classes")) else _few_units(influence)
        if few is not None:
            yield (
                f"the error of {quantity(key).label} rests on effectively {few}, and may be too small. "
                "Measure more of them."
            )


def of_modality_gap(towers: Towers | None) -> Iterator[str]:
    """Yield a warning if sampling alone makes a modality gap larger by half of its error."""
    if towers is None or not towers.modality_gap_stderr or towers.modality_gap_floor is None:
        return
    excess = towers.modality_gap_floor**2 / (2 * max(towers.modality_gap, towers.modality_gap_floor))
    if excess >= towers.modality_gap_stderr / 2:
        yield (
            f"the modality gap of so few rows is about {excess:.2g} larger than the distance of the "
            f"populations' means: two towers with one mean would have {towers.modality_gap_floor:.3g}. "
            "Measure more rows."
        )


def _few_units(influence: Influence | None) -> str | None:
    """Return how few rows, items or groups carry an error, in words; None if they are enough."""
    if influence is None:
        return None
    units, effective = int((influence.values != 0).sum()), influence.effective_units
    return (
        f"{effective:.3g} of {counted(units, 'row')}, items or groups" if are_few(effective, units) else None
    )


def _leaves_out_a_place(potentials: Potentials, near: NearPairs) -> bool:
    r"""Return whether pairs at rare places could vary by more than the error, if there are a few.

    A place with k rows in the sample has :math:`k (k - 1)` ordered pairs. If k is Poisson with mean
    :math:`\lambda`, their variance is :math:`4 \lambda^3 + 2 \lambda^2`. A sample that has k rows may come
    from a law with :math:`\lambda = k + 2 \sqrt k`, and then its own error, which knows k alone, is far too
    small. For 20 near duplicates and more, effective units tell.
    """
    error = stderr(potentials.influence)
    if error is None or not 2 <= near.rows < ENOUGH_UNITS:
        return False
    rows_of_place = near.pairs / near.rows + 1
    expected = rows_of_place + 2 * math.sqrt(rows_of_place)
    variance = (4 * expected**3 + 2 * expected**2) * near.rows / rows_of_place
    of_one_pair = math.expm1(-potentials.log_mean) / potentials.pairs
    return math.sqrt(variance) * of_one_pair > error
