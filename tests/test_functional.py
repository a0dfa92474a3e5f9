"""Tests of values, traps, laws, derivatives and compiled graphs of the three losses."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn.functional import cross_entropy, normalize, pad

from align_uniform import align_loss, contrastive_loss, uniform_loss, uniform_optimum
from align_uniform.engine import routes, tiles
from tests import oracle, rows

NAN, INF = math.nan, math.inf
OLD_COMPILER = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13)
"""Whether compiling looks like exporting, and a second derivative of a compiled function may be lost in
silence.
"""
HALVES = [torch.float16, torch.bfloat16]


def reference_align(x: Tensor, y: Tensor, alpha: float = 2) -> Tensor:
    distances: Tensor = (x - y).norm(dim=1)
    return distances.pow(alpha).mean()


def reference_uniform(x: Tensor, t: float = 2) -> Tensor:
    mean: Tensor = torch.pdist(x).pow(2).mul(-t).exp().mean()
    return mean.log()


def gradient(loss: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [z.detach().clone().requires_grad_() for z in inputs]
    return torch.autograd.grad(loss(*leaves), leaves)


def hessian(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return second derivatives, forward over reverse."""
    return torch.func.jacfwd(torch.func.jacrev(loss))


def close(value: Any, expected: Any, tolerance: float) -> None:
    """Assert equality to within an absolute tolerance, whatever the dtypes."""
    value, expected = (torch.as_tensor(z, dtype=torch.float64) for z in (value, expected))
    torch.testing.assert_close(value, expected, rtol=0, atol=tolerance)


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


# -------------------------------------------------------------------------------------------------- the traps


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.usefixtures("route")
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, y, z = rows.unit(3, 30, 16, dtype=dtype)  # the truth is that of the rounded rows
    a, b, c = (oracle.numbers(part) for part in (x, y, z))
    for value, truth in (
        (align_loss(x, y, 1), oracle.align(a, b, 1)),
        (uniform_loss(x), oracle.uniform(a)),
        (uniform_loss(x, negatives=z), oracle.uniform(a, negatives=c)),
        (contrastive_loss(x, y, 0.2), oracle.contrastive(a, b, 0.2)),
        (contrastive_loss(x, y, 0.2, negatives=z), oracle.contrastive(a, b, 0.2, negatives=c)),
    ):
        assert value.dtype == torch.float32
        close(value, truth, 2e-6)
    (grad,) = gradient(uniform_loss, x)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, torch.as_tensor(oracle.uniform_gradient(a)[0]).to(dtype))


def test_half_precision_rows_whose_squares_overflow_are_still_right() -> None:
    x = 300 * rows.unit(5, 4, dtype=torch.float16)  # 300^2 is beyond float16
    close(uniform_loss(x, 1e-4), oracle.uniform(oracle.numbers(x), 1e-4), 1e-5)
    close(align_loss(x, -x) / oracle.align(oracle.numbers(x), -oracle.numbers(x)), 1, 1e-6)


AUTOCAST_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "align": lambda x, y: align_loss(x, y, 1.5),
    "uniform": lambda x, _y: uniform_loss(x),
    "uniform t=40": lambda x, _y: uniform_loss(x, 40),
    "uniform negatives": lambda x, y: uniform_loss(x, negatives=y),
    "uniform negatives alone": lambda x, y: uniform_loss(y, negatives=x, intra_batch=False),
    "contrastive": lambda x, y: contrastive_loss(x, y, 0.1),
    "contrastive negatives": lambda x, y: contrastive_loss(x, y.flip(0), 0.1, negatives=y),
    "normalize": lambda x, y: uniform_loss(3 * x, normalize=True) + align_loss(2 * x, y, normalize=True),
}


