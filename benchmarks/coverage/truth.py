"""The true values of the numbers: closed forms where there are, else very large samples with an error.

Every number is a smooth function of means over items and over pairs of items. The means are taken over
independent blocks, and the error of the function is that of the jackknife over blocks. Nothing here uses
the measuring code.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from align_uniform import sphere
from benchmarks.coverage.laws import Law

BLOCKS, ROWS = 200, 500
"""The number of blocks, and of items on either side of the pairs of a block."""


class Truth(NamedTuple):
    """A true value."""

    value: float
    error: float
    """The standard error of the value; 0 for a closed form."""


class Affinity(NamedTuple):
    """The rule by which candidate pairs become positive ones: the cosine with noise is above a threshold."""

    threshold: float
    noise: float

    def __call__(self, cosines: Tensor, generator: Generator) -> Tensor:
        """Return whether each pair is positive."""
        return torch.rand(cosines.shape, generator=generator) < self.probability(cosines)

    def probability(self, cosines: Tensor) -> Tensor:
        """Return the probability with which each pair is positive."""
        probability: Tensor = torch.special.ndtr((cosines - self.threshold) / self.noise)
        return probability


Means = Mapping[str, Tensor]
Numbers = Mapping[str, float]


def sampled(draw: Callable[[Generator], Means], numbers: Callable[[Means], Numbers]) -> dict[str, Truth]:
    """Return each number as a function of means over many blocks."""
    generator = Generator().manual_seed(2**31 - 1)
    blocks = [draw(generator) for _ in range(BLOCKS)]
    stacked = {name: torch.stack([block[name] for block in blocks]) for name in blocks[0]}
    sums = {name: values.sum(0) for name, values in stacked.items()}
    whole = numbers({name: values / BLOCKS for name, values in sums.items()})
    parts = [
        numbers({name: (sums[name] - values[block]) / (BLOCKS - 1) for name, values in stacked.items()})
        for block in range(BLOCKS)
    ]
    truths = {}
    for name, value in whole.items():
        left_out = torch.tensor([part[name] for part in parts], dtype=torch.float64)
        error = math.sqrt((BLOCKS - 1) ** 2 / BLOCKS * float(left_out.var()))
        truths[name] = Truth(value, error)
    return truths


# ------------------------------------------------------------------------------- items with one or more views


def means_of_items(law: Law, t: float, generator: Generator) -> Means:
    """Return the means over two independent sets of items."""
    a, b = (law(ROWS, generator) for _ in range(2))
    pairs = list(combinations(range(len(a)), 2))
    crossed = {pair: _square_distances(a[pair[0]], b[pair[1]]) for pair in pairs}
    found = {
        "potentials": torch.stack(
            [_mean((-t * _square_distances(x, y)).exp()) for x, y in zip(a, b, strict=True)]
        ),
        "cosines": torch.stack([_centre(x) @ _centre(y) for x, y in zip(a, b, strict=True)]),
    }
    if pairs:
        matched = torch.stack([(view[i] - view[j]).square().sum(1) for view in (a, b) for i, j in pairs])
        found |= {
            "matched": _mean(matched),
            "others": torch.stack([_mean(squares) for squares in crossed.values()]).mean(),
            "cross": _mean((-t * crossed[0, 1]).exp()),
            "matched potential": _mean((-t * matched).exp()),
            "squared gap": (_centre(a[0]) - _centre(a[1])) @ (_centre(b[0]) - _centre(b[1])),
        }
    return found


def numbers_of_items(means: Means, dim: int, t: float) -> dict[str, float]:
    """Return the numbers of a measurement of independent items."""
    uniform = float(means["potentials"].log().mean())
    numbers = {
        "uniform": uniform,
        "uniform.gap": uniform - sphere.uniform_optimum(dim, t),
        "uniform.equivalent_dim": sphere.equivalent_dim(uniform, t),
        "mean_cosine": float(means["cosines"].mean()),
    }
    if "matched" in means:
        numbers |= {
            "align": float(means["matched"]),
            "align.relative": float(means["matched"] / means["others"]),
        }
    return numbers


@functools.cache
def of_items(law: Law, dim: int, t: float) -> dict[str, Truth]:
    """Return the numbers of independent items with one or more views."""
    return sampled(
        lambda generator: means_of_items(law, t, generator), lambda means: numbers_of_items(means, dim, t)
    )


def of_uniform_rows(dim: int, t: float) -> dict[str, Truth]:
    """Return the numbers of independent uniform rows, in closed form."""
    numbers = {
        "uniform": sphere.uniform_optimum(dim, t),
        "uniform.gap": 0.0,
        "uniform.equivalent_dim": float(dim),
        "mean_cosine": 0.0,
    }
    return {name: Truth(value, 0.0) for name, value in numbers.items()}


def of_matched_towers(law: Law, dim: int, t: float, count: int) -> dict[str, Truth]:
    """Return the numbers of two towers matched one to one; the matched pairs are part of all pairs."""

    def numbers(means: Means) -> Numbers:
        cross = means["cross"] * (1 - 1 / count) + means["matched potential"] / count
        return numbers_of_items(means, dim, t) | _of_towers(means, cross)

    return sampled(lambda generator: means_of_items(law, t, generator), numbers)


def _of_towers(means: Means, cross: Tensor) -> dict[str, float]:
    return {
        "towers.modality_gap": math.sqrt(max(0.0, float(means["squared gap"]))),
        "towers.cross_uniform": math.log(float(cross)),
    }


def of_difference(law: Law, dim: int, t: float) -> dict[str, Truth]:
    """Return the differences of the second half of an item's views from the first half."""

    def draw(generator: Generator) -> Means:
        state = generator.get_state()
        found: dict[str, Tensor] = {}
        for half in (0, 1):
            generator.set_state(state)
            means = means_of_items(half_of(law, half), t, generator)
            found |= {f"{name}/{half}": value for name, value in means.items()}
        return found

    def numbers(means: Means) -> Numbers:
        one, other = (
            numbers_of_items(
                {name[:-2]: value for name, value in means.items() if name.endswith(f"/{half}")}, dim, t
            )
            for half in (0, 1)
        )
        return {name: one[name] - other[name] for name in one}

    return sampled(draw, numbers)


