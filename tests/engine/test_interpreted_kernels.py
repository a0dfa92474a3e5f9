"""Tests of the kernels in Triton's interpreter (TRITON_INTERPRET=1) against float64 numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from align_uniform.engine import configurations, launching, triton
from align_uniform.engine.kernels import exponents
from align_uniform.engine.mask import Mask as EngineMask
from tests.engine.definitions import EVERYONE, Array, Mask, exponents_of, log_sums, mask, means, reach, shares
from tests.engine.interpreter import faithful_arithmetic
from tests.oracle import numbers
from tests.rows import normal, unit

EPS = 2.0**-23
HALF_BOUND = 2e-5

SHAPES = [
    (1, 1, 1, 1),
    (2, 1, 9, 3),
    (1, 5, 7, 16),
    (3, 40, 33, 17),
    (1, 67, 130, 100),
    (1, 33, 70, 129),
    (1, 20, 70, 256),
    (1, 9, 70, 330),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
MASKS = ["everyone", "itself", "later", "earlier", "ids"]


@pytest.fixture(autouse=True)
def arithmetic() -> Iterator[None]:
    with faithful_arithmetic():
        yield


# --------------------------------------------------------------------------------------------------- the rows


def centred(x: Tensor, y: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return rows as the engine passes them: float32 centred, half precision unchanged."""
    if dtype == torch.float32:
        centre = torch.cat([x, y], 1).mean(1, keepdim=True)
        x, y = x - centre, y - centre
    return x.to(dtype), y.to(dtype)


def engine_mask(without: Mask) -> EngineMask:
    return EngineMask(*without)


def population(
    shape: tuple[int, int, int, int], dtype: torch.dtype, *, offset: float = 0.0
) -> tuple[Tensor, Tensor]:
    batch, rows, columns, features = shape
    x = unit(batch, rows, features, seed=1) + offset
    y = unit(batch, columns, features, seed=2) + offset
    y[:, : min(3, columns)] = x[:, :1]  # duplicates, of each other and of a row
    return centred(x, y, dtype)


def check_log_sums(x: Tensor, y: Tensor, scale: float, squared: bool, without: Mask = EVERYONE) -> None:
    """Compare logs and means with the definitions, within the bounds of the package."""
    on_device = scale if squared else torch.tensor(scale)
    logs, mean = triton.log_sums(
        x, y, on_device, squared_distances=squared, mask=engine_mask(without), needs_mean=True
    )
    values = exponents_of(x, y, scale, squared, without)
    with np.errstate(divide="ignore"):
        expected, expected_mean = log_sums(values), means(x, y, values, squared)
    np.testing.assert_allclose(numbers(logs), expected, rtol=0, atol=8 * EPS * reach(x, y, scale))
    check_vectors(mean, expected_mean, x, y, scale)
    logs_alone, nothing = triton.log_sums(
        x, y, on_device, squared_distances=squared, mask=engine_mask(without)
    )
    np.testing.assert_allclose(numbers(logs_alone), expected, rtol=0, atol=8 * EPS * reach(x, y, scale))
    assert nothing.numel() == 0


def check_vectors(result: Tensor, expected: Array, x: Tensor, y: Tensor, scale: float) -> None:
    bound = 32 * EPS * reach(x, y, scale)
    if x.dtype != torch.float32:
        bound = max(bound, HALF_BOUND)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(numbers(result), expected, rtol=0, atol=bound * abs(expected).max())


# ----------------------------------------------------------------------------------------- log-sums and means


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("squared", [True, False], ids=["distances", "logits"])
def test_log_sums_and_means_are_those_of_the_definition(
    shape: Any, dtype: torch.dtype, squared: bool
) -> None:
    check_log_sums(*population(shape, dtype), 2.0, squared, Mask(0))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("squared", [True, False], ids=["distances", "logits"])
def test_pairs_that_do_not_count_are_left_out(name: str, squared: bool) -> None:
    x, y = population((2, 70, 135, 20), torch.float32)
    check_log_sums(x, y, 3.0, squared, mask(name, x, y))


