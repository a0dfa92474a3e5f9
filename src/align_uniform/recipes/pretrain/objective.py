"""The objective that a run's options describe, and the rows that it is computed on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform.losses import AlignUniformLoss, Terms
from align_uniform.recipes.pretrain.options import MachineOptions, ObjectiveOptions


def objective(options: ObjectiveOptions) -> AlignUniformLoss:
    """Return the objective that the options describe, over the batch of all processes unless it is local.

    Its rows are outputs of an encoder, which has normalised them.
    """
    gather = ranks.world_size() > 1 and not options.local_losses
    return AlignUniformLoss(**options.settings, normalize=False, gather_distributed=gather)


def by_name(terms: Terms) -> dict[str, Tensor]:
    """Return the total as "loss", and each term that was computed under its own name."""
    named = {name: value for name, value in terms._asdict().items() if value is not None}
    return {"loss": named.pop("total"), **named}


def unit_rows(outputs: Tensor, options: MachineOptions) -> Tensor:
    """Return an encoder's outputs in float32 or wider, and of unit norm.

    The encoder has normalised them already; in half precision its rows are off by a thousandth.
    """
    wide = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    return wide if options.precision == "fp32" else F.normalize(wide, dim=1)
