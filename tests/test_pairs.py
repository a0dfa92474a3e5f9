"""The pair engine: row sums, tiles, memory, and the operator that stands for it in a compiled graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from align_uniform import _pairs, contrastive_loss, uniform_loss
from tests import oracle, rows


class Outputs(TorchDispatchMode):
    """How many numbers the tensors hold that operations give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.largest = 0
        """The most that one tensor holds."""
        self.exponentials = 0
        """All that went through exp."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor):
                self.largest = max(self.largest, part.numel())
                if func.overloadpacket in (torch.ops.aten.exp_, torch.ops.aten.exp) and part.dim() > 1:
                    self.exponentials += part.numel()
        return result


def close(value: Tensor, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        value, torch.as_tensor(expected, dtype=torch.float64).expand_as(value), rtol=tolerance, atol=tolerance
    )


def log_row_sums(result: _pairs.Sweep) -> Tensor:
    return result.row_sums.log() + (0 if result.shift is None else result.shift)


# ----------------------------------------------------------------------------------------------------- values of a sweep


@pytest.mark.parametrize("t", [0.5, 120], ids=["without a shift", "with a shift"])
@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
@pytest.mark.parametrize("m", [None, 4, 13], ids="m={}".format)
def test_a_sweep_gives_row_sums_value_and_gradients(
    m: int | None, size: int, t: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pairs, "DENSE_ROWS", size)  # 10 rows and more are dense
    monkeypatch.setattr(_pairs, "_tile_size", lambda *_: size)
    x = rows.unit(10, 3)
    y = None if m is None else rows.unit(m, 3, seed=1)
    a, b = oracle.numbers(x), None if y is None else oracle.numbers(y)
    result = _pairs.sweep(x, y, t, 7, needs_x=True, needs_y=y is not None)

    sums = oracle.potential_sums(a, t, b)
    assert (result.shift is not None) == (t == 120)
    close(log_row_sums(result), np.log(sums))
    close(result.log_potential, math.log(sums.sum() / (2 if y is None else 1) / 7))
    grad_x, grad_y = oracle.uniform_gradient(a, t, negatives=b, intra_batch=y is None)
    assert result.grad_x is not None
    close(result.grad_x, grad_x, 1e-11)
    if grad_y is None:
        assert result.grad_y is None
    else:
        assert result.grad_y is not None
        close(result.grad_y, grad_y, 1e-11)


@pytest.mark.parametrize("t", [0.5, 120], ids=["without a shift", "with a shift"])
@pytest.mark.parametrize("size", [1, 3, 4, 100])
@pytest.mark.parametrize("skip", [0, 2, 7, 9])
def test_a_row_that_is_skipped_is_no_pair_of_itself(skip: int, size: int, t: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pairs, "_tile_size", lambda *_: size)
    y = rows.unit(14, 3)
    x = y[skip : skip + 5].clone()
    result = _pairs.sweep(x, y, t, 1, skip, needs_x=True)
    sums = oracle.potential_sums(oracle.numbers(x), t, oracle.numbers(y), skip)
    close(log_row_sums(result), np.log(sums))
    close(result.log_potential, np.log(sums.sum()))
    plain_x = x.clone().requires_grad_()
    value = _pairs._plain(plain_x, y, t, 1, skip)
    close(result.log_potential, value.detach())
    assert result.grad_x is not None
    close(result.grad_x, torch.autograd.grad(value, plain_x)[0], 1e-11)


@pytest.mark.usefixtures("route")
def test_gradients_are_left_out_where_they_are_not_needed() -> None:
    x, y = rows.unit(6, 3), rows.unit(5, 3, seed=1)
    for needs_x in (True, False):
        assert (_pairs.sweep(x, None, 2.0, 1, needs_x=needs_x).grad_x is not None) == needs_x
        for needs_y in (True, False):
            result = _pairs.sweep(x, y, 2.0, 1, needs_x=needs_x, needs_y=needs_y)
            assert [grad is not None for grad in (result.grad_x, result.grad_y)] == [needs_x, needs_y]


@pytest.mark.usefixtures("route")
def test_a_sweep_keeps_the_leading_dimensions() -> None:
    x, y = rows.unit(2, 3, 7, 4), rows.unit(2, 3, 5, 4, seed=1)
    result = _pairs.sweep(x, y, 2.0, 35, needs_x=True, needs_y=True)
    assert result.log_potential.shape == (2, 3)
    assert result.row_sums.shape == (2, 3, 7)
    assert result.grad_x is not None
    assert result.grad_x.shape == x.shape
    assert result.grad_y is not None
    assert result.grad_y.shape == y.shape
    one = _pairs.sweep(x[1, 2], y[1, 2], 2.0, 35, needs_x=True, needs_y=True)
    close(result.row_sums[1, 2], one.row_sums.double())
    assert one.grad_x is not None
    close(result.grad_x[1, 2], one.grad_x)


@pytest.mark.usefixtures("route")
def test_the_inputs_are_left_as_they_were() -> None:
    x, y = rows.unit(9, 3), rows.unit(8, 3, seed=1)
    before = x.clone(), y.clone()
    _pairs.sweep(x, y, 2.0, 1, needs_x=True, needs_y=True)
    _pairs.sweep(x, None, 120.0, 1, needs_x=True)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@pytest.mark.parametrize("n", [2048, 4000])
def test_float32_sums_over_many_tiles_keep_their_digits(n: int) -> None:
    x = rows.unit(n, 8, dtype=torch.float32)
    exact = _pairs.sweep(x.double(), None, 2.0, 1, needs_x=True)
    result = _pairs.sweep(x, None, 2.0, 1, needs_x=True)
    assert result.grad_x is not None
    assert exact.grad_x is not None
    torch.testing.assert_close(result.log_potential.double(), exact.log_potential, rtol=0, atol=2e-6)
    torch.testing.assert_close(result.row_sums.double(), exact.row_sums.double(), rtol=2e-6, atol=0)
    largest = exact.grad_x.abs().max()
    torch.testing.assert_close(result.grad_x.double() / largest, exact.grad_x / largest, rtol=0, atol=5e-6)


# ------------------------------------------------------------------------------------------------------ work and memory


@pytest.mark.parametrize("size", [1, 3, 4, 9, 10])
def test_only_tiles_on_and_above_the_diagonal_are_visited(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 10
    monkeypatch.setattr(_pairs, "DENSE_ROWS", 1)
    monkeypatch.setattr(_pairs, "_tile_size", lambda *_: size)
    height = math.ceil(n / math.ceil(n / size))  # tiles are cut evenly
    heights = [min(height, n - start) for start in range(0, n, height)]
    on_the_diagonal = sum(height**2 for height in heights)
    with Outputs() as outputs:
        uniform_loss(rows.unit(n, 3))
    assert outputs.exponentials == (n**2 + on_the_diagonal) / 2


LARGE: dict[str, tuple[Callable[..., Tensor], list[int]]] = {
    "within": (lambda x: uniform_loss(x), [5000]),
    "within, with a shift": (lambda x: uniform_loss(x, 30), [5000]),
    "negatives": (lambda x, z: uniform_loss(x, negatives=z), [512, 40_000]),
    "contrastive": (lambda x, y: contrastive_loss(x, y, 0.1), [5000, 5000]),
    "contrastive negatives": (lambda x, z: contrastive_loss(x, x, 0.1, negatives=z), [512, 40_000]),
}


@pytest.mark.parametrize(("loss", "sizes"), LARGE.values(), ids=LARGE)
def test_neither_value_nor_gradient_holds_a_matrix_of_all_pairs(loss: Callable[..., Tensor], sizes: list[int]) -> None:
    inputs = [rows.unit(n, 16, seed=i, dtype=torch.float32).requires_grad_() for i, n in enumerate(sizes)]
    with Outputs() as outputs:
        torch.autograd.grad(loss(*inputs), inputs)
    pairs = sizes[0] * sizes[-1]
    assert outputs.largest < pairs / 4
    assert outputs.largest <= max(_pairs.PLAIN_PAIRS, *(z.numel() for z in inputs))


def test_the_probe_of_memory_and_work_sees_the_matrix_of_all_pairs_where_there_is_one() -> None:
    with Outputs() as outputs:
        uniform_loss(rows.unit(100, 8))
    assert outputs.largest == outputs.exponentials == 100**2


# ------------------------------------------------------------------------------------- the operator for compiled graphs

OPERATOR_INPUTS: dict[str, tuple[Tensor, Tensor | None]] = {
    "within": (rows.normal(10, 3), None),
    "within, batch": (rows.normal(2, 10, 3), None),
    "within, transposed": (rows.normal(3, 10).mT, None),
    "negatives": (rows.normal(10, 3), rows.normal(7, 3, seed=1)),
    "negatives, transposed": (rows.normal(3, 10).mT, rows.normal(3, 7, seed=1).mT),
}


@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True), (False, False)], ids=str)
@pytest.mark.parametrize(("x", "y"), OPERATOR_INPUTS.values(), ids=OPERATOR_INPUTS)
@pytest.mark.usefixtures("tiny_tiles")
def test_the_operator_promises_a_graph_the_shapes_and_strides_that_it_delivers(
    x: Tensor, y: Tensor | None, needs: tuple[bool, bool]
) -> None:
    needs_x, needs_y = needs[0], needs[1] and y is not None
    x = x.clone().requires_grad_(needs_x)
    y = None if y is None else y.clone().requires_grad_(needs_y)
    # Not its last check, which differentiates the gradients as well: a graph has no second derivative of the operator.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(_pairs._opaque_log_potential, (x, y, 2.0, 45, needs_x, needs_y), test_utils=checks)


@pytest.mark.parametrize(("x", "y"), OPERATOR_INPUTS.values(), ids=OPERATOR_INPUTS)
@pytest.mark.usefixtures("tiny_tiles")
def test_the_operator_agrees_with_the_eager_path(x: Tensor, y: Tensor | None) -> None:
    x = x.clone().requires_grad_()
    y = None if y is None else y.clone().requires_grad_()
    inputs = [x] if y is None else [x, y]
    value, *_ = _pairs._opaque_log_potential(x, y, 2.0, 45, True, y is not None)
    eager = _pairs.log_potential(x, 2.0, 45, y=y)
    close(value.detach(), eager.detach())
    grads = zip(torch.autograd.grad(value.sum(), inputs), torch.autograd.grad(eager.sum(), inputs), strict=True)
    for grad, expected in grads:
        close(grad, expected)


# ------------------------------------------------------------------------------------------------------ sums over logits


@pytest.mark.parametrize("limit", [1, 12, 40, 10_000])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_log_sums_of_logits_do_not_depend_on_the_blocks(
    batch: tuple[int, ...], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pairs, "PLAIN_PAIRS", limit)
    x, y = rows.normal(*batch, 9, 3), rows.normal(*batch, 7, 3, seed=1)
    row_sums, column_sums = _pairs.log_sum_exp(x, y, columns=True)
    assert column_sums is not None
    logits = x @ y.mT
    close(row_sums, logits.logsumexp(-1))
    close(column_sums, logits.logsumexp(-2))
    assert len(_pairs.log_sum_exp(x, y, columns=False)) == 1


@pytest.mark.parametrize("scale", [1, 1000], ids="logits up to {}".format)
@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_one_sweep_gives_the_log_sums_of_rows_and_their_gradient(
    batch: tuple[int, ...], size: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pairs, "PLAIN_LOGITS", 0)
    monkeypatch.setattr(_pairs, "_tile_size", lambda *_: size)
    x, y = rows.normal(*batch, 9, 3).mul_(scale).requires_grad_(), rows.normal(*batch, 7, 3, seed=1)
    weights = rows.normal(*batch, 9, seed=2)
    (sums,) = _pairs.log_sum_exp(x, y, columns=False)
    expected = (x @ y.mT).logsumexp(-1)
    close(sums, expected)
    found, true = (torch.autograd.grad((weights * each).sum(), x)[0] for each in (sums, expected))
    close(found, true)


def test_the_gradient_of_log_sums_of_rows_is_itself_differentiable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pairs, "PLAIN_LOGITS", 0)
    x, y = rows.normal(5, 3).requires_grad_(), rows.normal(7, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: _pairs.log_sum_exp(x, y, columns=False), x)
    assert torch.autograd.gradgradcheck(lambda x: _pairs.log_sum_exp(x, y, columns=False), x)


def test_the_contrastive_loss_with_a_queue_keeps_no_matrix_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pairs, "PLAIN_LOGITS", 0)
    monkeypatch.setattr(_pairs, "_tile_size", lambda *_: 8)
    x, y = rows.unit(2, 64, 4)
    queue = rows.unit(512, 4, seed=1)
    with Outputs() as outputs:
        contrastive_loss(x.requires_grad_(), y, 0.1, negatives=queue).backward()
    assert outputs.largest <= queue.numel()
