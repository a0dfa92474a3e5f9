r"""Influences, and the one function that turns them into errors.

Every number of a measurement is a smooth function of means over independent units (rows, items, groups,
pairs). To first order its deviation from the population's value is a sum with one term for each unit, the
unit's influence:

.. math:: \hat\theta - \theta \approx \sum_u \psi_u, \qquad
          \mathrm{Var}\, \hat\theta = \max\Big(\sum_u \psi_u^2 - \text{noise},\ \text{least}\Big)

`Influence` holds the terms, `variance` and `stderr` are this formula. The functions `of_...` make the terms
of a mean, of a mean over all pairs of rows, of a mean over pairs that share rows, and of a mean over all
pairs of two samples. Influences are added, scaled and subtracted as the numbers are: the difference of two
numbers that were measured on the same units has the difference of their influences.

The noise and the least are what the sum of squares counts twice. A pair of rows has two ends, and its own
deviation is part of the influence of either. `Influence.kernels` has it for all pairs of one sample,
`Influence.dyads` for given pairs, and `Influence.shared` for all pairs of two samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

ENOUGH_UNITS = 20
"""The effective number of units behind an error from which the error can be relied on."""

UNITS_FOR_ONE = 12
"""The number of units for each effective one that few rows must have; normal deviations have 3."""


FEW = 4
"""The number of hits, or of misses, below which deviations say little about the error of a share."""


class Kernel(NamedTuple):
    """A mean over all pairs of units, as far as single pairs deviate from it."""

    excess: float
    """The variance of the kernel over pairs, zeta_2, in the units of the number squared."""
    units: int
    """The number of units, n."""

    @property
    def noise(self) -> float:
        """The part of the sum of squared influences that is due to single pairs."""
        return 2 * self.excess / ((self.units - 1) * (self.units - 4))

    @property
    def least(self) -> float:
        """The variance that single pairs cause, which is all there is for a degenerate kernel."""
        return 2 * self.excess / (self.units * (self.units - 1))


@dataclass(frozen=True)
class Influence:
    """The influences of the units on a number, and what their squares count twice."""

    values: Tensor
    """The influence of each unit, [units], float64: its part in the deviation of the number. The factors for
    small samples, such as n / (n - 1), are in it.
    """
    kernels: tuple[Kernel, ...] = ()
    """The means over all pairs that the number has in it."""
    dyads: Tensor | None = None
    """The influence of each given pair of two units, which is also part of the influence of these two."""
    shared: float = 0.0
    """The variance due to single pairs of two samples, which the influences of both samples have in them."""
    used: int | None = None
    """The number of independent units that the number is a mean over, such as those that look for a partner;
    None if these are all units.
    """

    @property
    def units(self) -> int:
        """The number of units that the number is a mean over."""
        return len(self.values) if self.used is None else self.used

    def __mul__(self, factor: float) -> Influence:
        """Return the influence on the number times a factor; to first order, on a function of this slope."""
        return Influence(
            self.values * factor,
            tuple(kernel._replace(excess=kernel.excess * factor**2) for kernel in self.kernels),
            None if self.dyads is None else self.dyads * factor,
            self.shared * factor**2,
            self.used,
        )

    def __sub__(self, other: Influence) -> Influence:
        """Return the influence on the difference of two numbers of the same units.

        What single pairs contribute to both is not known here, and counts as the influence of units: near the
        optimum of uniformity that makes the error of a difference too wide, by up to the square root of 2.
        `with_kernel` corrects it where the joint excess is known.

        Raises:
            ValueError: the units differ in number.
        """
        if not self.matches(other):
            raise ValueError(
                f"both must be of the same units, got {len(self.values)} and {len(other.values)}; measure "
                "both on the same items and pairs."
            )
        dyads = None if self.dyads is None or other.dyads is None else self.dyads - other.dyads
        used = None if self.used is other.used is None else min(self.units, other.units)
        return Influence(self.values - other.values, dyads=dyads, used=used)

    def matches(self, other: Influence) -> bool:
        """Return whether both have the same number of units and of pairs."""
        sizes = [(len(each.values), 0 if each.dyads is None else len(each.dyads)) for each in (self, other)]
        return sizes[0] == sizes[1]

    def with_kernel(self, excess: float) -> Influence:
        """Return the same with the excess of a single mean over all pairs of units.

        Args:
            excess: zeta_2; for the difference of two uniformities see `joint_excess`.
        """
        kernels = (Kernel(excess, self.units),) if self.units > 4 else ()
        return replace(self, kernels=kernels)

    def arrays(self) -> dict[str, Tensor]:
        """Return all parts as arrays, as a file keeps them."""
        kernels = torch.tensor(self.kernels, dtype=torch.float64, device="cpu").reshape(-1, 2)
        shared = torch.tensor(self.shared, dtype=torch.float64, device="cpu")
        found = {"values": self.values, "kernels": kernels, "shared": shared}
        if self.used is not None:
            found["used"] = torch.tensor(self.used, dtype=torch.int64, device="cpu")
        return found if self.dyads is None else found | {"dyads": self.dyads}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> Influence:
        """Put the parts together again."""
        kernels = tuple(Kernel(excess, int(units)) for excess, units in arrays["kernels"].tolist())
        used = int(arrays["used"]) if "used" in arrays else None
        return cls(arrays["values"], kernels, arrays.get("dyads"), float(arrays["shared"]), used)

    @property
    def effective_units(self) -> float:
        r"""The number of units that carry the error, :math:`(\sum \psi^2)^2 / \sum \psi^4`.

        About n / 3 for influences that follow a normal distribution, and k if k units decide alone. An error
        that rests on few units is itself uncertain.
        """
        squares = (self.values - self.values.mean()).square()
        fourth = float(squares.square().sum())
        return float(squares.sum()) ** 2 / fourth if fourth > 0 else float(self.units)


def are_few(effective: float, units: int) -> bool:
    """Return whether so few effective units, of all that an error comes from, make it unreliable."""
    return effective < min(ENOUGH_UNITS, units / UNITS_FOR_ONE)


def variance(influence: Influence) -> float:
    """Return the variance of the number that these influences are of."""
    pairs = influence.shared
    if influence.dyads is not None:
        pairs += float(influence.dyads.square().sum())
    noise = pairs + math.fsum(kernel.noise for kernel in influence.kernels)
    least = pairs + math.fsum(kernel.least for kernel in influence.kernels)
    return max(float(influence.values.square().sum()) - noise, least)


def stderr(influence: Influence | None) -> float | None:
    """Return the standard error of the number that these influences are of; None if there are none."""
    return None if influence is None else math.sqrt(variance(influence))


def share_stderr(value: float, influence: Influence | None) -> float | None:
    """Return the standard error of a share, or a mean from 0 to 1.

    Without a single miss the deviations say 0, which is no error: another sample may well have some. For
    fewer than 4 hits or misses the error is that of Agresti and Coull, The American Statistician 52, 1998.

    Args:
        value: the share.
        influence: the influence of each unit on it, which knows the number of units that queries are of.
    """
    if influence is None:
        return None
    units = influence.units
    if FEW <= units * value <= units - FEW:
        return stderr(influence)
    moved = (units * value + 2) / (units + 4)
    return math.sqrt(moved * (1 - moved) / (units + 4))


def share_difference_stderr(influence: Influence) -> float:
    """Return the standard error of the difference of two shares of the same units.

    Where few units are a hit for one and a miss for the other, their deviations say too little, and none at
    all say 0. As Bonett and Price do, Journal of Educational and Behavioral Statistics 37, 2012, one more of
    either kind is counted, among the units that queries are of.
    """
    return math.hypot(math.sqrt(variance(influence)), math.sqrt(2) / (influence.units + 2))


def resized_stderr(influence: Influence, size: int) -> float:
    """Return the standard error of a mean over all pairs of another number of units of a population."""
    ((excess, units),) = influence.kernels
    of_pairs = Kernel(excess, units).least
    first = (variance(influence) - of_pairs) * units * (units - 1) / (units - 2)
    return math.sqrt((first * (size - 2) + 2 * excess) / (size * (size - 1)))


def joint_excess(square_a: float, square_b: float, product: float) -> float:
    r"""Return zeta_2 of the difference of two uniformities of the same items.

    .. math:: \zeta_2 = \frac{E\, G_a^2}{U_a^2} + \frac{E\, G_b^2}{U_b^2} - \frac{2 E\, G_a G_b}{U_a U_b}

    It is the mean square of the joint kernel :math:`G_a / U_a - G_b / U_b` over distinct pairs of items. Use
    it as `(a - b).with_kernel(joint_excess(...))`.

    Args:
        square_a: E G_a^2 / U_a^2, the mean squared potential of the one over its squared mean potential.
        square_b: the same of the other.
        product: E(G_a G_b) / (U_a U_b).

    Example:
        >>> joint_excess(1.5, 1.5, 1.5)  # the same embedding twice
        0.0
    """
    return max(0.0, square_a + square_b - 2 * product)


def combined(parts: Sequence[Influence | None], kernels: Sequence[Kernel] = ()) -> Influence | None:
    """Return the influence on a sum of numbers of the same units; None if one has none.

    Args:
        parts: the influence on each number.
        kernels: what single pairs contribute to two of the numbers at once.
    """
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    values = torch.stack([part.values for part in known]).sum(0)
    of_pairs = tuple(kernel for part in known for kernel in part.kernels) + tuple(kernels)
    are_all = any(part.used is None for part in known)
    used = None if are_all else max(part.units for part in known)
    return Influence(values, of_pairs, known[0].dyads, sum(part.shared for part in known), used)


# ------------------------------------------------------------------------------------ the influences of means


def of_mean(values: Tensor, units: Tensor | None = None) -> Influence | None:
    """Return the influences on a mean, whose terms of one unit depend on each other.

    They are centred before they are summed: the sum over a unit less its number of terms times the mean.
    Units of other sizes then differ only as far as their terms do.

    Args:
        values: the terms, [N].
        units: the unit of each term, [N], whole numbers from 0; None if each is a unit of its own.

    Returns:
        The influences, or None for a single unit.
    """
    units = torch.arange(len(values), device="cpu") if units is None else units
    return of_pairs(centred_shares(values), (units, units), int(units.max()) + 1, split=None)


def centred_shares(values: Tensor) -> Tensor:
    """Return the part of each value in the deviation of their mean."""
    return (values - values.mean()) / len(values)


def of_all_pairs(means: Tensor, excess: float, units: int, weights: Tensor | None = None) -> Influence | None:
    r"""Return the influences on a mean over all pairs of units, a U-statistic.

    .. math:: \mathrm{Var}\, U = \frac{4 (n-2) \zeta_1 + 2 \zeta_2}{n (n-1)}, \quad
              \zeta_1 = \max\Big(0, \frac{(n-1)^2 V / (n-2) - \zeta_2}{n-4}\Big)

    is what `variance` makes of them, V being the sample variance of the means. The noise of the means is part
    of V. Where the mean of a unit hardly depends on the unit, as for the potentials of uniform rows, it is
    all of V, and 4 V / n would be twice the variance.

    Args:
        means: the mean of the kernel over the pairs of each unit, of all units or of a random sample of them.
        excess: the variance of the kernel over pairs, zeta_2.
        units: the number of units, n.
        weights: the weight of each mean in the mean over all units, if it is not 1 over their number.

    Returns:
        The influences, or None for fewer than 5 units.
    """
    if units < 5 or len(means) < 2:
        return None
    weights = torch.full_like(means, 1 / len(means)) if weights is None else weights
    factors = (weights * len(means) / (len(means) - 1) * (units - 1) / (units * (units - 4))).sqrt()
    return Influence(2 * factors * (means - weights @ means), (Kernel(max(0.0, excess), units),))


def of_pairs_of_groups(totals: Tensor, squares: float, weighted: float, sizes: Tensor) -> Influence | None:
    r"""Return the influences of groups on the mean of a kernel over all pairs of rows of different groups.

    With M_ab the sum of the kernel over the rows of a and those of b, P the number of pairs, and U the mean,
    it is a mean over all pairs of the g groups, of the kernel

    .. math:: k_{ab} = (M_{ab} - U n_a n_b) \frac{g (g - 1)}{P}, \qquad P = \sum_{a \ne b} n_a n_b

    A large group pulls the mean towards itself. Its influence is therefore what the mean changes by without
    the group, as in the jackknife:

    .. math:: U_{-a} = \frac{\sum M - 2 \sum_b M_{ab}}{P - 2 n_a (N - n_a)}, \qquad
              \psi_a = (\bar U - U_{-a}) \frac{g - 2}{\sqrt{g (g - 4)}}

    For groups of one size these are the influences of `of_all_pairs`.

    Args:
        totals: the sum over b of M_ab, [g], float64.
        squares: the sum of M_ab^2 over ordered pairs of groups.
        weighted: the sum of n_a n_b M_ab over ordered pairs of groups.
        sizes: n_a, [g], float64.

    Returns:
        The influences, or None for fewer than 5 groups.
    """
    groups, rows, second = len(sizes), float(sizes.sum()), float(sizes.square().sum())
    if groups < 5:
        return None
    pairs = rows**2 - second
    mean = float(totals.sum()) / pairs
    without = (mean * pairs - 2 * totals) / (pairs - 2 * sizes * (rows - sizes))
    values = (without.mean() - without) * (groups - 2) / math.sqrt(groups * (groups - 4))
    excess = squares - 2 * mean * weighted + mean**2 * (second**2 - float(sizes.pow(4).sum()))
    excess *= groups * (groups - 1) / pairs**2
    return Influence(values, (Kernel(max(0.0, excess), groups),))


def of_two_samples(
    x_means: Tensor, y_means: Tensor, square: float, sizes: tuple[int, int]
) -> tuple[Tensor, float] | None:
    r"""Return the influences of two samples on a mean over all pairs of a row of one with a row of the other.

    .. math:: \mathrm{Var} = \frac{V_x}{n_x} + \frac{V_y}{n_y} - \frac{\zeta_e}{n_x n_y}, \qquad
              \zeta_e = \frac{\mathrm{Var}\, k - V_x - V_y}{1 - 1/n_x - 1/n_y}

    V_x and V_y are the sample variances of the means of rows and of columns. Without the last term the part
    of single pairs would count twice.

    Args:
        x_means: the mean of the kernel of each row of x, or of a random sample of them.
        y_means: the mean of the kernel of each row of y, or of a random sample of them.
        square: the mean squared deviation of the kernel, Var k.
        sizes: n_x and n_y.

    Returns:
        The influences of x and then of y, and the variance of single pairs, which is `Influence.shared`; None
        for fewer than 3 rows of either.
    """
    if min(len(x_means), len(y_means)) < 3:
        return None
    excess = square - float(x_means.var()) - float(y_means.var())
    excess /= 1 - 1 / sizes[0] - 1 / sizes[1]
    values = [
        (means - means.mean()) / math.sqrt(size * (len(means) - 1))
        for means, size in zip((x_means, y_means), sizes, strict=True)
    ]
    return torch.cat(values), max(0.0, excess) / math.prod(sizes)


def of_pairs(
    shares: Tensor,
    ends: tuple[Tensor, Tensor],
    units: int,
    *,
    split: int | None,
    of_units: Tensor | None = None,
) -> Influence | None:
    r"""Return the influences on a number that is a mean over pairs, which may share units.

    Two pairs that have a unit in common depend on each other:

    .. math:: \mathrm{Var} = \sum_u \Big( f_u \sum_{k \ni u} e_k \Big)^2 - \sum_d (f_d e_d)^2

    for the units u and the distinct pairs d of units, whose repetitions count together: each pair is part of
    the influence of both of its units. In degenerate designs the difference can fall below 0; the least is
    the second sum. For one population it is the dyadic-robust variance, for two the two-way clustered one,
    and for pairs within a unit it is the variance of a mean over units.

    A unit with a share p of all pairs pulls their mean towards itself, which makes its own deviation too
    small by 1 - p. The factor f undoes that, as the jackknife does; it is the usual one where all units have
    as many pairs: R / (R - 1) in the variance, or R / (R - 2) for two ends in one population.

    Args:
        shares: the part of each pair in the deviation, e_k, [P].
        ends: the two units of each pair, [P] each, whole numbers from 0.
        units: the number of units.
        split: the number of units of the first population, whose numbers come first; None for one population.
        of_units: the part of each unit in the deviation apart from pairs, [units].

    Returns:
        The influences, or None if they are too few.

    Reference:
        Aronow, Samii & Assenova, Political Analysis 2015 (dyads); Cameron, Gelbach & Miller, JBES 2011.
    """
    x, y = ends
    apart = x != y
    each = torch.full_like(shares, 1 / len(shares))
    of_pairs_of_unit, part = (
        sums_by(values, x, units) + sums_by(values[apart], y[apart], units) for values in (shares, each)
    )
    values = of_pairs_of_unit if of_units is None else of_pairs_of_unit + of_units
    codes, number = (torch.minimum(x, y) * units + torch.maximum(x, y)).unique(return_inverse=True)
    dyads, part_of_dyad = (sums_by(values, number, len(codes)) for values in (shares, each))
    sides = [slice(0, units)] if split is None else [slice(0, split), slice(split, units)]
    lost = 2 if split is None and bool(apart.any()) else 1
    used = [int((part[side] > 0).sum()) for side in sides]
    if len(codes) < 2 or min(used) < lost:
        return None
    values = torch.cat([values[side] * _small_sample(part[side], lost) for side in sides])
    dyads = (dyads * _small_sample(part_of_dyad, 1))[_are_apart(codes, units)]
    return Influence(values, dyads=dyads if len(dyads) else None)


def _are_apart(codes: Tensor, units: int) -> Tensor:
    """Return whether pairs of units, coded as one number, are of two units."""
    return codes // units != codes % units


def _small_sample(part: Tensor, lost: int) -> Tensor:
    """Return the factors of units that have these parts of all pairs, for units that are few or unequal."""
    used = int((part > 0).sum())
    return math.sqrt(max(0, 1 - lost / max(1, used))) / (1 - part).clamp(min=1e-9)


def sums_by(values: Tensor, units: Tensor, count: int | None = None) -> Tensor:
    """Return the sum of the values of each unit, [units], or [units, m] for values [N, m]."""
    size = (int(units.max()) + 1 if len(units) else 0) if count is None else count
    return values.new_zeros(size, *values.shape[1:]).index_add_(0, units, values)