@pytest.mark.parametrize("loss", AUTOCAST_LOSSES.values(), ids=AUTOCAST_LOSSES)
@pytest.mark.usefixtures("route")
def test_autocast_lowers_neither_the_value_nor_the_first_two_derivatives(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    x, y = rows.unit(2, 40, 16, dtype=torch.float32)
    x.requires_grad_()

    def value_and_derivatives(autocast: bool) -> list[Tensor]:
        # As torch prescribes, the forward pass alone stands under autocast.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            assert (x @ x.T).dtype == (torch.bfloat16 if autocast else torch.float32)
            value = loss(x, y)
        (first,) = torch.autograd.grad(value, x, create_graph=True)
        return [value, first, *torch.autograd.grad(first.square().sum(), x)]

    torch.testing.assert_close(value_and_derivatives(autocast=True), value_and_derivatives(autocast=False))


@pytest.mark.usefixtures("route")
def test_a_backward_pass_under_autocast_leaves_the_gradient_of_uniformity_as_it_is() -> None:
    x, z = rows.unit(2, 40, 16, dtype=torch.float32)
    expected = gradient(lambda x: uniform_loss(x, negatives=z), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(gradient(lambda x: uniform_loss(x, negatives=z), x), expected)


def test_a_training_step_under_autocast_has_the_gradient_of_its_own_features() -> None:
    encoder = nn.Linear(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(rows.normal(20, 8, dtype=torch.float32))
        loss = uniform_loss(features)
    features.retain_grad()
    torch.autograd.backward(loss)
    assert features.dtype == torch.bfloat16
    close(loss, oracle.uniform(oracle.numbers(features)), 1e-5)
    assert features.grad is not None
    torch.testing.assert_close(
        features.grad, torch.as_tensor(oracle.uniform_gradient(oracle.numbers(features))[0]).bfloat16()
    )
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.usefixtures("route")
def test_an_antipodal_pair_at_t_30_is_minus_120_where_the_reference_underflows(dtype: torch.dtype) -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=dtype)
    assert reference_uniform(x.float(), 30).item() == -INF
    close(uniform_loss(x, 30), -120, 1e-4)
    (grad,) = gradient(lambda z: uniform_loss(z, 30), x)
    close(
        grad, torch.tensor([[-120.0, 0.0], [120.0, 0.0]]), 1e-3
    )  # exponents of -120 have units of 8e-6 in float32


@pytest.mark.parametrize("t", [30, 100, 400])
@pytest.mark.parametrize("with_negatives", [False, True])
@pytest.mark.usefixtures("route")
def test_no_t_up_to_400_underflows(t: float, with_negatives: bool) -> None:
    x, z = rows.unit(12, 8, dtype=torch.float32), rows.unit(9, 8, seed=1, dtype=torch.float32)
    negatives = z if with_negatives else None
    array = oracle.numbers(z) if with_negatives else None
    close(
        uniform_loss(x, t, negatives=negatives) / oracle.uniform(oracle.numbers(x), t, negatives=array),
        1,
        2e-6,
    )
    (grad,) = gradient(lambda x: uniform_loss(x, t, negatives=negatives), x)
    expected, _ = oracle.uniform_gradient(oracle.numbers(x), t, negatives=array)
    close(grad / np.abs(expected).max(), expected / np.abs(expected).max(), 1e-4)


def test_far_pairs_do_not_drown_the_one_near_pair() -> None:
    # All exponents but one are beyond float32's exp; the largest is not.
    x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [30.0, 0.0], [0.0, 30.0]])
    close(uniform_loss(x), oracle.uniform(oracle.numbers(x)), 1e-4)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1, 1.5, 2, 3])
def test_equal_rows_have_alignment_0_and_gradient_0_for_every_alpha(alpha: float) -> None:
    x = rows.unit(6, 4, dtype=torch.float32)
    y = x.clone()
    y[0] += 0.5  # a pair that differs keeps its own gradient
    for part in gradient(lambda x, y: align_loss(x, y, alpha), x, y):
        assert torch.equal(part[1:], torch.zeros(5, 4))
        assert part[0].abs().min() > 0
    assert align_loss(x, x, alpha).item() == 0


def test_alignment_of_alpha_between_1_and_2_is_never_nan_for_equal_unit_rows() -> None:
    x = rows.unit(64, 128, dtype=torch.float32)
    assert (2 - 2 * (x * x).sum(1)).pow(0.75).isnan().any()  # what the cosine form gives
    assert torch.equal(align_loss(x, x.clone(), 1.5, reduction="none"), torch.zeros(64))


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.usefixtures("route")
def test_identical_rows_have_uniformity_0_and_no_gradient(offset: float) -> None:
    x = (rows.unit(1, 16) + offset).float().repeat(20, 1)
    close(uniform_loss(x), 0, 1e-6)
    close(gradient(uniform_loss, x)[0], torch.zeros(20, 16), 1e-6)


@pytest.mark.parametrize("with_negatives", [False, True])
@pytest.mark.usefixtures("route")
def test_features_far_from_the_origin_keep_their_digits(with_negatives: bool) -> None:
    x, z = ((part + 100 * rows.unit(1, 16, seed=9)).float() for part in rows.unit(2, 50, 16))
    negatives, array = (z, oracle.numbers(z)) if with_negatives else (None, None)
    close(uniform_loss(x, negatives=negatives), oracle.uniform(oracle.numbers(x), negatives=array), 1e-6)
    (grad,) = gradient(lambda x: uniform_loss(x, negatives=negatives), x)
    close(grad, oracle.uniform_gradient(oracle.numbers(x), negatives=array)[0], 1e-6)