@pytest.mark.parametrize("t", [0.5, 30.0, 400.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("squared", [True, False], ids=["distances", "logits"])
def test_narrow_potentials_keep_their_digits(t: float, dtype: torch.dtype, squared: bool) -> None:
    check_log_sums(*population((1, 20, 70, 40), dtype), t, squared, Mask(0))


@pytest.mark.parametrize("offset", [0.5, 10.0])
def test_rows_far_from_the_origin_keep_their_digits(offset: float) -> None:
    check_log_sums(*population((1, 20, 70, 8), torch.float32, offset=offset), 2.0, True)


def test_exponents_of_minus_a_million_do_not_underflow() -> None:
    x, y = normal(1, 6, 4, seed=1, dtype=torch.float32), normal(1, 9, 4, seed=2, dtype=torch.float32) + 10
    values = exponents_of(x, y, 5000.0, True, EVERYONE)
    logs, pull = triton.log_sums(x, y, 5000.0, squared_distances=True, needs_mean=True)
    assert values.max() < -1e5
    np.testing.assert_allclose(numbers(logs), log_sums(values), rtol=4 * EPS)
    assert pull.isfinite().all()


def test_large_logits_do_not_overflow() -> None:
    x, y = population((1, 6, 9, 4), torch.float32)
    check_log_sums(x, y, 1e5, squared=False)


def test_rows_in_one_place_have_a_log_sum_of_log_m() -> None:
    x = unit(1, 1, 30, dtype=torch.float32).expand(1, 70, 30)
    logs, pull = triton.log_sums(x, x, 400.0, squared_distances=True, mask=EngineMask(0), needs_mean=True)
    np.testing.assert_allclose(numbers(logs), math.log(69), rtol=0, atol=8 * EPS * 400)
    np.testing.assert_allclose(numbers(pull), 0, atol=1e-6)


@pytest.mark.parametrize("squared", [True, False], ids=["distances", "logits"])
def test_a_row_without_pairs_has_log_minus_infinity_and_mean_0(squared: bool) -> None:
    x, y = population((1, 5, 70, 6), torch.float32)
    x_ids, y_ids = torch.tensor([[1, 2, 1, 2, 2]]), torch.ones(1, 70, dtype=torch.int64)
    scale = 2.0 if squared else torch.tensor(2.0)
    logs, mean = triton.log_sums(
        x, y, scale, squared_distances=squared, mask=EngineMask(None, x_ids, y_ids), needs_mean=True
    )
    empty = x_ids[0] == 1
    assert (logs[0, empty] == -math.inf).all()
    assert (mean[0, empty] == 0).all()
    assert logs[0, ~empty].isfinite().all()
    assert (mean[0, ~empty] != 0).all()


def test_one_row_is_no_pair_with_itself() -> None:
    x = unit(1, 1, 5, dtype=torch.float32)
    logs, pull = triton.log_sums(x, x, 2.0, squared_distances=True, mask=EngineMask(0), needs_mean=True)
    assert logs.item() == -math.inf
    assert (pull == 0).all()


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("step", [16, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_blocks_nor_splits_change_a_sum(
    monkeypatch: pytest.MonkeyPatch, splits: int, step: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(launching, "MULTIPROCESSORS", splits)
    monkeypatch.setattr(
        configurations, "configuration", lambda *_, **__: configurations.Configuration(32, 16, step, 4, 2)
    )
    check_log_sums(*population((1, 20, 70, 60), dtype), 2.0, True, Mask(0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_may_lie_anywhere_in_memory(dtype: torch.dtype) -> None:
    whole, other = (z.repeat(1, 1, 2) for z in population((4, 6, 9, 10), dtype))
    views = {
        "every other row and feature": (whole[::2, 1::2, ::2], other[::2, ::2, ::2]),
        "features first": (whole.mT.contiguous().mT, other.mT.contiguous().mT),
        "one batch entry for all": (whole[:1].expand(3, -1, -1), other[1:2].expand(3, -1, -1)),
        "rows before batch": (whole.transpose(0, 1), other.transpose(0, 1)[:6]),
    }
    for x, y in views.values():
        check_log_sums(x, y, 2.0, True)


def test_rows_that_lie_far_apart_are_copied() -> None:
    x = torch.zeros(launching.FARTHEST + 8).as_strided((1, 2, 4), (0, launching.FARTHEST + 1, 1))
    x.copy_(unit(1, 2, 4))
    check_log_sums(x, x, 2.0, True, Mask(0))


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_that_is_not_finite_makes_its_sum_nan_and_such_a_column_all(
    bad: float, dtype: torch.dtype
) -> None:
    x, y = population((1, 5, 70, 6), dtype)
    x[0, 3, 2] = bad
    logs, pull = triton.log_sums(x, y, 2.0, squared_distances=True, needs_mean=True)
    assert logs.isnan().tolist() == [[False, False, False, True, False]]
    assert pull[0, 3].isnan().all()
    for column in (0, 69):
        y = population((1, 5, 70, 6), dtype)[1]
        y[0, column, 1] = bad
        logs, _ = triton.log_sums(x, y, 2.0, squared_distances=True)
        assert logs.isnan().all()


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_log_sums_of_logits_are_not_finite_where_a_product_is_not(bad: float) -> None:
    x, y = population((1, 5, 70, 6), torch.float32)
    y[0, 33, 1] = bad
    logs, _ = triton.log_sums(x, y, torch.tensor(2.0), squared_distances=False)
    assert not logs.isfinite().any()


def test_results_are_the_same_bits_on_every_run() -> None:
    x, y = population((1, 20, 150, 20), torch.float32)
    first, second = (triton.log_sums(x, y, 2.0, squared_distances=True, needs_mean=True) for _ in range(2))
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))


# ---------------------------------------------------------------------- the log-sum of all, and its gradients


def check_log_potential(x: Tensor, y: Tensor, t: float, without: Mask) -> None:
    value, grad_x, grad_y = triton.log_potential(
        x, y, t, 1.5, engine_mask(without), needs_x=True, needs_y=True
    )
    leaves = [z.double().requires_grad_() for z in (x, y)]
    values = -t * (leaves[0][:, :, None] - leaves[1][:, None]).square().sum(-1)
    left_out = torch.from_numpy(exponents_of(x, y, t, True, without)).isneginf()
    total = values.masked_fill(left_out, -math.inf).flatten(1).logsumexp(1) - 1.5
    expected = torch.autograd.grad(total.sum(), leaves)
    np.testing.assert_allclose(numbers(value), numbers(total), rtol=0, atol=8 * EPS * reach(x, y, t))
    for found, true in zip((grad_x, grad_y), expected, strict=True):
        check_vectors(found, numbers(true), x, y, t)
    alone, *nothing = triton.log_potential(x, y, t, 1.5, engine_mask(without))
    assert alone.equal(value)
    assert not any(z.numel() for z in nothing)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_value_and_its_gradients_are_those_of_the_definition(shape: Any, dtype: torch.dtype) -> None:
    check_log_potential(*population(shape, dtype), 2.0, Mask(1))


@pytest.mark.parametrize("name", MASKS)
def test_pairs_that_do_not_count_are_left_out_of_the_value(name: str) -> None:
    x, y = population((2, 70, 135, 20), torch.float32)
    check_log_potential(x, y, 3.0, mask(name, x, y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_within_one_population_the_gradient_is_that_of_both_sides(dtype: torch.dtype) -> None:
    x, _ = population((2, 70, 9, 20), dtype)
    value, gradient, _ = triton.log_potential(x, x, 2.0, 0.5, EngineMask(0), needs_x=True)
    leaf = x.double().requires_grad_()
    values = -2 * (leaf[:, :, None] - leaf[:, None]).square().sum(-1)
    total = values.masked_fill(torch.eye(70, dtype=torch.bool), -math.inf).flatten(1).logsumexp(1) - 0.5
    np.testing.assert_allclose(numbers(value), numbers(total), rtol=0, atol=8 * EPS * reach(x, x, 2.0))
    check_vectors(gradient, numbers(torch.autograd.grad(total.sum(), leaf)[0]), x, x, 2.0)


def test_the_value_over_no_pair_is_minus_infinity_and_has_no_gradient() -> None:
    x, y = population((1, 5, 70, 6), torch.float32)
    ids = torch.ones(1, 5, dtype=torch.int64), torch.ones(1, 70, dtype=torch.int64)
    value, *gradients = triton.log_potential(
        x, y, 2.0, 1.0, EngineMask(None, *ids), needs_x=True, needs_y=True
    )
    assert value.item() == -math.inf
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("size", [1e-15, 1e-6, 1e6, 1e15])
def test_rows_of_any_size_keep_their_digits(size: float) -> None:
    x, y = population((1, 20, 70, 12), torch.float32)
    check_log_potential(x * size, y * size, 2.0 / size**2, EVERYONE)


# ---------------------------------------------------------------------------------- gradients of the log-sums


def check_logit_gradient(
    x: Tensor, y: Tensor, scale: float, without: Mask, *, columns: bool, size: float = 1.0, seed: int = 3
) -> None:
    row_weights = size * normal(*x.shape[:2], seed=seed, dtype=torch.float32)
    column_weights = size * normal(*y.shape[:2], seed=seed + 1, dtype=torch.float32)
    of_rows, of_columns = (
        exponents_of(a, b, scale, False, m) for a, b, m in ((x, y, without), (y, x, without.reversed))
    )
    weights = numbers(row_weights)[..., None] * shares(of_rows)
    if columns:
        weights += (numbers(column_weights)[..., None] * shares(of_columns)).swapaxes(1, 2)
    gradient = triton.logit_gradient(
        x,
        y,
        torch.tensor(scale),
        mask=engine_mask(without),
        rows=(torch.from_numpy(log_sums(of_rows)).float(), row_weights),
        columns=(torch.from_numpy(log_sums(of_columns)).float(), column_weights) if columns else None,
    )
    check_vectors(gradient, weights @ numbers(y), x, y, scale)


@pytest.mark.parametrize("columns", [True, False], ids=["both sides", "rows alone"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_log_sums_is_that_of_the_definition(
    shape: Any, dtype: torch.dtype, columns: bool
) -> None:
    check_logit_gradient(*population(shape, dtype), 5.0, EVERYONE, columns=columns)


@pytest.mark.parametrize("name", MASKS)
def test_pairs_that_do_not_count_have_no_gradient(name: str) -> None:
    x, y = population((2, 70, 135, 20), torch.float32)
    with np.errstate(divide="ignore"):
        check_logit_gradient(x, y, 3.0, mask(name, x, y), columns=True)


def test_rows_and_columns_without_pairs_have_no_gradient() -> None:
    x, y = population((1, 5, 70, 6), torch.float32)
    ids = torch.tensor([[1, 2, 1, 2, 2]]), torch.ones(1, 70, dtype=torch.int64)
    with np.errstate(divide="ignore"):
        check_logit_gradient(x, y, 3.0, Mask(None, *ids), columns=True)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-6, 1e6])
@pytest.mark.parametrize("columns", [True, False], ids=["both sides", "rows alone"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_any_size_keep_their_digits(size: float, columns: bool, dtype: torch.dtype) -> None:
    check_logit_gradient(*population((1, 10, 70, 8), dtype), 5.0, EVERYONE, columns=columns, size=size)


# ----------------------------------------------------------------------------------------- sums of potentials


def check_potential_sums(x: Tensor, y: Tensor, ts: list[float], without: Mask) -> None:
    largest, sums, squares = triton.potential_sums(x, y, ts, mask=engine_mask(without))
    distances = -exponents_of(x, y, 1.0, True, without)
    nearest = distances.min(-1, keepdims=True)
    differences = distances - np.where(np.isinf(nearest), 0, nearest)
    np.testing.assert_allclose(
        numbers(largest), -ts[0] * nearest[..., 0], rtol=0, atol=8 * EPS * reach(x, y, ts[0])
    )
    for k, t in enumerate(ts):
        bound = 16 * EPS * reach(x, y, t)
        np.testing.assert_allclose(sums[k].numpy(), np.exp(-t * differences).sum(-1), rtol=bound)
        np.testing.assert_allclose(squares[k].numpy(), np.exp(-2 * t * differences).sum(-1), rtol=2 * bound)
    assert (largest.dtype, sums.dtype, squares.dtype) == (torch.float32, torch.float64, torch.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_potential_sums_are_those_of_the_definition(shape: Any, dtype: torch.dtype) -> None:
    check_potential_sums(*population(shape, dtype), [2.0], EVERYONE)


@pytest.mark.parametrize("name", MASKS)
def test_pairs_that_do_not_count_have_no_potential(name: str) -> None:
    x, y = population((2, 70, 135, 20), torch.float32)
    check_potential_sums(x, y, [2.0, 7.0], mask(name, x, y))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("splits", [1, 132])
def test_any_number_of_widths_is_summed(monkeypatch: pytest.MonkeyPatch, count: int, splits: int) -> None:
    monkeypatch.setattr(launching, "MULTIPROCESSORS", splits)
    ts = [400.0, 0.5, 2.0, 30.0, 8.0, 1.0, 100.0, 0.01, 3.0][:count]
    check_potential_sums(*population((2, 6, 140, 12), torch.float32), ts, Mask(0))


def test_a_row_without_pairs_has_sums_of_0() -> None:
    x, y = population((1, 5, 70, 6), torch.float32)
    ids = torch.tensor([[1, 2, 1, 2, 2]]), torch.ones(1, 70, dtype=torch.int64)
    check_potential_sums(x, y, [2.0, 3.0], Mask(None, *ids))
    largest, sums, squares = triton.potential_sums(x, y, [2.0, 3.0], mask=EngineMask(None, *ids))
    assert largest[0, 0] == -math.inf
    assert (sums[:, 0, 0] == 0).all()
    assert (squares[:, 0, 0] == 0).all()


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_column_that_is_not_finite_makes_potential_sums_nan(bad: float) -> None:
    x, y = population((1, 5, 140, 6), torch.float32)
    y[0, 130, 1] = bad
    _, sums, squares = triton.potential_sums(x, y, [2.0])
    assert sums.isnan().all()
    assert squares.isnan().all()


# --------------------------------------------------------------------------------------- these tests can fail


def test_products_of_one_term_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def large_terms_alone(products: Any, a: Any, b: Any, terms: Any) -> Any:
        return tl.dot(a[0], tl.trans(b[0]), products)

    x, y = population((1, 30, 70, 100), torch.float32)
    monkeypatch.setattr("align_uniform.engine.kernels.exponents._add_products", large_terms_alone)
    with pytest.raises(AssertionError):
        check_log_sums(x, y, 2.0, True)
    with pytest.raises(AssertionError):
        check_logit_gradient(x, y, 2.0, EVERYONE, columns=False)
    with pytest.raises(AssertionError):
        check_potential_sums(x, y, [2.0], EVERYONE)


def test_values_of_one_term_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one near column, whose logs are exact in any precision: only the weighted sum can be wrong."""

    def large_terms_alone(sums: Any, weights: Any, values: Any, terms: Any) -> Any:
        high, low = exponents.two_terms(weights, values[0].dtype)
        total = tl.sum(high.to(tl.float32) + low.to(tl.float32), 1)
        return tl.dot(low, values[0], tl.dot(high, values[0], sums)), total

    x = torch.zeros(1, 5, 16)
    y = unit(1, 70, 16, dtype=torch.float32)
    scale = torch.tensor(1.0)
    monkeypatch.setattr("align_uniform.engine.kernels.sums.add_weighted", large_terms_alone)
    logs, mean = triton.log_sums(x, y, scale, squared_distances=False, needs_mean=True)
    np.testing.assert_allclose(numbers(logs), math.log(70), rtol=EPS)
    with pytest.raises(AssertionError):
        check_vectors(mean, numbers(y).mean(1, keepdims=True).repeat(5, 1), x, y, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_in_one_term_would_be_noticed(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    def one_term(weights: Any, dtype: Any) -> tuple[Any, Any]:
        high = weights.to(dtype)
        return high, (weights * 0.0).to(dtype)

    x, y = population((1, 20, 70, 8), dtype)
    monkeypatch.setattr("align_uniform.engine.kernels.exponents.two_terms", one_term)
    with pytest.raises(AssertionError):
        check_log_sums(x, y, 2.0, True)
    with pytest.raises(AssertionError):
        check_logit_gradient(x, y, 2.0, EVERYONE, columns=False)


# -------------------------------------------------------------------------------------------------- operators


@pytest.mark.parametrize("kind", ["fake", "meta"])
def test_tensors_without_values_have_results_of_the_same_shapes_and_dtypes(kind: str) -> None:
    x, y = population((2, 5, 9, 6), torch.float32)
    results = _all_results(x, y)
    if kind == "meta":
        others = _all_results(x.to("meta"), y.to("meta"))
    else:
        with FakeTensorMode() as mode:
            others = _all_results(mode.from_tensor(x), mode.from_tensor(y))
    assert [(z.shape, z.dtype) for z in results] == [(z.shape, z.dtype) for z in others]


def _all_results(x: Tensor, y: Tensor) -> list[Tensor]:
    scale = torch.tensor(2.0, device=x.device)
    logs = x.new_empty(x.shape[:2])
    return [
        *triton.log_sums(x, y, 2.0, squared_distances=True, mask=EngineMask(0), needs_mean=True),
        *triton.log_sums(x, y, scale, squared_distances=False),
        triton.logit_gradient(x, y, scale, rows=(logs, logs)),
        *triton.potential_sums(x, y, [1.0, 2.0]),
        *triton.log_potential(x, y, 2.0, 1.0, needs_x=True, needs_y=True),
    ]


def test_operators_keep_the_rules_of_torch() -> None:
    x, y = population((1, 5, 9, 6), torch.float32)
    logs, scale = torch.zeros(1, 5), torch.tensor(2.0)
    for operator, arguments in (
        (torch.ops.align_uniform.log_sums.default, (x, y, None, 2.0, 0, None, None, None, None, True)),
        (torch.ops.align_uniform.log_sums.default, (x, y, scale, 0.0, None, None, None, None, None, False)),
        (
            torch.ops.align_uniform.logit_gradient.default,
            (x, y, scale, None, None, None, None, None, logs, logs, None, None),
        ),
        (
            torch.ops.align_uniform.fused_log_potential.default,
            (x, y, 2.0, 1.0, None, None, None, True, True),
        ),
        (
            torch.ops.align_uniform.fused_log_potential.default,
            (x, None, 2.0, 1.0, 0, None, None, True, False),
        ),
        (torch.ops.align_uniform.potential_sums.default, (x, y, [1.0, 2.0], 0, None, None)),
    ):
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
