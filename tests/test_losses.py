"""Tests that the modules equal the functions, and are ordinary modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from align_uniform import (
    AlignLoss,
    AlignUniformLoss,
    ContrastiveLoss,
    UniformLoss,
    W2Loss,
    align_loss,
    contrastive_loss,
    uniform_loss,
    w2_loss,
)
from tests import rows

X, Y = rows.unit(2, 6, 3)
Z = rows.unit(4, 3, seed=1)

TWINS: list[tuple[nn.Module, str, Callable[[], Tensor], tuple[Tensor, ...]]] = [
    # module, its repr, what its function gives, what its forward takes
    (AlignLoss(), "AlignLoss(alpha=2)", lambda: align_loss(X, Y), (X, Y)),
    (AlignLoss(0.5), "AlignLoss(alpha=0.5)", lambda: align_loss(X, Y, 0.5), (X, Y)),
    (
        AlignLoss(normalize=True),
        "AlignLoss(alpha=2, normalize=True)",
        lambda: align_loss(X, Y, normalize=True),
        (X, Y),
    ),
    (
        AlignLoss(reduction="none"),
        "AlignLoss(alpha=2, reduction='none')",
        lambda: align_loss(X, Y, reduction="none"),
        (X, Y),
    ),
    (
        AlignLoss(gather_distributed=True),
        "AlignLoss(alpha=2, gather_distributed=True)",
        lambda: align_loss(X, Y),
        (X, Y),
    ),
    (UniformLoss(), "UniformLoss(t=2)", lambda: uniform_loss(X), (X,)),
    (UniformLoss(3), "UniformLoss(t=3)", lambda: uniform_loss(X, 3), (X,)),
    (UniformLoss(), "UniformLoss(t=2)", lambda: uniform_loss(X, negatives=Z), (X, Z)),
    (
        UniformLoss(intra_batch=False),
        "UniformLoss(t=2, intra_batch=False)",
        lambda: uniform_loss(X, negatives=Z, intra_batch=False),
        (X, Z),
    ),
    (
        UniformLoss(normalize=True),
        "UniformLoss(t=2, normalize=True)",
        lambda: uniform_loss(X, normalize=True),
        (X,),
    ),
    (
        UniformLoss(gather_distributed=True),
        "UniformLoss(t=2, gather_distributed=True)",
        lambda: uniform_loss(X),
        (X,),
    ),
    (ContrastiveLoss(0.2), "ContrastiveLoss(tau=0.2)", lambda: contrastive_loss(X, Y, 0.2), (X, Y)),
    (
        ContrastiveLoss(0.2),
        "ContrastiveLoss(tau=0.2)",
        lambda: contrastive_loss(X, Y, 0.2, negatives=Z),
        (X, Y, Z),
    ),
    (
        ContrastiveLoss(0.2, normalize=True),
        "ContrastiveLoss(tau=0.2, normalize=True)",
        lambda: contrastive_loss(X, Y, 0.2, normalize=True),
        (X, Y),
    ),
    (
        ContrastiveLoss(0.2, gather_distributed=True),
        "ContrastiveLoss(tau=0.2, gather_distributed=True)",
        lambda: contrastive_loss(X, Y, 0.2),
        (X, Y),
    ),
    (W2Loss(), "W2Loss()", lambda: w2_loss(X), (X,)),
    (W2Loss(normalize=True), "W2Loss(normalize=True)", lambda: w2_loss(X, normalize=True), (X,)),
    (W2Loss(gather_distributed=True), "W2Loss(gather_distributed=True)", lambda: w2_loss(X), (X,)),
]


@pytest.mark.parametrize(
    ("module", "text", "function", "inputs"), TWINS, ids=[text for _, text, _, _ in TWINS]
)
def test_a_module_equals_its_function_and_shows_its_options(
    module: nn.Module, text: str, function: Callable[[], Tensor], inputs: tuple[Tensor, ...]
) -> None:
    torch.testing.assert_close(module(*inputs), function(), rtol=1e-14, atol=0)
    assert repr(module) == text
    assert module.state_dict() == {}


def test_align_uniform_loss_is_the_weighted_sum_of_its_terms() -> None:
    criterion = AlignUniformLoss(3, 0.5, alpha=1, t=3)
    align, uniform = align_loss(X, Y, 1), (uniform_loss(X, 3) + uniform_loss(Y, 3)) / 2
    terms = criterion.terms(X, Y)
    assert terms._fields == ("total", "align", "uniform", "contrastive")
    assert terms.contrastive is None
    assert torch.equal(terms.align, align)
    assert torch.equal(terms.uniform, uniform)
    assert torch.equal(terms.total, 3 * align + 0.5 * uniform)
    assert torch.equal(criterion(X, Y), terms.total)


def test_align_uniform_loss_has_the_papers_defaults_and_passes_its_options_on() -> None:
    assert torch.equal(AlignUniformLoss()(X, Y), align_loss(X, Y) + (uniform_loss(X) + uniform_loss(Y)) / 2)
    criterion = AlignUniformLoss(normalize=True)
    expected = (
        align_loss(X, Y, normalize=True)
        + (uniform_loss(X, normalize=True) + uniform_loss(Y, normalize=True)) / 2
    )
    assert torch.equal(criterion(X, Y), expected)
    gathering = AlignUniformLoss(gather_distributed=True)
    assert gathering.align.gather_distributed
    assert gathering.uniform.gather_distributed
    assert criterion.state_dict() == {}


def test_align_uniform_loss_shows_its_weights_and_its_terms() -> None:
    text = repr(AlignUniformLoss(3, 0.5, alpha=1, t=3))
    for part in ("align_weight=3, uniform_weight=0.5", "AlignLoss(alpha=1)", "UniformLoss(t=3)"):
        assert part in text
    text = repr(AlignUniformLoss(contrastive_weight=2, tau=0.1, intra_batch=False))
    for part in ("contrastive_weight=2", "ContrastiveLoss(tau=0.1)", "UniformLoss(t=2, intra_batch=False)"):
        assert part in text


IDS, NEGATIVE_IDS = torch.tensor([0, 0, 1, 2, 3, 3]), torch.tensor([0, 5, 3, 5])
SHARED: list[dict[str, Any]] = [{}, {"normalize": True}, {"gather_distributed": True}]


@pytest.mark.parametrize("shared", SHARED, ids=["", "normalize", "gather"])
@pytest.mark.parametrize("ids", [{}, {"ids": IDS}], ids=["", "ids"])
def test_two_views_have_the_contrastive_loss_too(shared: dict[str, Any], ids: dict[str, Any]) -> None:
    criterion = AlignUniformLoss(3, 0.5, alpha=1, t=3, contrastive_weight=2, tau=0.2, **shared)
    terms = criterion.terms(X, Y, **ids)
    assert terms.contrastive is not None
    assert torch.equal(terms.align, align_loss(X, Y, 1, **shared))
    x_uniform, y_uniform = (uniform_loss(z, 3, **ids, **shared) for z in (X, Y))
    assert torch.equal(terms.uniform, (x_uniform + y_uniform) / 2)
    assert torch.equal(terms.contrastive, contrastive_loss(X, Y, 0.2, **ids, **shared))
    assert torch.equal(terms.total, 3 * terms.align + 0.5 * terms.uniform + 2 * terms.contrastive)
    assert torch.equal(criterion(X, Y, **ids), terms.total)


@pytest.mark.parametrize("shared", SHARED, ids=["", "normalize", "gather"])
@pytest.mark.parametrize("ids", [{}, {"ids": IDS, "negative_ids": NEGATIVE_IDS}], ids=["", "ids"])
@pytest.mark.parametrize("intra_batch", [True, False])
def test_with_negatives_it_is_the_loss_of_x_alone(
    intra_batch: bool, shared: dict[str, Any], ids: dict[str, Any]
) -> None:
    criterion = AlignUniformLoss(contrastive_weight=2, tau=0.2, intra_batch=intra_batch, **shared)
    terms = criterion.terms(X, Y, Z, **ids)
    uniform = uniform_loss(X, negatives=Z, intra_batch=intra_batch, **ids, **shared)
    contrastive = contrastive_loss(X, Y, 0.2, negatives=Z, **ids, **shared)
    assert terms.contrastive is not None
    assert torch.equal(terms.align, align_loss(X, Y, **shared))
    assert torch.equal(terms.uniform, uniform)
    assert torch.equal(terms.contrastive, contrastive)
    assert torch.equal(terms.total, terms.align + uniform + 2 * contrastive)
    assert torch.equal(criterion(X, Y, Z, **ids), terms.total)


@pytest.mark.parametrize("negatives", [None, Z], ids=["views", "negatives"])
@pytest.mark.parametrize("weights", [(0, 1, 0), (1, 0, 0), (0, 0, 1), (2, 0, 3), (0, -1, 0)], ids=str)
def test_a_term_of_weight_0_has_a_value_and_no_gradient(
    weights: tuple[float, float, float], negatives: Tensor | None
) -> None:
    x = X.clone().requires_grad_()
    align, uniform, contrastive = weights
    terms = AlignUniformLoss(align, uniform, contrastive_weight=contrastive).terms(x, Y, negatives)
    assert [terms.align.requires_grad, terms.uniform.requires_grad] == [align != 0, uniform != 0]
    assert (terms.contrastive is None) == (contrastive == 0)
    weighed = AlignUniformLoss(contrastive_weight=1).terms(x, Y, negatives)
    assert torch.equal(terms.align, weighed.align)
    assert torch.equal(terms.uniform, weighed.uniform)
    assert weighed.contrastive is not None
    (grad,) = torch.autograd.grad(terms.total, x)
    expected = align * weighed.align + uniform * weighed.uniform + contrastive * weighed.contrastive
    torch.testing.assert_close(grad, torch.autograd.grad(expected, x)[0])


def test_a_temperature_of_the_objective_is_learned_too() -> None:
    criterion = AlignUniformLoss(contrastive_weight=1, tau=nn.Parameter(torch.tensor(0.5)))
    criterion(X, Y).backward()
    assert [name for name, value in criterion.named_parameters() if value.grad is not None] == [
        "contrastive.tau"
    ]


def test_the_terms_can_be_logged_and_the_total_differentiated() -> None:
    x = X.clone().requires_grad_()
    total, align, uniform, _ = AlignUniformLoss().terms(x, Y)
    (grad,) = torch.autograd.grad(total, x)
    expected = torch.autograd.grad(align_loss(x, Y) + uniform_loss(x) / 2, x)[0]
    torch.testing.assert_close(grad, expected)
    assert align.item() > 0 > uniform.item()


def test_a_temperature_that_is_a_parameter_belongs_to_the_module_and_learns() -> None:
    criterion = ContrastiveLoss(nn.Parameter(torch.tensor(1.0)))
    assert [name for name, _ in criterion.named_parameters()] == ["tau"]
    assert list(criterion.state_dict()) == ["tau"]
    x, y = rows.unit(8, 4, dtype=torch.float32), rows.unit(8, 4, dtype=torch.float32)
    optimizer = torch.optim.SGD(criterion.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = criterion(x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)  # views that agree call for a lower temperature
    assert 0 < next(criterion.parameters()).item() < 0.9


def test_a_temperature_that_is_a_plain_tensor_is_not_a_parameter() -> None:
    criterion = ContrastiveLoss(torch.tensor(0.2))
    assert list(criterion.parameters()) == []
    torch.testing.assert_close(criterion(X, Y), contrastive_loss(X, Y, 0.2), rtol=0, atol=1e-5)
