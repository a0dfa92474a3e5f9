"""Tests of the derivatives of the three losses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from tests import oracle, rows
from tests.as_they_are import align_loss, contrastive_loss, uniform_loss, w2_loss
from tests.functional.references import (
    close,
    gradient,
    hessian,
)

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
    "contrastive own rows": Case(lambda x: contrastive_loss(x, x, 0.3), [X]),
    "contrastive predicted rows": Case(lambda x, w: contrastive_loss(x @ w, x, 0.3), [X, (2, 2)]),
    "contrastive own negatives": Case(lambda x, y: contrastive_loss(x, y, 0.3, negatives=x), [X, Y]),
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
    "w2": Case(w2_loss, [X]),
    "w2 few rows": Case(w2_loss, [(3, 4)]),
    "w2 as many rows": Case(w2_loss, [(3, 3)]),
    "w2 batch normalize": Case(lambda x: w2_loss(x, normalize=True), [B]),
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
def test_a_derivative_that_is_differentiated_again_is_the_same(case: Case) -> None:
    inputs = case.inputs(requires_grad=True)
    once, again = (
        torch.autograd.grad(case.loss(*inputs).sum(), inputs, create_graph=more) for more in (False, True)
    )
    for first, second in zip(once, again, strict=True):
        close(first, second.detach(), 1e-12)


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
