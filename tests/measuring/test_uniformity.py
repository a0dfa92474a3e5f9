"""The errors of a measurement are what repeated sampling shows, and estimates from anchors lie within
theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform import measure, uniform_optimum
from align_uniform.measuring.influence import of_all_pairs, stderr
from align_uniform.measuring.populations import Population
from align_uniform.measuring.uniformity import anchor_potentials, exact_potentials
from tests import oracle, rows

Law = Callable[[int, torch.Generator], Tensor]


def uniform_law(dim: int) -> Law:
    return lambda n, g: torch.randn(n, dim, generator=g, dtype=torch.float64)


def cone(n: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, 32, generator=g, dtype=torch.float64) + 0.7


def clusters(number: int, weights: Tensor | None = None) -> Law:
    centres = rows.unit(number, 32, seed=1)

    def law(n: int, g: torch.Generator) -> Tensor:
        members = torch.multinomial(
            torch.ones(number) if weights is None else weights, n, replacement=True, generator=g
        )
        return centres[members] + 0.1 * torch.randn(n, 32, generator=g, dtype=torch.float64)

    return law


ZIPF = 1 / torch.arange(1, 101, dtype=torch.float64)
LAWS: dict[str, tuple[Law, float]] = {
    # and how often 95% intervals may hold the truth: more often where the terms of second order decide, see
    # `stderr`
    "uniform, m=16": (uniform_law(16), 1.0),
    "uniform, m=128": (uniform_law(128), 1.0),
    "cone": (cone, 0.98),
    "10 clusters": (clusters(10), 1.0),
    "100 clusters": (clusters(100), 1.0),
    "100 clusters, Zipf": (clusters(100, ZIPF), 0.98),
}


@pytest.mark.parametrize("name", LAWS)
def test_intervals_hold_the_populations_value_as_often_as_they_say(name: str) -> None:
    law, most = LAWS[name]
    generator = torch.Generator().manual_seed(0)
    samples = F.normalize(torch.stack([law(256, generator) for _ in range(600)]), dim=2)
    potentials = torch.cat([(4 * (z @ z.mT - 1)).exp() for z in samples.split(50)])
    potentials.diagonal(0, 1, 2).fill_(0)
    means = potentials.sum((1, 2)) / (256 * 255)
    truth = means.mean().log()  # each mean is unbiased, and 600 of them leave a 24th of the error of one
    relative = potentials.sum(2) / 255 / means[:, None]
    squares = potentials.square_().sum((1, 2)) / (256 * 255) / means.square()
    errors = [
        stderr(of_all_pairs(row_means, float(square) - 1, 256))
        for row_means, square in zip(relative, squares, strict=True)
    ]
    held = (means.log() - truth).abs() <= 1.96 * torch.tensor(errors, dtype=torch.float64)
    assert 0.92 <= float(held.double().mean()) <= most


def test_the_interval_is_the_value_with_both_errors() -> None:
    uniform = measure(rows.unit(300, 6), method="anchors", anchors=50).uniform
    assert uniform.stderr
    assert uniform.approximation_stderr > 0
    assert uniform.total_stderr == math.hypot(uniform.stderr, uniform.approximation_stderr)
    assert uniform.interval is not None
    assert uniform.interval[1] - uniform.interval[0] == pytest.approx(2 * 1.959964 * uniform.total_stderr)


def test_the_standard_error_is_its_formula() -> None:
    z = rows.unit(40, 6)
    g = np.exp(-2 * ((oracle.numbers(z)[:, None] - oracle.numbers(z)[None]) ** 2).sum(2))
    distinct = g[~np.eye(40, dtype=bool)].reshape(40, 39)
    u, zeta_2 = distinct.mean(), (distinct**2).mean() - distinct.mean() ** 2
    zeta_1 = max(0, (39**2 * distinct.mean(1).var(ddof=1) / 38 - zeta_2) / 36)
    expected = math.sqrt((4 * 38 * zeta_1 + 2 * zeta_2) / (40 * 39)) / u
    assert measure(z).uniform.stderr == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("width", [0.1, 0.03, 0.001, 1e-4])
def test_collapsed_rows_in_float32_have_the_error_of_float64(width: float) -> None:
    z = (rows.unit(1, 8) + width * rows.normal(300, 8)).float()
    found, truth = measure(z), measure(z.double())
    assert found.uniform.stderr == pytest.approx(truth.uniform.stderr, rel=0.01)
    assert found.mean_cosine_stderr == pytest.approx(truth.mean_cosine_stderr, rel=0.01)


def test_few_rows_have_no_error() -> None:
    assert measure(rows.unit(4, 6)).uniform.stderr is None
    assert measure(rows.unit(5, 6)).uniform.stderr is not None
    assert stderr(of_all_pairs(torch.ones(10), 0.0, 10)) == 0


def test_several_views_have_the_error_of_their_mean() -> None:
    """Views that are the same say nothing new; independent views halve the variance."""
    x, y = rows.unit(400, 16), rows.unit(400, 16, seed=1)
    alone = measure(x + 1).uniform.stderr
    same = measure(x + 1, x + 1).uniform.stderr
    apart = measure(x + 1, y + 1).uniform.stderr
    assert alone is not None
    assert same == pytest.approx(alone, rel=0.02)
    assert apart == pytest.approx(alone / math.sqrt(2), rel=0.1)


def test_groups_widen_the_error_of_rows_that_depend_on_each_other() -> None:
    """Each item five times over: value and errors are those of the items, not of five times as many."""
    z = rows.normal(100, 8) + 0.5
    fivefold = z.repeat(5, 1) + 0.02 * rows.normal(500, 8, seed=1)
    items = list(range(100)) * 5
    alone = measure(z, z + 0.1)
    grouped = measure(fivefold, fivefold + 0.1, groups=items)
    naive = measure(fivefold, fivefold + 0.1)
    assert alone.uniform.stderr
    assert grouped.uniform.stderr
    assert naive.uniform.stderr
    assert naive.uniform.value > grouped.uniform.value  # pairs of one item are closer than others
    codes = torch.tensor(items)
    apart = codes[:, None] != codes[None]
    unit = [F.normalize(view, dim=1) for view in (fivefold, fivefold + 0.1)]
    cosines = [(view @ view.T)[apart] for view in unit]
    expected = [float((4 * (part - 1)).exp().mean().log()) for part in cosines]
    assert grouped.uniform.by_population == pytest.approx(expected, rel=1e-9)
    assert grouped.mean_cosine == pytest.approx(float(torch.stack(cosines).mean()), rel=1e-9)
    assert 0.85 < grouped.uniform.stderr / alone.uniform.stderr < 1.15
    assert naive.uniform.stderr < 0.6 * grouped.uniform.stderr
    assert grouped.align
    assert naive.align
    assert grouped.align.value == pytest.approx(naive.align.value, rel=1e-12)
    assert grouped.align.stderr == pytest.approx(naive.align.stderr * math.sqrt(5), rel=0.1)  # type: ignore[operator]


@pytest.mark.parametrize("name", LAWS)
def test_anchors_lie_within_their_error_of_the_exact_value(name: str) -> None:
    z = LAWS[name][0](2000, torch.Generator().manual_seed(7)).float()
    population = Population(z, "rows", normalize=True, device=torch.device("cpu"))
    ((exact,), _) = exact_potentials(population, [2.0], lambda _: None)

    def estimate(seed: int) -> tuple[float, float, float]:
        anchors = torch.randperm(2000, generator=torch.Generator().manual_seed(seed))[:200].sort().values
        ((found,), _) = anchor_potentials(population, anchors, [2.0], lambda _: None)
        of_rows = stderr(found.influence)
        assert of_rows is not None
        return found.log_mean - exact.log_mean, found.approximation_stderr, of_rows

    deviations, errors, of_rows = torch.tensor(
        [estimate(seed) for seed in range(150)], dtype=torch.float64
    ).unbind(1)
    assert 0.89 <= float((deviations.abs() <= 1.96 * errors).double().mean()) <= 0.99
    assert 0.75 < float(deviations.std() / errors.mean()) < 1.25
    # The rows as a sample have the error that the exact sum finds.
    assert float(of_rows.mean()) == pytest.approx(stderr(exact.influence), rel=0.25)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_regression_on_moments_spares_most_of_the_error(normalize: bool) -> None:
    z = (rows.unit(4000, 32) + 0.05).float()
    exact = measure(z, normalize=normalize).uniform.value
    found = measure(z, normalize=normalize, method="anchors", anchors=400).uniform
    plain = oracle.numbers(z)
    means = [np.exp(-2 * ((plain - plain[row]) ** 2).sum(1)).mean() for row in range(400)]
    of_sample = np.std(means) / np.mean(means) / math.sqrt(400)
    assert found.approximation_stderr < of_sample / 5
    assert abs(found.value - exact) < 4 * found.approximation_stderr


def test_as_many_anchors_as_rows_are_exact() -> None:
    found = measure(rows.unit(50, 6), method="anchors", anchors=50)
    assert found.provenance["method"] == "exact"
    assert found.uniform.approximation_stderr == 0


def test_calibration_is_that_of_the_sphere() -> None:
    uniform = measure(rows.unit(2000, 16)).uniform
    assert uniform.optimum == uniform_optimum(16)
    assert uniform.gap == uniform.value - uniform.optimum
    assert abs(uniform.z) < 3
    assert uniform.equivalent_dim == pytest.approx(16, abs=0.5)
    assert uniform.equivalent_dim_stderr
    assert abs(uniform.equivalent_dim - 16) < 4 * uniform.equivalent_dim_stderr  # type: ignore[operator]


def test_a_mean_that_few_pairs_carry_is_warned_of() -> None:
    z = rows.unit(256, 16)
    (warning,) = measure(z, t=[2, 20]).warnings
    assert warning.startswith("at t = 20 the error of the uniformity of features rests on effectively")
