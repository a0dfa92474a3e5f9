"""The sweep over tiles of pairs: values, gradients, work and memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from align_uniform.engine import plain, routes, tiles
from align_uniform.engine.mask import Mask
from tests import oracle, rows
from tests.as_they_are import contrastive_loss, uniform_loss
from tests.engine.outputs import Outputs

pytestmark = pytest.mark.usefixtures("tile_loop")


def close(value: Tensor, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        value, torch.as_tensor(expected, dtype=torch.float64).expand_as(value), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("t", [0.5, 120], ids=["without a shift", "with a shift"])
@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
@pytest.mark.parametrize("m", [None, 4, 13], ids="m={}".format)
def test_a_sweep_gives_the_value_and_the_gradients(
    m: int | None, size: int, t: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "DENSE_ROWS", size)  # 10 rows and more are dense
    monkeypatch.setattr(tiles, "tile_size", lambda *_: size)
    x = rows.unit(10, 3)
    y = None if m is None else rows.unit(m, 3, seed=1)
    a, b = oracle.numbers(x), None if y is None else oracle.numbers(y)
    result = tiles.sweep(x, y, t, 7, needs_x=True, needs_y=y is not None)

    sums = oracle.potential_sums(a, t, b)
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
def test_a_row_that_is_skipped_is_no_pair_of_itself(
    skip: int, size: int, t: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "tile_size", lambda *_: size)
    y = rows.unit(14, 3)
    x = y[skip : skip + 5].clone()
    result = tiles.sweep(x, y, t, 1, Mask(skip), needs_x=True)
    sums = oracle.potential_sums(oracle.numbers(x), t, oracle.numbers(y), skip)
    close(result.log_potential, np.log(sums.sum()))
    plain_x = x.clone().requires_grad_()
    value = plain.log_potential(plain_x, y, t, 1, Mask(skip))
    close(result.log_potential, value.detach())
    assert result.grad_x is not None
    close(result.grad_x, torch.autograd.grad(value, plain_x)[0], 1e-11)


@pytest.mark.usefixtures("route")
def test_gradients_are_left_out_where_they_are_not_needed() -> None:
    x, y = rows.unit(6, 3), rows.unit(5, 3, seed=1)
    for needs_x in (True, False):
        assert (tiles.sweep(x, None, 2.0, 1, needs_x=needs_x).grad_x is not None) == needs_x
        for needs_y in (True, False):
            result = tiles.sweep(x, y, 2.0, 1, needs_x=needs_x, needs_y=needs_y)
            assert [grad is not None for grad in (result.grad_x, result.grad_y)] == [needs_x, needs_y]


@pytest.mark.usefixtures("route")
def test_a_sweep_keeps_the_leading_dimensions() -> None:
    x, y = rows.unit(2, 3, 7, 4), rows.unit(2, 3, 5, 4, seed=1)
    result = tiles.sweep(x, y, 2.0, 35, needs_x=True, needs_y=True)
    assert result.log_potential.shape == (2, 3)
    assert result.grad_x is not None
    assert result.grad_x.shape == x.shape
    assert result.grad_y is not None
    assert result.grad_y.shape == y.shape
    one = tiles.sweep(x[1, 2], y[1, 2], 2.0, 35, needs_x=True, needs_y=True)
    assert one.grad_x is not None
    close(result.grad_x[1, 2], one.grad_x)


@pytest.mark.usefixtures("route")
def test_the_inputs_are_left_as_they_were() -> None:
    x, y = rows.unit(9, 3), rows.unit(8, 3, seed=1)
    before = x.clone(), y.clone()
    tiles.sweep(x, y, 2.0, 1, needs_x=True, needs_y=True)
    tiles.sweep(x, None, 120.0, 1, needs_x=True)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@pytest.mark.parametrize("n", [2048, 4000])
def test_float32_sums_over_many_tiles_keep_their_digits(n: int) -> None:
    x = rows.unit(n, 8, dtype=torch.float32)
    exact = tiles.sweep(x.double(), None, 2.0, 1, needs_x=True)
    result = tiles.sweep(x, None, 2.0, 1, needs_x=True)
    assert result.grad_x is not None
    assert exact.grad_x is not None
    torch.testing.assert_close(result.log_potential.double(), exact.log_potential, rtol=0, atol=2e-6)
    largest = exact.grad_x.abs().max()
    torch.testing.assert_close(result.grad_x.double() / largest, exact.grad_x / largest, rtol=0, atol=5e-6)


# -------------------------------------------------------------------------------------------- work and memory


@pytest.mark.usefixtures("never_few")
@pytest.mark.parametrize("size", [1, 3, 4, 9, 10])
def test_only_tiles_on_and_above_the_diagonal_are_visited(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 10
    monkeypatch.setattr(tiles, "DENSE_ROWS", 1)
    monkeypatch.setattr(tiles, "tile_size", lambda *_: size)
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
def test_neither_value_nor_gradient_holds_a_matrix_of_all_pairs(
    loss: Callable[..., Tensor], sizes: list[int]
) -> None:
    inputs = [rows.unit(n, 16, seed=i, dtype=torch.float32).requires_grad_() for i, n in enumerate(sizes)]
    with Outputs() as outputs:
        torch.autograd.grad(loss(*inputs), inputs)
    pairs = sizes[0] * sizes[-1]
    assert outputs.largest < pairs / 4
    assert outputs.largest <= max(routes.PLAIN_PAIRS, *(z.numel() for z in inputs))


@pytest.mark.usefixtures("never_few")
def test_the_probe_of_memory_and_work_sees_the_matrix_of_all_pairs_where_there_is_one() -> None:
    with Outputs() as outputs:
        uniform_loss(rows.unit(100, 8))
    assert outputs.largest == outputs.exponentials == 100**2