def test_unnormalised_features_have_the_value_of_the_formula_and_not_minus_infinity() -> None:
    x, y = 10 * rows.normal(2, 30, 64, dtype=torch.float32)
    assert reference_uniform(x).item() == -INF
    close(uniform_loss(x) / oracle.uniform(oracle.numbers(x)), 1, 1e-6)
    close(align_loss(x, y) / oracle.align(oracle.numbers(x), oracle.numbers(y)), 1, 1e-6)


def test_a_single_row_has_no_uniformity_and_the_error_says_so() -> None:
    assert uniform_loss(rows.unit(1, 4), negatives=rows.unit(3, 4)).isfinite()
    with pytest.raises(ValueError, match="x must have at least 2 rows, got 1: a single row has no pair"):
        uniform_loss(rows.unit(1, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_a_zero_row_stays_zero_when_normalised_and_its_gradient_is_finite(dtype: torch.dtype) -> None:
    x, y, z = rows.normal(3, 6, 4, dtype=dtype)
    x[2] = 0
    u = normalize(x.double(), dim=-1)
    v, w = (normalize(part.double(), dim=-1) for part in (y, z))
    for value, expected, loss in (
        (align_loss(x, y, normalize=True), align_loss(u, v), lambda x: align_loss(x, y, normalize=True)),
        (uniform_loss(x, normalize=True), uniform_loss(u), lambda x: uniform_loss(x, normalize=True)),
        (
            contrastive_loss(x, y, 0.5, negatives=z, normalize=True),
            contrastive_loss(u, v, 0.5, negatives=w),
            lambda x: contrastive_loss(x, y, 0.5, negatives=z, normalize=True),
        ),
    ):
        close(value, expected, 1e-6)
        assert gradient(loss, x)[0].isfinite().all()


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_tiny_and_huge_rows_are_normalised_without_underflow_or_overflow(scale: float) -> None:
    x, y = rows.normal(2, 6, 4)
    tiny_or_huge = (x * scale).float()

    def loss(x: Tensor) -> Tensor:
        return align_loss(x, y.float(), normalize=True) + uniform_loss(x, normalize=True)

    close(loss(tiny_or_huge), loss(x.float()), 1e-6)
    close(gradient(loss, tiny_or_huge)[0].double() * scale, gradient(loss, x.float())[0], 1e-6)


def test_the_gradient_of_normalize_is_that_of_dividing_by_the_norm() -> None:
    x = rows.normal(6, 4)
    x[0] = torch.tensor([1.0, -1, 1, 1])  # where the largest entry is not unique
    for ours, plain in (
        (lambda x: uniform_loss(x, normalize=True), lambda x: uniform_loss(x / x.norm(dim=-1, keepdim=True))),
        (
            lambda x: contrastive_loss(x, x.flip(0), 0.5, normalize=True),
            lambda x: contrastive_loss(
                x / x.norm(dim=-1, keepdim=True), (x / x.norm(dim=-1, keepdim=True)).flip(0), 0.5
            ),
        ),
    ):
        close(gradient(ours, x)[0], gradient(plain, x)[0], 1e-13)
        close(hessian(ours)(x), hessian(plain)(x), 1e-12)


NOT_FINITE_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "align": lambda x, y, _z: align_loss(x, y),
    "align alpha=0.5": lambda x, y, _z: align_loss(x, y, 0.5),
    "align normalize": lambda x, y, _z: align_loss(x, y, normalize=True),
    "uniform": lambda x, _y, _z: uniform_loss(x),
    "uniform t=400": lambda x, _y, _z: uniform_loss(x, 400),
    "uniform normalize": lambda x, _y, _z: uniform_loss(x, normalize=True),
    "uniform negatives": lambda x, _y, z: uniform_loss(x, negatives=z),
    "uniform negatives alone": lambda x, _y, z: uniform_loss(x, negatives=z, intra_batch=False),
    "uniform negatives alone normalize": lambda x, _y, z: uniform_loss(
        x, negatives=z, intra_batch=False, normalize=True
    ),
    "contrastive": lambda x, y, _z: contrastive_loss(x, y, 0.1),
    "contrastive negatives": lambda x, y, z: contrastive_loss(x, y, 0.1, negatives=z),
    "contrastive negatives normalize": lambda x, y, z: contrastive_loss(
        x, y, 0.1, negatives=z, normalize=True
    ),
}


@pytest.mark.parametrize("bad", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize(
    ("name", "place"),
    [
        (name, place)
        for name in NOT_FINITE_LOSSES
        for place in ("x", "negatives")[: 1 + ("negatives" in name)]
    ],
)
@pytest.mark.usefixtures("route")
def test_a_number_that_is_not_finite_never_gives_a_finite_loss(name: str, place: str, bad: float) -> None:
    inputs = list(
        rows.unit(3, 8, 4, dtype=torch.float32).abs()
    )  # of one sign, so that an infinite logit can be -inf for all rows
    inputs[0 if place == "x" else 2][5, 1] = bad
    value = NOT_FINITE_LOSSES[name](*inputs)
    if math.isnan(bad) or name.startswith("uniform") or "normalize" in name:
        assert value.isnan(), value
    else:  # the distance, or a logit, is infinite
        assert not value.isfinite(), value


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.usefixtures("route")
def test_an_infinite_positive_is_no_easy_one(swapped: bool) -> None:
    x = torch.tensor([[1, 0.1], [-1, 0.1], [-0.5, 0.3]])
    y = torch.tensor(
        [[INF, 0.5], [0.3, 0.4], [0.2, 0.1]]
    )  # infinite with its own row, -infinite with the others
    value = contrastive_loss(y, x, 0.5) if swapped else contrastive_loss(x, y, 0.5)
    assert not value.isfinite()


@pytest.mark.usefixtures("compiler")
def test_half_precision_compiles() -> None:
    x, y = rows.unit(2, 20, 8, dtype=torch.bfloat16)
    compiled = torch.compile(
        lambda x, y: uniform_loss(x) + contrastive_loss(x, y, 0.2), fullgraph=True, backend="aot_eager"
    )
    close(compiled(x, y), uniform_loss(x) + contrastive_loss(x, y, 0.2), 1e-5)


@pytest.mark.usefixtures("route")
def test_large_halves_among_the_negatives_overflow_nothing() -> None:
    x, y, z = rows.normal(5, 16), rows.normal(5, 16, seed=1), 1e4 * rows.normal(50, 16, seed=2).abs()
    x, y, z = x.half(), y.half(), z.half()
    a, b, c = (oracle.numbers(part) for part in (x, y, z))
    truth = oracle.contrastive(a, b, 1e4, negatives=c)
    close(contrastive_loss(x, y, 1e4, negatives=z) / truth, 1, 1e-5)


@pytest.mark.usefixtures("route")
def test_a_nan_in_one_batch_leaves_the_others_alone() -> None:
    x = rows.unit(3, 8, 4)
    clean = uniform_loss(x)
    x[1, 3, 2] = NAN
    value = uniform_loss(x)
    assert value.isnan().tolist() == [False, True, False]
    close(value[::2], clean[::2], 1e-13)


def test_self_pairs_are_not_counted() -> None:
    # 64 rows, uniform in 128 dimensions: -3.93 without self-pairs, -3.36 with them.
    value = uniform_loss(rows.unit(64, 128))
    close(value, -3.93, 0.015)
    close((63 * value.exp() + 1).div(64).log(), -3.36, 0.015)


def test_concatenated_views_are_not_the_mean_of_two_logs() -> None:
    x = rows.unit(64, 128)
    y = normalize(x + 0.02 * rows.normal(64, 128, seed=1), dim=-1)
    mean_of_two_logs = (uniform_loss(x) + uniform_loss(y)) / 2
    assert uniform_loss(torch.cat([x, y])) > mean_of_two_logs + 0.1  # the positive pairs have been mixed in


def test_the_mean_of_batch_logs_is_not_the_log_of_all_pairs() -> None:
    # Sorted by class, a batch sees the pairs of one cluster alone.
    clusters = normalize(rows.unit(4, 1, 16) + 0.1 * rows.normal(4, 16, 16, seed=1), dim=-1)
    assert uniform_loss(clusters).mean() > uniform_loss(clusters.flatten(0, 1)) + 0.5
    shards = rows.unit(8, 8, 16)
    assert uniform_loss(shards).mean() != uniform_loss(shards.flatten(0, 1))


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
numbers = st.floats(-1, 1, width=32).map(lambda v: 0.0 if abs(v) < 1e-6 else v)


@st.composite
def features(draw: st.DrawFn, least: int = 2) -> Tensor:
    """Return rows in the unit cube, duplicates and zero rows among them."""
    shape = draw(st.tuples(st.integers(least, 9), st.integers(1, 5)))
    return torch.as_tensor(draw(npst.arrays(np.float64, shape, elements=numbers)))


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


# ------------------------------------------------------------------------------------------------ derivatives


class Case(NamedTuple):
    """A loss as a function of tensors, and the point at which to take its derivatives."""

    loss: Callable[..., Tensor]
    shapes: list[tuple[int, ...]]

    def inputs(self, requires_grad: bool = False) -> list[Tensor]:
        # A temperature is the one scalar, and positive.
        drawn = [
            rows.normal(*shape, seed=i) if shape else torch.tensor(0.7, dtype=torch.float64)
            for i, shape in enumerate(self.shapes)
        ]
        return [z.requires_grad_(requires_grad) for z in drawn]


X, Y, Z, B = (5, 2), (5, 2), (4, 2), (2, 5, 2)
IDS, NEGATIVE_IDS = torch.tensor([0, 7, 0, 3, 3]), torch.tensor([3, 0, 9, 0])
CASES = {
    "align": Case(align_loss, [X, Y]),
    "align alpha=1 none": Case(lambda x, y: align_loss(x, y, 1, reduction="none"), [X, Y]),
    "align normalize": Case(lambda x, y: align_loss(x, y, 3, normalize=True), [B, B]),
    "uniform": Case(uniform_loss, [X]),
    "uniform t=60": Case(lambda x: uniform_loss(x, 60), [X]),
    "uniform batch": Case(uniform_loss, [B]),
    "uniform normalize": Case(lambda x: uniform_loss(x, normalize=True), [X]),
    "uniform negatives": Case(lambda x, z: uniform_loss(x, 0.5, negatives=z), [X, Z]),
    "uniform cross t=60": Case(lambda x, z: uniform_loss(x, 60, negatives=z, intra_batch=False), [X, Z]),
    "uniform batch negatives": Case(lambda x, z: uniform_loss(x, 0.5, negatives=z), [B, Z]),
    "uniform own rows": Case(lambda x: uniform_loss(x, 0.5, negatives=x), [X]),
    "contrastive": Case(contrastive_loss, [X, Y, ()]),
    "contrastive batch": Case(lambda x, y: contrastive_loss(x, y, 0.3), [B, B]),
    "contrastive negatives": Case(
        lambda x, y, z, tau: contrastive_loss(x, y, tau, negatives=z), [X, Y, Z, ()]
    ),
    "contrastive batch negatives": Case(lambda x, y, z: contrastive_loss(x, y, 0.3, negatives=z), [B, B, Z]),
    "align views": Case(align_loss, [(3, 5, 2)]),
    "align views alpha=1": Case(lambda x: align_loss(x, alpha=1), [(3, 5, 2)]),
    "uniform ids": Case(lambda x: uniform_loss(x, 0.5, ids=IDS), [X]),
    "uniform batch ids": Case(lambda x: uniform_loss(x, 30, ids=IDS), [B]),
    "uniform ids negatives": Case(
        lambda x, z: uniform_loss(x, 0.5, negatives=z, ids=IDS, negative_ids=NEGATIVE_IDS), [X, Z]
    ),
    "uniform cross ids t=60": Case(
        lambda x, z: uniform_loss(x, 60, negatives=z, intra_batch=False, ids=IDS, negative_ids=NEGATIVE_IDS),
        [X, Z],
    ),
    "contrastive ids": Case(lambda x, y, tau: contrastive_loss(x, y, tau, ids=IDS), [X, Y, ()]),
    "contrastive ids negatives": Case(
        lambda x, y, z: contrastive_loss(x, y, 0.3, negatives=z, ids=IDS, negative_ids=NEGATIVE_IDS),
        [B, B, Z],
    ),
    "contrastive no negative left": Case(
        lambda x, y, z: contrastive_loss(
            x, y, 0.3, negatives=z, ids=IDS, negative_ids=torch.zeros(4, dtype=torch.int64)
        ),
        [X, Y, Z],
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
@pytest.mark.usefixtures("route")
def test_first_derivatives_are_those_of_finite_differences(case: Case) -> None:
    assert gradcheck(
        case.loss, case.inputs(requires_grad=True), check_forward_ad=True, check_batched_grad=True
    )


@each_case
@pytest.mark.usefixtures("route")
def test_first_derivatives_are_right_when_only_some_inputs_need_them(case: Case) -> None:
    expected = torch.autograd.grad(case.loss(*(inputs := case.inputs(requires_grad=True))).sum(), inputs)
    for count in range(1, len(inputs)):
        for chosen in combinations(range(len(inputs)), count):
            some = [z.detach().requires_grad_(i in chosen) for i, z in enumerate(inputs)]
            grads = torch.autograd.grad(case.loss(*some).sum(), [some[i] for i in chosen])
            for i, grad in zip(chosen, grads, strict=True):
                close(grad, expected[i], 1e-13)


@each_case
@pytest.mark.usefixtures("route")
def test_second_derivatives_are_those_of_finite_differences(case: Case) -> None:
    inputs = case.inputs(requires_grad=True)
    assert gradgradcheck(case.loss, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


@each_case
@pytest.mark.usefixtures("route")
def test_second_derivatives_are_right_when_only_one_input_needs_them(case: Case) -> None:
    for i in range(len(case.shapes)):
        inputs = case.inputs()
        inputs[i].requires_grad_()
        assert gradgradcheck(case.loss, inputs)


@each_case
@pytest.mark.usefixtures("route")
def test_every_way_to_a_hessian_leads_to_the_same(case: Case) -> None:
    func = torch.func
    inputs = case.inputs()

    def loss(x: Tensor) -> Tensor:
        return case.loss(x, *inputs[1:]).sum()

    x = inputs[0]
    by_autograd: Tensor = torch.autograd.functional.hessian(loss, x)
    scale = by_autograd.abs().max()
    for outer, inner in (
        (func.jacfwd, func.jacrev),
        (func.jacrev, func.jacrev),
        (func.jacrev, func.jacfwd),
        (func.jacfwd, func.jacfwd),
    ):
        close(outer(inner(loss))(x) / scale, by_autograd / scale, 1e-12)


@each_case
@pytest.mark.usefixtures("route")
def test_forward_mode_agrees_with_reverse_mode(case: Case) -> None:
    inputs = case.inputs(requires_grad=True)
    directions = [
        torch.full_like(z, 0.3) + i * torch.linspace(0, 1, z.numel()).view_as(z) for i, z in enumerate(inputs)
    ]
    value = case.loss(*inputs)
    by_reverse = sum(
        (direction * grad).sum()
        for direction, grad in zip(directions, torch.autograd.grad(value.sum(), inputs), strict=True)
    )
    primals, tangents = tuple(z.detach() for z in inputs), tuple(directions)
    jvp_value, by_jvp, *_ = torch.func.jvp(case.loss, primals, tangents)
    with forward_ad.dual_level():
        dual = case.loss(*map(forward_ad.make_dual, primals, tangents))
        by_dual_numbers = forward_ad.unpack_dual(dual).tangent
    assert by_dual_numbers is not None
    close(jvp_value, value, 1e-13)
    close(by_jvp.sum(), by_reverse, 1e-12)
    close(by_dual_numbers, by_jvp, 1e-13)


@each_case
@pytest.mark.usefixtures("route")
def test_vmap_maps_values_gradients_and_hessians(case: Case) -> None:
    func = torch.func
    inputs = case.inputs()
    count = 3
    stacks = [torch.stack([z + 0.1 * i for i in range(count)]) for z in inputs]
    one_by_one = [tuple(stack[i] for stack in stacks) for i in range(count)]
    all_inputs = tuple(range(len(inputs)))

    def total(*inputs: Tensor) -> Tensor:
        return case.loss(*inputs).sum()

    close(func.vmap(case.loss)(*stacks), torch.stack([case.loss(*each) for each in one_by_one]), 1e-13)
    grads = func.vmap(func.grad(total, argnums=all_inputs))(*stacks)
    of_sum = func.grad(lambda *stacks: func.vmap(total)(*stacks).sum(), argnums=all_inputs)(*stacks)
    for i in all_inputs:
        expected = torch.stack([func.grad(total, argnums=i)(*each) for each in one_by_one])
        close(grads[i], expected, 1e-12)
        close(of_sum[i], expected, 1e-12)
    hessians = func.vmap(hessian(total))(*stacks)
    close(hessians, torch.stack([hessian(total)(*each) for each in one_by_one]), 1e-11)


@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (1, 0), (0, -1), (2, 1), (2, None)], ids=str)
@pytest.mark.usefixtures("route")
def test_vmap_maps_any_dimension_of_either_population(in_dims: tuple[int | None, int | None]) -> None:
    x, z = (rows.normal(3, n, 2, seed=n) for n in (5, 4))
    moved = [
        stack[0] if dim is None else stack.movedim(0, dim) for stack, dim in zip((x, z), in_dims, strict=True)
    ]
    pairs = [(x[0 if in_dims[0] is None else i], z[0 if in_dims[1] is None else i]) for i in range(3)]
    losses: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, z: uniform_loss(x, negatives=z),
        lambda x, z: uniform_loss(x, 90, negatives=z, intra_batch=False),
        lambda x, z: contrastive_loss(x, x + 1, 0.4, negatives=z),
    ]
    for loss in losses:
        close(torch.func.vmap(loss, in_dims)(*moved), torch.stack([loss(*pair) for pair in pairs]), 1e-13)
        grads = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims)(*moved)
        for side in (0, 1):
            expected = torch.stack([torch.func.grad(loss, argnums=side)(*pair) for pair in pairs])
            close(grads[side], expected, 1e-12)


@pytest.mark.usefixtures("route")
def test_nested_vmap_is_two_leading_dimensions() -> None:
    x = rows.normal(2, 3, 5, 2)
    close(torch.func.vmap(torch.func.vmap(uniform_loss))(x), uniform_loss(x), 1e-13)


@pytest.mark.usefixtures("route")
def test_third_derivatives_are_right_too() -> None:
    x = rows.normal(3, 1)
    jacfwd, jacrev = torch.func.jacfwd, torch.func.jacrev
    forward = jacfwd(jacfwd(jacfwd(uniform_loss)))(x)
    close(jacrev(jacrev(jacrev(uniform_loss)))(x), forward, 1e-11)
    close(jacfwd(jacrev(jacrev(uniform_loss)))(x), forward, 1e-11)


def test_a_graph_may_be_walked_twice_and_scaled() -> None:
    x = rows.normal(6, 3).requires_grad_()
    loss = 3 * uniform_loss(x)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    (second,) = torch.autograd.grad(loss, x)
    assert torch.equal(first, second)
    close(first, 3 * oracle.uniform_gradient(oracle.numbers(x))[0], 1e-12)


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    x = rows.normal(6, 3).requires_grad_()
    with torch.no_grad():
        assert not uniform_loss(x).requires_grad
    assert not uniform_loss(x.detach()).requires_grad
    with torch.inference_mode():
        close(uniform_loss(x), oracle.uniform(oracle.numbers(x)), 1e-12)


@pytest.mark.usefixtures("route")
def test_a_learned_temperature_receives_its_gradient() -> None:
    x, y, z = rows.unit(3, 9, 4)
    a, b, c = (oracle.numbers(part) for part in (x, y, z))
    for negatives, array in ((None, None), (z, c)):
        (grad,) = gradient(
            lambda tau, negatives=negatives: contrastive_loss(x, y, tau, negatives=negatives),
            torch.tensor(0.3, dtype=torch.float64),
        )
        step = 1e-5
        above, below = (oracle.contrastive(a, b, 0.3 + s, negatives=array) for s in (step, -step))
        close(grad, (above - below) / (2 * step), 1e-7)


# -------------------------------------------------------------------------------------------- compiled graphs

OBJECTIVES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "align and uniform": lambda x, y, _z: (
        align_loss(x, y, normalize=True) + (uniform_loss(x) + uniform_loss(y, 50)) / 2
    ),
    "uniform with negatives": lambda x, y, z: (
        uniform_loss(x, negatives=y) + uniform_loss(y, negatives=z, intra_batch=False)
    ),
    "contrastive": lambda x, y, z: contrastive_loss(x, y, 0.3) + contrastive_loss(x, y, 0.3, negatives=z),
}


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiler that remembers nothing of other tests, nor of other runs."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # kernels in it may be of another processor
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=["in the graph", "opaque"])
def compiled_route(request: pytest.FixtureRequest) -> str:
    """Take both ways through a compiled graph: the plain formula, and the sweep as one operator.

    The second is for more pairs.
    """
    request.getfixturevalue("compiler")
    if request.param == "opaque":
        request.getfixturevalue("tiny_tiles")
    return str(request.param)


