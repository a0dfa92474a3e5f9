"""Tests of several embeddings side by side: the joint kernel, and p adjusted for their number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from align_uniform import compare, measure
from align_uniform.measuring.joint import Joint, joint_cosines
from align_uniform.measuring.populations import Population
from align_uniform.measuring.significance import holm, normal_p
from tests import rows


def encoders(count: int, items: int, dim: int, seed: int, noise: float = 0.3) -> list[Tensor]:
    """Return encoders that are equally good: the same items, turned, with as much noise of their own."""
    shared = rows.unit(items, dim, seed=seed)
    return [
        torch.nn.functional.normalize(
            shared @ torch.linalg.qr(rows.normal(dim, dim, seed=90 + number)).Q
            + noise * rows.normal(items, dim, seed=1000 * seed + number + 7) / dim**0.5
        )
        for number in range(count)
    ]


def relative_potentials(views: list[Tensor], t: float) -> np.ndarray:
    """Return G / U - 1 of all pairs, averaged over views, by loops of its own, 0 on the diagonal."""
    total = 0
    for view in views:
        squares = ((view[:, None] - view[None]).double().square()).sum(-1).numpy()
        potentials = np.exp(-t * squares)
        off = ~np.eye(len(view), dtype=bool)
        total = total + potentials / potentials[off].mean() / len(views)
    deviations = np.asarray(total) - 1
    np.fill_diagonal(deviations, 0)
    return deviations


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("items", [40, 1500])
def test_the_joint_error_is_that_of_the_joint_kernel(views: int, items: int) -> None:
    """The variance of a mean over all pairs, of the kernel G_a / U_a - G_b / U_b, from its matrix."""
    a, b = encoders(2, items, 6, seed=1)
    sides = [[z, z.flip(1) + 0.2 * z.roll(1, 1)][:views] for z in (a, b)]
    sides = [[torch.nn.functional.normalize(z) for z in side] for side in sides]
    found = compare(*(torch.stack(side) for side in sides), paired=True).differences[0]
    kernel = relative_potentials(sides[1], 2.0) - relative_potentials(sides[0], 2.0)
    n = items
    zeta_2 = (kernel**2).sum() / (n * (n - 1))
    spread = (kernel.sum(1) / (n - 1)).var(ddof=1)
    zeta_1 = max(0.0, ((n - 1) ** 2 * spread / (n - 2) - zeta_2) / (n - 4))
    variance = (4 * (n - 2) * zeta_1 + 2 * zeta_2) / (n * (n - 1))
    assert found.uniform_stderr == pytest.approx(variance**0.5, rel=1e-4)
    assert found.gap_stderr == found.uniform_stderr


def test_an_embedding_does_not_differ_from_itself() -> None:
    x = rows.unit(100, 6)
    (found,) = compare(x, x, paired=True).differences
    assert found.uniform == 0
    assert found.uniform_stderr == pytest.approx(0, abs=1e-9)


def test_measurements_are_compared_as_their_difference_is() -> None:
    x, y = rows.unit(60, 6), rows.unit(60, 6, seed=1)
    a, b = measure(x, items=range(60)), measure(y, items=range(60))
    assert compare(a, b).differences == (b - a,)
    assert [each.name for each in compare(a, b, names=["a", "b"]).measurements] == ["a", "b"]
    mixed = compare(a, y, items=range(60)).differences[0]
    assert mixed.uniform_stderr == (b - a).uniform_stderr
    joint = compare(x, y, items=range(60)).differences[0]
    assert joint.uniform_stderr is not None
    assert joint.uniform_stderr != (b - a).uniform_stderr
    assert not compare(x, y).differences[0].paired
    grouped = compare(x, y, groups=[i // 3 for i in range(60)], paired=True).differences[0]
    assert grouped.paired


def test_p_is_adjusted_for_the_differences_of_one_number() -> None:
    x = rows.unit(80, 6)
    result = compare(
        x, rows.unit(80, 6, seed=1), x + 0.3, rows.unit(80, 6, seed=2), names=["a", "b", "c", "d"]
    )
    ps = [each["uniform"] for each in result.p]
    assert ps == [normal_p(each.uniform, each.uniform_stderr) for each in result.differences]
    assert tuple(each["uniform"] for each in result.adjusted_p) == holm(ps)
    text = str(result)
    assert "c − a (unpaired" in text
    assert "adjusted p < 0.0001" in text
    assert "by Holm's method, for the 3 differences of one number" in text
    assert "adjusted" not in compare(x, x + 0.3).text_of_differences()


def test_arguments_that_do_not_fit_are_refused() -> None:
    x = rows.unit(20, 6)
    with pytest.raises(ValueError, match="at least two embeddings, got 1"):
        compare(x)
    with pytest.raises(ValueError, match="names must be one for each of the 2 embeddings, got 1"):
        compare(x, x, names=["a"])


def test_joint_moments_make_the_excess_of_multiples() -> None:
    joint = Joint(0.5, 0.3, 0.2)
    assert joint.excess() == pytest.approx(0.5 + 0.3 - 0.4)
    assert joint.excess(2.0, -1.0) == pytest.approx(4 * 0.5 + 0.3 + 4 * 0.2)


def test_joint_moments_of_cosines_are_those_of_all_pairs() -> None:
    a, b = rows.unit(2, 30, 5), rows.unit(3, 30, 7, seed=1)
    populations = tuple(
        [Population(view, "x", normalize=True, device=torch.device("cpu")) for view in views]
        for views in (a, b)
    )
    of_a, of_b = ((views @ views.mT).mean(0)[~torch.eye(30, dtype=torch.bool)] for views in (a, b))
    found = joint_cosines((populations[0], populations[1]), (float(of_a.mean()), float(of_b.mean())))
    expected = torch.cov(torch.stack([of_a, of_b]), correction=0)
    assert [found.first, found.second, found.product] == pytest.approx(
        [float(expected[0, 0]), float(expected[1, 1]), float(expected[0, 1])]
    )


# ------------------------------------------------------------------------------------------------- simulation


def test_joint_errors_hold_near_the_optimum_and_equal_encoders_seldom_differ() -> None:
    """Seven equal encoders near the uniform law: without the joint kernel errors are 1.4 times too wide,
    without Holm's method a false difference is found in about one run of six.
    """
    runs, count = 100, 7
    errors: list[float] = []
    values: list[float] = []
    cosines: list[float] = []
    cosine_errors: list[float] = []
    significant = single = 0
    for seed in range(runs):
        result = compare(*encoders(count, 48, 8, seed=seed), paired=True)
        values += [each.uniform for each in result.differences]
        errors += [each.uniform_stderr or 0.0 for each in result.differences]
        cosines += [each.mean_cosine or 0.0 for each in result.differences]
        cosine_errors += [each.mean_cosine_stderr or 0.0 for each in result.differences]
        significant += any((p["uniform"] or 1) <= 0.05 for p in result.adjusted_p)
        single += any((p["uniform"] or 1) <= 0.05 for p in result.p)
    held = sum(abs(value) <= 1.96 * error for value, error in zip(values, errors, strict=True))
    assert 0.92 <= held / len(values) <= 0.985
    deviation = float(np.std(values))
    assert 0.9 <= float(np.mean(errors)) / deviation <= 1.15
    assert 0.9 <= float(np.mean(cosine_errors)) / float(np.std(cosines)) <= 1.15
    assert significant / runs <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5
    assert single / runs >= 0.07
