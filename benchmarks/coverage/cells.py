"""The cells of the table: every design with the laws and sizes that try its errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

import align_uniform
from align_uniform.measuring.difference import Difference
from align_uniform.measuring.measurement import Measurement
from benchmarks.coverage import laws, nearest, truth
from benchmarks.coverage.laws import Law
from benchmarks.coverage.truth import Affinity, Truth

Measured: TypeAlias = Measurement | Difference
Truths: TypeAlias = Callable[[], Mapping[str, Truth]]

DIM, T = 16, 2.0

measure = functools.partial(align_uniform.measure, top=0)
"""The public function, without the names of the worst pairs and of crowded rows, which take time."""


@dataclass(frozen=True)
class Cell:
    """One law, design and size."""

    design: str
    """The dependence of the rows, in words."""
    law: str
    """The law of the rows, in words."""
    size: str
    """The numbers of rows, and what else is not the default."""
    run: Callable[[Generator], Measured]
    """The function that draws new rows and measures them."""
    truths: Truths
    """The function that returns the true values of the numbers that are simulated."""

    @property
    def name(self) -> str:
        """The name of the cell, by which its results are kept."""
        return f"{self.design}; {self.law}; {self.size}"


UNIFORM, CONE, MIXED, TEN, HUNDRED, ZIPF, TIGHT, FLAT = (
    "uniform",
    "cone",
    "cone of mixed widths",
    "10 clusters",
    "100 clusters",
    "Zipf clusters",
    "2% at one place",
    "uniform in 4 dimensions",
)
LAWS: Mapping[str, Law] = {
    UNIFORM: laws.uniform(DIM),
    CONE: laws.cone(DIM),
    MIXED: laws.cone(DIM, widths=(0.3, 1.5)),
    TEN: laws.clusters(DIM, 10),
    HUNDRED: laws.clusters(DIM, 100),
    ZIPF: laws.clusters(DIM, 100, exponent=1.0),
    TIGHT: laws.tight_points(DIM),
    FLAT: laws.subsphere(DIM, 4),
}
"""The laws of single rows, by their names in the table."""


def cells() -> list[Cell]:
    """Return all cells, design by design."""
    return [
        *_independent(),
        *_views(),
        *_groups(),
        *_pairs(),
        *_towers(),
        *_classes(),
        *_nearest(),
        *_anchors(),
        *_differences(),
    ]


# ------------------------------------------------------------------------------------------- independent rows


def _independent() -> Iterator[Cell]:
    for name, law in LAWS.items():
        yield _rows(name, law, 256)
    for name in (UNIFORM, CONE, ZIPF, TIGHT):
        yield _rows(name, LAWS[name], 64)
    yield _rows(UNIFORM, laws.uniform(128), 256, dim=128)
    yield _rows(UNIFORM, LAWS[UNIFORM], 256, t=20.0)


def _rows(name: str, law: Law, count: int, *, dim: int = DIM, t: float = T) -> Cell:
    def run(generator: Generator) -> Measured:
        return measure(*law(count, generator), t=t)

    size = f"n = {count}, m = {dim}" + (f", t = {t:g}" if t != T else "")
    return Cell("independent rows", name, size, run, _truths_of_rows(name, law, dim, t))


def _truths_of_rows(name: str, law: Law, dim: int, t: float = T) -> Truths:
    """Return the truths of independent items; uniform items with uniform noise have uniform views."""

    def truths() -> Mapping[str, Truth]:
        known = truth.of_uniform_rows(dim, t) if name == UNIFORM else {}
        is_alone = len(law(1, Generator())) == 1
        return known if known and is_alone else {**truth.of_items(law, dim, t), **known}

    return truths


# ------------------------------------------------------------------------------------------------- more views


def _views() -> Iterator[Cell]:
    for name, count in ((UNIFORM, 256), (CONE, 64), (MIXED, 256)):
        yield _of_views(name, laws.views(LAWS[name], 0.5), count, "two views")
    yield _of_views(CONE, laws.views(LAWS[CONE], 0.5, 3), 64, "three views")


def _of_views(name: str, law: Law, count: int, design: str) -> Cell:
    def run(generator: Generator) -> Measured:
        return measure(torch.stack(law(count, generator)))

    return Cell(design, name, f"n = {count}, m = {DIM}", run, _truths_of_rows(name, law, DIM))


# ----------------------------------------------------------------------------------------------------- groups

EQUAL, UNEQUAL = (5,) * 50, (2,) * 25 + (8,) * 25
"""The sizes of groups."""


def _groups() -> Iterator[Cell]:
    for sizes, names in ((EQUAL, (UNIFORM, CONE, ZIPF)), (UNEQUAL, (UNIFORM, CONE, ZIPF))):
        for name in names:
            yield _of_groups(name, laws.views(LAWS[name], 0.3, 1), sizes, 0.3)
    for name in (UNIFORM, CONE):
        yield _of_groups(name, LAWS[name], UNEQUAL, None)
    yield _of_groups(MIXED, laws.views(LAWS[MIXED], 0.5, 2), UNEQUAL, 0.5, views=2)


def _of_groups(name: str, law: Law, sizes: Sequence[int], noise: float | None, *, views: int = 1) -> Cell:
    """Return the cell of groups of crops, or of independent rows if there is no noise around an item."""
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    several = laws.views(LAWS[name], noise or 0.0, max(sizes) * views)

    def run(generator: Generator) -> Measured:
        if noise is None:
            return measure(*law(len(groups), generator), groups=groups)
        crops = torch.stack(several(len(sizes), generator), 1)  # [groups, largest x views, m]
        place = torch.cat([torch.arange(size) for size in sizes])
        rows = [crops[groups, place + view * max(sizes)] for view in range(views)]
        return measure(*rows, groups=groups)

    kind = "equal" if len(set(sizes)) == 1 else "unequal"
    what = "independent rows" if noise is None else "crops" if views == 1 else "crops in two views"
    size = f"{len(sizes)} groups of {' or '.join(map(str, sorted(set(sizes))))}, m = {DIM}"
    truths = _truths_of_rows(name, law, DIM)
    return Cell(f"{kind} groups of {what}", name, size, run, truths)


# -------------------------------------------------------------------------------------- pairs that share rows


def _pairs() -> Iterator[Cell]:
    for name in (CONE, MIXED):
        yield _all_pairs(name, 40)
    for name in (MIXED, ZIPF):
        yield _scored_pairs(name, 200, 1000)


def _all_pairs(name: str, count: int) -> Cell:
    law = LAWS[name]

    def run(generator: Generator) -> Measured:
        return measure(*law(count, generator), pairs=torch.combinations(torch.arange(count)))

    truths = functools.partial(_of_random_pairs, law)
    return Cell("all pairs of few rows", name, f"n = {count}, m = {DIM}", run, truths)


def _of_random_pairs(law: Law) -> Mapping[str, Truth]:
    found = truth.of_items(laws.side_by_side(law, law), DIM, T)
    return {name: value for name, value in found.items() if name != "align.relative"}


def _scored_pairs(name: str, count: int, candidates: int) -> Cell:
    """Return the cell of pairs of one population that have a score above a threshold, as in STS-B."""
    law, affinity = LAWS[name], Affinity(0.5, 0.3)

    def run(generator: Generator) -> Measured:
        (rows,) = law(count, generator)
        pairs = torch.randint(count, (candidates, 2), generator=generator)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        is_positive = affinity((rows[pairs[:, 0]] * rows[pairs[:, 1]]).sum(1), generator)
        return measure(rows, pairs=pairs[is_positive])

    truths = functools.partial(
        truth.of_chosen_pairs,
        law,
        DIM,
        T,
        affinity,
        candidates=round(candidates * (1 - 1 / count)),
        sizes=(count,),
    )
    return Cell(
        "scored pairs of one population", name, f"{candidates} of {count} rows, m = {DIM}", run, truths
    )


# ----------------------------------------------------------------------------------------------------- towers


def _towers() -> Iterator[Cell]:
    for name, exponent in ((CONE, 0.0), (CONE, 1.0), (MIXED, 1.0)):
        yield _clicks(name, (200, 100), 1000, exponent)
    for name, count in ((UNIFORM, 64), (CONE, 64), (MIXED, 256)):
        yield _captions(name, count)


def _clicks(name: str, sizes: tuple[int, int], candidates: int, exponent: float) -> Cell:
    """Return the cell of users and items, of which some are clicked more often than others."""
    law = laws.side_by_side(LAWS[name], laws.cone(DIM, axis=1))
    affinity = Affinity(0.2, 0.3)
    shares = torch.arange(1, sizes[1] + 1).double().pow(-exponent)

    def run(generator: Generator) -> Measured:
        users, items = (law(size, generator)[tower] for tower, size in enumerate(sizes))
        x = torch.randint(sizes[0], (candidates,), generator=generator)
        y = torch.multinomial(shares, candidates, replacement=True, generator=generator)
        is_positive = affinity((users[x] * items[y]).sum(1), generator)
        return measure(users, items, pairs=torch.stack([x, y], 1)[is_positive])

    truths = functools.partial(
        truth.of_chosen_pairs, law, DIM, T, affinity, candidates=candidates, sizes=sizes
    )
    design = f"two towers, {'Zipf' if exponent else 'even'} clicks"
    return Cell(design, name, f"{candidates} of {sizes[0]} x {sizes[1]}, m = {DIM}", run, truths)


def _captions(name: str, count: int) -> Cell:
    """Return the cell of images and captions: two towers that are matched one to one."""
    law, ids = laws.captioned(LAWS[name], 0.5, 0.4), list(range(count))

    def run(generator: Generator) -> Measured:
        return measure(*law(count, generator), ids=(ids, ids))

    truths = functools.partial(truth.of_matched_towers, law, DIM, T, count)
    return Cell("two towers, one to one", name, f"n = {count}, m = {DIM}", run, truths)


# ---------------------------------------------------------------------------------------------------- classes


def _classes() -> Iterator[Cell]:
    yield _of_classes("equal", (20,) * 10)
    yield _of_classes("unequal", (4,) * 10 + (60,) * 3)


def _of_classes(kind: str, counts: Sequence[int]) -> Cell:
    centres = normalize(torch.randn(len(counts), DIM, generator=Generator().manual_seed(0)))
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))

    def draw(classes: Tensor, generator: Generator) -> Tensor:
        noise = torch.randn(len(classes), DIM, generator=generator) * 0.8 / DIM**0.5
        return normalize(centres[classes] + noise)

    def run(generator: Generator) -> Measured:
        return measure(draw(labels, generator), labels=labels)

    size = f"{len(counts)} classes of {' or '.join(map(str, sorted(set(counts))))}, m = {DIM}"
    truths = functools.partial(truth.of_classes, draw, counts)
    return Cell(f"{kind} classes", "one cluster a class", size, run, truths)


# ----------------------------------------------------------------------------------------------- nearest rows


def _nearest() -> Iterator[Cell]:
    for name, count, noise in ((CONE, 256, 0.7), (MIXED, 256, 1.0), (UNIFORM, 128, 1.0)):
        yield _partners(name, (1,) * count, noise)
    yield _partners(CONE, (2,) * 100, 0.7)
    for sizes in ((1,) * 300, (5,) * 100):
        for distance in (0.3, 0.6):
            yield _named_classes(sizes, distance)
    yield _corpus(UNIFORM, (150, 250))
    yield _corpus(HUNDRED, (200, 200))


def _partners(name: str, sizes: Sequence[int], noise: float) -> Cell:
    """Return the cell of two views, whose rows may come in groups around one item."""
    groups, crops = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)), max(sizes)
    law = laws.views(LAWS[name], noise, 2 * crops)

    def draw(generator: Generator) -> tuple[Tensor, Tensor]:
        both = law(len(sizes), generator)
        x, y = (torch.stack(each, 1).flatten(0, 1) for each in (both[:crops], both[crops:]))
        return x, y

    def run(generator: Generator) -> Measured:
        return measure(*draw(generator), groups=groups if crops > 1 else None)

    truths = functools.partial(
        nearest.of_samples, lambda generator: nearest.partners(*draw(generator), groups)
    )
    size = f"n = {len(sizes)}" if crops == 1 else f"{len(sizes)} groups of {crops}"
    return Cell("partners of two views", name, f"{size}, noise {noise:g}, m = {DIM}", run, truths)


def _named_classes(sizes: Sequence[int], distance: float) -> Cell:
    """Return the cell of labelled rows, which may come in groups around one item."""
    centres = distance * torch.randn(6, DIM, generator=Generator().manual_seed(0))
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = (torch.arange(len(sizes)) % len(centres))[groups]

    def draw(generator: Generator) -> Tensor:
        items = torch.randn(len(sizes), DIM, generator=generator)[groups]
        own = torch.randn(len(groups), DIM, generator=generator) * (0.5 if max(sizes) > 1 else 0.0)
        return normalize(centres[labels] + items + own)

    def run(generator: Generator) -> Measured:
        return measure(draw(generator), labels=labels, groups=groups if max(sizes) > 1 else None)

    truths = functools.partial(
        nearest.of_samples, lambda generator: nearest.named_classes(draw(generator), labels, groups)
    )
    size = f"n = {len(sizes)}" if max(sizes) == 1 else f"{len(sizes)} groups of {max(sizes)}"
    return Cell(
        "classes of nearest rows", f"6 clusters, {distance:g} apart", f"{size}, m = {DIM}", run, truths
    )


def _corpus(name: str, sizes: tuple[int, int]) -> Cell:
    """Return the cell of queries and a corpus."""
    law = laws.side_by_side(LAWS[name], LAWS[name])
    pairs = torch.arange(10).repeat(2, 1).T

    def draw(generator: Generator) -> tuple[Tensor, Tensor]:
        x, y = (law(size, generator)[tower] for tower, size in enumerate(sizes))
        return x, y

    def run(generator: Generator) -> Measured:
        return measure(*draw(generator), pairs=pairs)

    truths = functools.partial(
        nearest.of_samples, lambda generator: nearest.nearest_distances(*draw(generator))
    )
    return Cell("queries and a corpus", name, f"{sizes[0]} x {sizes[1]}, m = {DIM}", run, truths)


# ---------------------------------------------------------------------------------------------------- anchors


def _anchors() -> Iterator[Cell]:
    for name in (CONE, HUNDRED, ZIPF):
        yield _against_exact(name, 600, 100)
    yield _with_anchors(ZIPF, 600, 100)


def _against_exact(name: str, count: int, anchors: int) -> Cell:
    """Return the cell of the approximation error: fixed rows, and new anchors in each run."""
    (rows,) = LAWS[name](count, Generator().manual_seed(0))

    def run(generator: Generator) -> Measured:
        seed = int(torch.randint(2**31, (), generator=generator))
        return measure(rows, method="anchors", anchors=anchors, seed=seed)

    def truths() -> Mapping[str, Truth]:
        return {"uniform.approximation": Truth(measure(rows).uniform.value, 0.0)}

    return Cell("anchors of fixed rows", name, f"{anchors} of {count}, m = {DIM}", run, truths)


def _with_anchors(name: str, count: int, anchors: int) -> Cell:
    """Return the cell of both errors together: new rows and new anchors in each run."""
    law = LAWS[name]

    def run(generator: Generator) -> Measured:
        seed = int(torch.randint(2**31, (), generator=generator))
        return measure(*law(count, generator), method="anchors", anchors=anchors, seed=seed)

    truths = _truths_of_rows(name, law, DIM)
    return Cell("anchors of new rows", name, f"{anchors} of {count}, m = {DIM}", run, truths)


# ------------------------------------------------------------------------------------------------ differences


def _differences() -> Iterator[Cell]:
    for name in (UNIFORM, CONE):
        yield _paired(name, laws.another_encoder(LAWS[name], 0.3), 256, "paired difference")
    for name in (UNIFORM, CONE):
        yield _joint(name, laws.another_encoder(LAWS[name], 0.3), 256)
    squeezed = laws.another_encoder(laws.views(LAWS[MIXED], 0.5), 0.3, squeeze=0.6)
    yield _paired(MIXED, squeezed, 256, "paired difference of two views")
    for name, sizes in ((UNIFORM, (256, 256)), (CONE, (256, 100))):
        yield _unpaired(name, laws.side_by_side(LAWS[name], LAWS[name]), sizes)


def _paired(name: str, law: Law, count: int, design: str) -> Cell:
    items = list(range(count))

    def run(generator: Generator) -> Measured:
        both = law(count, generator)
        middle = len(both) // 2
        one, other = (measure(torch.stack(views), items=items) for views in (both[:middle], both[middle:]))
        return one - other

    truths = functools.partial(truth.of_difference, law, DIM, T)
    return Cell(design, name, f"n = {count}, m = {DIM}", run, truths)


def _joint(name: str, law: Law, count: int) -> Cell:
    """Return the cell of a difference of two embeddings that are compared in one call."""

    def run(generator: Generator) -> Measured:
        one, other = law(count, generator)
        (difference,) = align_uniform.compare(other, one, paired=True).differences
        return difference

    truths = functools.partial(truth.of_difference, law, DIM, T)
    return Cell("difference by compare", name, f"n = {count}, m = {DIM}", run, truths)


def _unpaired(name: str, law: Law, sizes: tuple[int, int]) -> Cell:
    def run(generator: Generator) -> Measured:
        one, other = (law(size, generator)[number] for number, size in enumerate(sizes))
        return measure(one) - measure(other)

    def truths() -> Mapping[str, Truth]:
        names = ("uniform", "uniform.gap", "uniform.equivalent_dim", "mean_cosine")
        return dict.fromkeys(names, Truth(0.0, 0.0))

    return Cell("unpaired difference", name, f"n = {sizes[0]} and {sizes[1]}, m = {DIM}", run, truths)
