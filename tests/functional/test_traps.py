"""Tests of the traps: inputs for which a plain formula is wrong, and refused arguments."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from tests import oracle, rows
from tests.as_they_are import align_loss, contrastive_loss, uniform_loss
from tests.functional.references import (
    HALVES,
    INF,
    NAN,
    close,
    gradient,
    hessian,
    reference_uniform,
)

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
