"""The objective of a run is the one that its options describe."""

from __future__ import annotations

import pytest
import torch

from align_uniform import AlignUniformLoss
from align_uniform.recipes.pretrain.objective import by_name, objective, unit_rows
from align_uniform.recipes.pretrain.options import MachineOptions, MocoOptions, TwoViewOptions
from tests import rows


def test_options_are_passed_on_to_the_loss() -> None:
    chosen = TwoViewOptions(
        align_weight=3,
        align_alpha=1,
        uniform_weight=0.5,
        uniform_t=4,
        contrastive_weight=2,
        contrastive_tau=0.1,
    )
    expected = AlignUniformLoss(3, 0.5, 1, 4, contrastive_weight=2, tau=0.1, normalize=False)
    assert repr(objective(chosen)) == repr(expected)
    assert repr(objective(MocoOptions())) == repr(
        AlignUniformLoss(3.0, 1.0, 2.0, 3.0, contrastive_weight=0.0, tau=0.07, normalize=False)
    )
    alone = objective(MocoOptions(intra_batch=False))
    assert not alone.uniform.intra_batch
    assert not alone.uniform.gather_distributed  # there is one process


def test_terms_have_names_and_those_that_were_not_computed_have_none() -> None:
    x, y = rows.unit(2, 6, 4)
    terms = AlignUniformLoss(2).terms(x, y)
    assert by_name(terms) == {"loss": terms.total, "align": terms.align, "uniform": terms.uniform}
    terms = AlignUniformLoss(contrastive_weight=1).terms(x, y)
    assert list(by_name(terms)) == ["loss", "align", "uniform", "contrastive"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_of_half_precision_have_unit_norm(dtype: torch.dtype) -> None:
    half = rows.unit(6, 40, dtype=torch.float32).to(dtype)
    assert float((half.float().norm(dim=1) - 1).abs().max()) > 1e-5
    wide = unit_rows(half, MachineOptions(precision="bf16"))
    assert wide.dtype == torch.float32
    torch.testing.assert_close(wide.norm(dim=1), torch.ones(6))
    full = rows.unit(6, 40)
    assert unit_rows(full, MachineOptions()) is full