def half_of(law: Law, half: int) -> Law:
    """Return the law of the first half of an item's views, or of the second."""

    def draw(count: int, generator: Generator) -> tuple[Tensor, ...]:
        both = law(count, generator)
        middle = len(both) // 2
        return both[middle:] if half else both[:middle]

    return draw


# ----------------------------------------------------------------------------------------------- chosen pairs


def of_chosen_pairs(
    law: Law, dim: int, t: float, affinity: Affinity, *, candidates: int, sizes: Sequence[int]
) -> dict[str, Truth]:
    """Return the numbers of one population, or of two towers, whose positive pairs were chosen by affinity.

    Args:
        law: items with one view, or independent views of two towers.
        dim: the number of features.
        t: inverse squared width of the Gaussian.
        affinity: the choice of positive pairs among the candidates.
        candidates: the number of candidate pairs, which are drawn without looking at the rows.
        sizes: the number of rows of the population, or of both towers.
    """
    all_pairs = sizes[0] * (sizes[0] - 1) / 2 if len(sizes) == 1 else sizes[0] * sizes[1]

    def draw(generator: Generator) -> Means:
        found = dict(means_of_items(law, t, generator))
        squares = _square_distances(law(ROWS, generator)[0], law(ROWS, generator)[-1])
        shares = affinity.probability(1 - squares / 2)
        return found | {
            "others": _mean(squares),
            "chosen": _mean(shares),
            "chosen squares": _mean(squares * shares),
        }

    def numbers(means: Means) -> Numbers:
        align = means["chosen squares"] / means["chosen"]
        share = candidates * means["chosen"] / all_pairs
        others = (means["others"] - share * align) / (1 - share)
        found = numbers_of_items(means, dim, t) | {
            "align": float(align),
            "align.relative": float(align / others),
        }
        return found | (_of_towers(means, means["cross"]) if len(sizes) == 2 else {})

    return sampled(draw, numbers)


# ---------------------------------------------------------------------------------------------------- classes


def of_classes(draw: Callable[[Tensor, Generator], Tensor], counts: Sequence[int]) -> dict[str, Truth]:
    """Return tolerance and alignment within classes of fixed sizes.

    Args:
        draw: a function from the class of each row to the rows.
        counts: the number of rows of each class.
    """
    size = torch.tensor(counts, dtype=torch.float64)
    classes = torch.arange(len(counts)).repeat_interleave(ROWS)

    def means(generator: Generator) -> Means:
        a, b = (draw(classes, generator).double().view(len(counts), ROWS, -1).mean(1) for _ in range(2))
        return {"products": a @ b.T}

    def numbers(means: Means) -> Numbers:
        products = means["products"]
        within = size * (size - 1)
        between = (size[:, None] * size).fill_diagonal_(0)
        tolerance = float((within * products.diagonal()).sum() / within.sum())
        others = 2 - 2 * float((between * products).sum() / between.sum())
        align = 2 - 2 * tolerance
        return {"tolerance": tolerance, "align": align, "align.relative": align / others}

    return sampled(means, numbers)


def _square_distances(x: Tensor, y: Tensor) -> Tensor:
    return (2 - 2 * (x @ y.T)).clamp_(min=0)


def _mean(values: Tensor) -> Tensor:
    return values.mean(dtype=torch.float64)


def _centre(rows: Tensor) -> Tensor:
    return rows.mean(0, dtype=torch.float64)