def training_step(encoder: nn.Module, views: Tensor, z: Tensor, objective: Callable[..., Tensor]) -> Tensor:
    x, y = encoder(views)
    return objective(x, y, z)


@pytest.mark.usefixtures("compiled_route")
def assert_step_equals_eager(objective: Callable[..., Tensor], **options: Any) -> None:
    encoder = nn.Linear(6, 4).double()
    step = torch.compile(training_step, fullgraph=True, **options)
    views, z = rows.normal(2, 10, 6), rows.normal(7, 4, seed=1)
    results = []
    for function in (training_step, step):
        encoder.zero_grad()
        loss = function(encoder, views, z, objective)
        torch.autograd.backward(loss)
        results.append((loss.detach(), *(parameter.grad for parameter in encoder.parameters())))
    for compiled, eager in zip(*results, strict=True):
        close(compiled, eager, 1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_training_step_equals_the_eager_one(objective: Callable[..., Tensor]) -> None:
    assert_step_equals_eager(objective, backend="aot_eager")


@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="inductor needs a C++ compiler"
)
@pytest.mark.usefixtures("compiler", "tiny_tiles")
def test_inductor_compiles_a_training_step_through_both_routes() -> None:
    # Rows that lie transposed in memory: a graph trusts the strides that an opaque operator promises.
    def objective(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        whole = uniform_loss(x[:3]) + uniform_loss(y[:3], negatives=z[:3])
        return whole + uniform_loss(x.mT.contiguous().mT) + uniform_loss(y.mT.contiguous().mT, negatives=z)

    assert_step_equals_eager(objective, backend="inductor")


def test_a_graph_holds_the_opaque_sweep_only_for_many_pairs(compiled_route: str) -> None:
    targets: list[str] = []

    def record(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch.compile(lambda x: uniform_loss(x), fullgraph=True, backend=record)(rows.normal(10, 3))
    assert any("align_uniform" in target for target in targets) == (
        compiled_route == "opaque" and not OLD_COMPILER
    )


@pytest.mark.usefixtures("compiled_route")
def test_one_compiled_graph_serves_batches_of_any_size() -> None:
    def objective(x: Tensor, z: Tensor) -> Tensor:
        return uniform_loss(x) + uniform_loss(x, negatives=z) + contrastive_loss(x, x + 1, 0.4, negatives=z)

    compiled = torch.compile(objective, fullgraph=True, backend="aot_eager", dynamic=True)
    for i, (n, m) in enumerate([(10, 7), (13, 9), (6, 30)]):
        x, z = rows.normal(n, 3, seed=i), rows.normal(m, 3, seed=i + 50)
        with torch.compiler.set_stance("fail_on_recompile" if i else "default"):
            compiled_parts = gradient(compiled, x, z)
        for part, expected in zip(compiled_parts, gradient(objective, x, z), strict=True):
            close(part, expected, 1e-12)


@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_jvp_is_right_at_any_size_and_never_silently_zero() -> None:
    x, direction, z = rows.normal(10, 3), rows.normal(10, 3, seed=1), rows.normal(7, 3, seed=2)

    def loss(x: Tensor) -> Tensor:
        return uniform_loss(x) + uniform_loss(x, negatives=z, intra_batch=False)

    compiled = torch.compile(
        lambda x, direction: torch.func.jvp(loss, (x,), (direction,))[1], fullgraph=True, backend="aot_eager"
    )
    close(compiled(x, direction), (gradient(loss, x)[0] * direction).sum(), 1e-12)


@pytest.mark.usefixtures("compiled_route")
def test_a_jvp_of_a_compiled_loss_is_right_or_an_error() -> None:
    x, direction = rows.normal(10, 3), rows.normal(10, 3, seed=1)
    compiled = torch.compile(lambda x: uniform_loss(x), fullgraph=True, backend="aot_eager")
    try:
        _, tangent, *_ = torch.func.jvp(compiled, (x,), (direction,))
    except (RuntimeError, NotImplementedError):
        return
    close(tangent, (gradient(uniform_loss, x)[0] * direction).sum(), 1e-12)


@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_grad_and_vmap_are_right_at_any_size() -> None:
    x = rows.normal(3, 10, 2)
    compiled = torch.compile(
        torch.func.vmap(torch.func.grad(uniform_loss)), fullgraph=True, backend="aot_eager"
    )
    close(compiled(x), gradient(lambda x: uniform_loss(x).sum(), x)[0], 1e-12)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.skipif(OLD_COMPILER, reason="torch before 2.13 loses it, whatever the function")
@pytest.mark.usefixtures("compiled_route")
def test_a_second_derivative_of_a_compiled_loss_is_right_or_an_error_and_never_a_wrong_number(
    backend: str,
) -> None:
    def gradient_of_penalised_loss(loss: Callable[[Tensor], Tensor]) -> Tensor:
        x = rows.normal(10, 3).requires_grad_()
        value = loss(x)
        (grad,) = torch.autograd.grad(value, x, create_graph=True)
        torch.autograd.backward(value + grad.square().sum())
        assert x.grad is not None
        return x.grad

    compiled = torch.compile(lambda x: uniform_loss(x), fullgraph=True, backend=backend)
    try:
        grad = gradient_of_penalised_loss(compiled)
    except RuntimeError:
        return
    close(grad, gradient_of_penalised_loss(uniform_loss), 1e-12)


@pytest.mark.usefixtures("compiled_route")
def test_a_compiled_step_under_autocast_keeps_float32() -> None:
    x, z = rows.unit(20, 8, dtype=torch.float32), rows.unit(12, 8, seed=1, dtype=torch.float32)

    def loss(x: Tensor, z: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (
                uniform_loss(x)
                + uniform_loss(x, negatives=z)
                + contrastive_loss(x, x.flip(0), 0.2, negatives=z)
            )

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    close(compiled(x, z), loss(x.double(), z.double()), 5e-6)
    for part, expected in zip(gradient(compiled, x, z), gradient(loss, x.double(), z.double()), strict=True):
        close(part, expected, 5e-6)
