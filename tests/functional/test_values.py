"""Tests of the values of the three losses: the reference, options, golden values, laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, pad

from align_uniform import uniform_optimum
from align_uniform.engine import routes, tiles
from tests import oracle, rows
from tests.as_they_are import align_loss, contrastive_loss, uniform_loss
from tests.functional.references import (
    close,
    features,
    gradient,
    reference_align,
    reference_uniform,
)

# -------------------------------------------------------------------------------- equality with the reference

FEATURES = {
    "unit": lambda n, m: rows.unit(n, m),
    "normal": lambda n, m: rows.normal(n, m),
    "small": lambda n, m: 1e-3 * rows.normal(n, m),
    "far from the origin": lambda n, m: rows.unit(n, m) + 100 * rows.unit(1, m, seed=1),
    "crowded": lambda n, m: rows.unit(1, m) + 1e-3 * rows.normal(n, m),
    "duplicated": lambda n, m: rows.unit(3, m).repeat(n, 1)[:n],
}
UNIT_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", UNIT_TOLERANCE, ids=str)
@pytest.mark.parametrize("n", [2, 3, 64, 530])
@pytest.mark.parametrize("features", FEATURES)
def test_uniformity_is_at_least_as_accurate_as_the_reference_in_the_same_dtype(
    features: str, n: int, dtype: torch.dtype
) -> None:
    x = FEATURES[features](n, 16).to(dtype)
    radius = float((x - x.mean(0)).double().norm(dim=1).max())
    for t in (2, 30):
        truth = oracle.uniform(oracle.numbers(x), t)
        reference = abs(reference_uniform(x, t).item() - truth)
        allowed = (reference if math.isfinite(reference) else 0) + 8 * torch.finfo(dtype).eps * max(
            1, t * radius**2
        )
        assert abs(uniform_loss(x, t).item() - truth) <= allowed, (t, reference, allowed)


@pytest.mark.parametrize("dtype", UNIT_TOLERANCE, ids=str)
@pytest.mark.parametrize("n", [2, 3, 64, 530])
@pytest.mark.parametrize("m", [1, 2, 128])
def test_uniformity_of_unit_rows_equals_the_reference(n: int, m: int, dtype: torch.dtype) -> None:
    x = rows.unit(n, m).to(dtype)
    for t in (2, 4):
        truth = oracle.uniform(oracle.numbers(x), t)
        rounding = max(1, abs(truth) / 4)  # a float32 has units of 5e-7 from 4 on, of 1e-6 from 8 on
        allowed = UNIT_TOLERANCE[dtype] * rounding
        if routes.takes_kernel(
            x
        ):  # three TF32 products leave out the smallest part of each, the same for all equal rows
            allowed = max(allowed, 8 * torch.finfo(dtype).eps * t)
        close(uniform_loss(x, t), truth, allowed)
        torch.testing.assert_close(uniform_loss(x, t), reference_uniform(x, t))


@pytest.mark.parametrize("dtype", UNIT_TOLERANCE, ids=str)
@pytest.mark.parametrize("alpha", [0.5, 1, 1.5, 2, 3])
@pytest.mark.parametrize("features", FEATURES)
def test_alignment_equals_the_reference(features: str, alpha: float, dtype: torch.dtype) -> None:
    x, y = FEATURES[features](50, 8).to(dtype), rows.unit(50, 8, seed=2).to(dtype)
    truth = oracle.align(oracle.numbers(x), oracle.numbers(y), alpha)
    close(align_loss(x, y, alpha) / truth, 1.0, UNIT_TOLERANCE[dtype])
    torch.testing.assert_close(align_loss(x, y, alpha), reference_align(x, y, alpha))
    torch.testing.assert_close(align_loss(x, y, alpha, reduction="none"), (x - y).norm(dim=1).pow(alpha))


@pytest.mark.usefixtures("route")
def test_the_reference_and_the_losses_have_the_same_gradient() -> None:
    x, y = rows.normal(2, 40, 8)
    for ours, reference in (
        (align_loss, reference_align),
        (lambda x, y: align_loss(x, y, 3), lambda x, y: reference_align(x, y, 3)),
    ):
        for ours_part, part in zip(gradient(ours, x, y), gradient(reference, x, y), strict=True):
            close(ours_part, part, 1e-12)
    close(gradient(uniform_loss, x)[0], gradient(reference_uniform, x)[0], 1e-12)


@pytest.mark.parametrize("dtype", UNIT_TOLERANCE, ids=str)
def test_the_losses_take_their_device_and_dtype_from_the_features(device: str, dtype: torch.dtype) -> None:
    if device == "mps" and dtype == torch.float64:
        pytest.skip("MPS has no float64")
    x, y, z = (z.to(device) for z in rows.unit(3, 20, 4, dtype=dtype))
    a, b, c = (oracle.numbers(part) for part in (x, y, z))
    for value, truth in (
        (align_loss(x, y), oracle.align(a, b)),
        (uniform_loss(x, negatives=z), oracle.uniform(a, negatives=c)),
        (contrastive_loss(x, y, 0.2, negatives=z), oracle.contrastive(a, b, 0.2, negatives=c)),
    ):
        assert value.dtype == dtype
        assert value.device.type == device
        close(value.cpu(), truth, 3 * UNIT_TOLERANCE[dtype])


# ----------------------------------------------------------------------- second populations, batches, options


@pytest.mark.parametrize("intra_batch", [True, False])
@pytest.mark.parametrize("t", [0.5, 2, 300], ids="t={}".format)
@pytest.mark.parametrize("sizes", [(7, 5), (1, 4), (4, 1), (10, 23)], ids=str)
@pytest.mark.usefixtures("route")
def test_negatives_share_one_mean_with_the_pairs_of_the_batch(
    sizes: tuple[int, int], t: float, intra_batch: bool
) -> None:
    x, z = rows.unit(sizes[0], 3), rows.unit(sizes[1], 3, seed=1)
    truth = oracle.uniform(oracle.numbers(x), t, negatives=oracle.numbers(z), intra_batch=intra_batch)
    expected = oracle.uniform_gradient(
        oracle.numbers(x), t, negatives=oracle.numbers(z), intra_batch=intra_batch
    )

    def loss(x: Tensor, z: Tensor) -> Tensor:
        return uniform_loss(x, t, negatives=z, intra_batch=intra_batch)

    close(loss(x, z), truth, 1e-11)
    for part, truth_of_part in zip(gradient(loss, x, z), expected, strict=True):
        close(part, truth_of_part, 1e-10)


def test_the_pooled_value_is_the_logaddexp_of_its_two_parts() -> None:
    x, z = rows.normal(9, 4), rows.normal(5, 4, seed=1)
    within, across = 9 * 8 / 2, 9 * 5
    parts = [
        uniform_loss(x) + math.log(within / (within + across)),
        uniform_loss(x, negatives=z, intra_batch=False) + math.log(across / (within + across)),
    ]
    close(uniform_loss(x, negatives=z), torch.logaddexp(*parts), 1e-13)


@pytest.mark.parametrize("tau", [0.01, 0.5, 10])
@pytest.mark.usefixtures("route")
def test_contrastive_in_batch_is_the_mean_of_both_cross_entropies(tau: float) -> None:
    x, y = rows.normal(2, 11, 4)
    logits = x @ y.T / tau
    labels = torch.arange(11)
    close(
        contrastive_loss(x, y, tau),
        (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2,
        1e-11,
    )
    close(contrastive_loss(x, y, tau), oracle.contrastive(oracle.numbers(x), oracle.numbers(y), tau), 1e-11)


@pytest.mark.parametrize("tau", [0.01, 0.5, 10])
@pytest.mark.usefixtures("route")
def test_contrastive_with_negatives_is_the_cross_entropy_of_moco(tau: float) -> None:
    x, y, z = rows.normal(11, 4), rows.normal(11, 4, seed=1), rows.normal(17, 4, seed=2)
    logits = torch.cat([(x * y).sum(1, keepdim=True), x @ z.T], 1) / tau
    close(
        contrastive_loss(x, y, tau, negatives=z),
        cross_entropy(logits, torch.zeros(11, dtype=torch.long)),
        1e-11,
    )
    truth = oracle.contrastive(oracle.numbers(x), oracle.numbers(y), tau, negatives=oracle.numbers(z))
    close(contrastive_loss(x, y, tau, negatives=z), truth, 1e-11)


def test_contrastive_is_made_of_alignment_and_uniformity_as_theorem_1_says() -> None:
    # One anchor of unit norm and K negatives: x.y = 1 - L_align / 2, and sum exp(x.z / tau) = K exp(2t +
    # L_uniform).
    t = 2.5
    x, y, z = rows.unit(6, 1, 5), rows.unit(6, 1, 5, seed=1), rows.unit(6, 9, 5, seed=2)
    positives = 2 * t * (1 - align_loss(x, y, reduction="none").squeeze(-1) / 2)
    negatives = math.log(9) + 2 * t + uniform_loss(x, t, negatives=z, intra_batch=False)
    close(
        contrastive_loss(x, y, 1 / (2 * t), negatives=z),
        torch.logaddexp(positives, negatives) - positives,
        1e-13,
    )


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)], ids=str)
@pytest.mark.parametrize("shared_negatives", [True, False])
@pytest.mark.usefixtures("route")
def test_leading_dimensions_are_separate_batches(batch: tuple[int, ...], shared_negatives: bool) -> None:
    x, y = rows.unit(2, *batch, 7, 3)
    z = rows.unit(*([] if shared_negatives else batch), 5, 3, seed=1)
    negatives = z.expand(*batch, 5, 3)
    losses: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
        lambda x, _y, _z: uniform_loss(x),
        lambda x, _y, _z: uniform_loss(x, 300),
        lambda x, _y, z: uniform_loss(x, negatives=z),
        lambda x, _y, z: uniform_loss(x, 300, negatives=z, intra_batch=False),
        lambda x, y, _z: contrastive_loss(x, y, 0.1),
        lambda x, y, z: contrastive_loss(x, y, 0.1, negatives=z),
    ]
    for loss in losses:
        one_by_one = [
            loss(*parts)
            for parts in zip(*(v.reshape(-1, *v.shape[-2:]) for v in (x, y, negatives)), strict=True)
        ]
        values = loss(x, y, z)
        assert values.shape == batch
        close(values.flatten(), torch.stack(one_by_one), 1e-12)
    assert align_loss(x, y).shape == ()
    assert align_loss(x, y, reduction="none").shape == (*batch, 7)
    close(align_loss(x, y), align_loss(x, y, reduction="none").mean(), 1e-13)


def test_normalize_is_the_value_of_the_normalised_rows() -> None:
    x, y, z = 7 * rows.normal(8, 3), rows.normal(8, 3, seed=1), 0.1 * rows.normal(5, 3, seed=2)
    u, v, w = (normalize(part, dim=-1) for part in (x, y, z))
    close(align_loss(x, y, normalize=True), align_loss(u, v), 1e-14)
    close(uniform_loss(x, negatives=z, normalize=True), uniform_loss(u, negatives=w), 1e-14)
    close(contrastive_loss(x, y, 0.3, normalize=True), contrastive_loss(u, v, 0.3), 1e-14)
    close(
        contrastive_loss(x, y, 0.3, negatives=z, normalize=True),
        contrastive_loss(u, v, 0.3, negatives=w),
        1e-14,
    )


def test_the_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, z = rows.normal(23, 5), rows.normal(23, 5, seed=1), rows.normal(17, 5, seed=2)
    losses: list[Callable[[Tensor], Tensor]] = [
        uniform_loss,
        lambda x: uniform_loss(x, 200),
        lambda x: uniform_loss(x, negatives=z),
        lambda x: contrastive_loss(x, y, 0.2),
        lambda x: contrastive_loss(x, y, 0.2, negatives=z),
    ]
    whole = [(loss(x), *gradient(loss, x)) for loss in losses]
    monkeypatch.setattr(tiles, "DENSE_ROWS", 1)
    for size in (1, 2, 5, 23, 24, 1000):
        monkeypatch.setattr(tiles, "tile_size", lambda *_, size=size: size)
        monkeypatch.setattr(routes, "PLAIN_PAIRS", size * 17)
        for loss, (value, grad) in zip(losses, whole, strict=True):
            close(loss(x), value, 1e-12)
            close(gradient(loss, x)[0], grad, 1e-12 * grad.abs().max().item())


@pytest.mark.parametrize("layout", ["transposed", "every other row", "expanded"])
@pytest.mark.usefixtures("route")
def test_rows_may_lie_in_memory_as_they_like(layout: str) -> None:
    x = {
        "transposed": rows.normal(5, 12).T,
        "every other row": rows.normal(24, 5)[::2],
        "expanded": rows.normal(1, 5).expand(12, 5),
    }[layout]
    z = rows.normal(5, 8, seed=1).T
    assert not x.is_contiguous()

    def loss(x: Tensor, z: Tensor) -> Tensor:
        return uniform_loss(x) + uniform_loss(x, negatives=z) + contrastive_loss(x, x + 1, 0.5, negatives=z)

    for part, expected in zip(
        gradient(loss, x, z), gradient(loss, x.contiguous(), z.contiguous()), strict=True
    ):
        close(part, expected, 1e-13)
    close(loss(x, z), loss(x.contiguous(), z.contiguous()), 1e-13)


# ---------------------------------------------------------------------------------------------- golden values


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (lambda: align_loss(torch.eye(2), torch.eye(2).flip(0), 2), 2),
        (lambda: align_loss(torch.eye(2), torch.eye(2).flip(0), 1), math.sqrt(2)),
        (lambda: align_loss(torch.eye(2), -torch.eye(2), 3), 8),
        (lambda: uniform_loss(torch.eye(5), 3), -6),
        (
            lambda: uniform_loss(torch.eye(2), 2, negatives=-torch.eye(2)),
            math.log((3 * math.exp(-4) + 2 * math.exp(-8)) / 5),
        ),
        (lambda: uniform_loss(torch.tensor([[1.0], [-1.0], [1.0]]), 1), math.log((1 + 2 * math.exp(-4)) / 3)),
        (lambda: contrastive_loss(torch.eye(2), torch.eye(2), 0.5), math.log(math.exp(2) + 1) - 2),
        (
            lambda: contrastive_loss(torch.eye(2), torch.eye(2), 0.5, negatives=-torch.eye(2)),
            math.log(1 + math.exp(-2) + math.exp(-4)),
        ),
    ],
)
def test_small_cases_have_the_value_found_by_hand(value: Callable[[], Tensor], golden: float) -> None:
    close(value(), golden, 2e-6)


@pytest.mark.large
@pytest.mark.parametrize(("k", "golden"), [(256, -3.9689), (128, -3.9376), (64, -3.8752), (16, -3.5129)])
def test_the_uniform_law_on_a_great_sphere_reaches_the_optimum_of_its_own_dimension(
    k: int, golden: float
) -> None:
    x = pad(rows.unit(4096, k, dtype=torch.float32), (0, 256 - k))
    close(uniform_loss(x), golden, 1e-3)
    close(uniform_loss(x), uniform_optimum(k), 1e-3)


# ------------------------------------------------------------------------------------------------------- laws

TOLERANCE = 1e-9


ts = st.floats(0.1, 50)


@given(features(), ts, st.integers(0, 1000))
def test_rotations_and_reflections_change_no_loss(x: Tensor, t: float, seed: int) -> None:
    rotation, _ = torch.linalg.qr(rows.normal(x.shape[1], x.shape[1], seed=seed))
    y = x.flip(0) + 0.5
    close(uniform_loss(x @ rotation, t), uniform_loss(x, t), TOLERANCE)
    close(align_loss(x @ rotation, y @ rotation), align_loss(x, y), TOLERANCE)
    close(contrastive_loss(x @ rotation, y @ rotation, 1 / t), contrastive_loss(x, y, 1 / t), TOLERANCE)


@given(features(), ts, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_loss(x: Tensor, t: float, random: Any) -> None:
    order = list(range(len(x)))
    random.shuffle(order)
    y = x.flip(0) + 0.5
    close(uniform_loss(x[order], t), uniform_loss(x, t), TOLERANCE)
    close(uniform_loss(x[order], t, negatives=y), uniform_loss(x, t, negatives=y[order]), TOLERANCE)
    close(align_loss(x[order], y[order]), align_loss(x, y), TOLERANCE)
    close(contrastive_loss(x[order], y[order], 1 / t), contrastive_loss(x, y, 1 / t), TOLERANCE)


@given(features(), ts, st.floats(-100, 100))
def test_a_translation_changes_neither_alignment_nor_uniformity(x: Tensor, t: float, shift: float) -> None:
    close(uniform_loss(x + shift, t), uniform_loss(x, t), 1e-8)
    close(align_loss(x + shift, x.flip(0) + shift), align_loss(x, x.flip(0)), 1e-8)


@given(features(), ts)
def test_every_value_is_that_of_the_definition(x: Tensor, t: float) -> None:
    y = x.flip(0) * 0.5
    a, b = oracle.numbers(x), oracle.numbers(y)
    close(uniform_loss(x, t), oracle.uniform(a, t), TOLERANCE)
    close(uniform_loss(x, t, negatives=y), oracle.uniform(a, t, negatives=b), TOLERANCE)
    close(align_loss(x, y, t / 10), oracle.align(a, b, t / 10), TOLERANCE)
    close(contrastive_loss(x, y, 1 / t), oracle.contrastive(a, b, 1 / t), TOLERANCE)
    close(gradient(lambda x: uniform_loss(x, t), x)[0], oracle.uniform_gradient(a, t)[0], TOLERANCE)


@given(features(), ts)
def test_uniformity_is_at_most_0_and_above_the_optimum_once_self_pairs_are_counted(
    x: Tensor, t: float
) -> None:
    assert uniform_loss(x, t) <= TOLERANCE
    unit = normalize(torch.where((x == 0).all(1, keepdim=True), 1.0, x), dim=-1)
    n = len(unit)
    over_all_pairs = ((n - 1) * uniform_loss(unit, t).exp() + 1).div(n).log()
    assert over_all_pairs >= uniform_optimum(x.shape[1], t) - TOLERANCE
    assert 0 <= align_loss(unit, unit.flip(0), 2) <= 4 + TOLERANCE


@given(features(), ts, st.floats(1, 3))
def test_uniformity_falls_with_t(x: Tensor, t: float, factor: float) -> None:
    assert uniform_loss(x, t * factor) <= uniform_loss(x, t) + TOLERANCE


@given(features(), ts)
def test_doubled_rows_count_as_the_pairs_that_they_make(x: Tensor, t: float) -> None:
    n = len(x)
    doubled = uniform_loss(x.repeat(2, 1), t)  # every pair four times, and every row once with its double
    expected = ((4 * n * (n - 1) / 2) * uniform_loss(x, t).exp() + n).div(n * (2 * n - 1)).log()
    close(doubled, expected, TOLERANCE)


@given(features(least=1), ts)
def test_alignment_is_symmetric_and_contrastive_in_batch_too(x: Tensor, t: float) -> None:
    y = x.roll(1, 0) + 0.25
    close(align_loss(x, y, t), align_loss(y, x, t), TOLERANCE)
    close(contrastive_loss(x, y, 1 / t), contrastive_loss(y, x, 1 / t), TOLERANCE)
