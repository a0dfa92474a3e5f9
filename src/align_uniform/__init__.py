"""Alignment and uniformity on the hypersphere (Wang & Isola, ICML 2020), as losses.

>>> import torch
>>> from align_uniform import align_loss, uniform_loss
>>> x, y = torch.nn.functional.normalize(torch.randn(2, 256, 64), dim=-1)  # two views
>>> loss = align_loss(x, y) + (uniform_loss(x) + uniform_loss(y)) / 2
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from align_uniform._ranks import gather_rows
from align_uniform.functional import align_loss, contrastive_loss, uniform_loss
from align_uniform.losses import AlignLoss, AlignUniformLoss, ContrastiveLoss, UniformLoss
from align_uniform.sphere import uniform_optimum

__version__ = "0.1.0"

if TYPE_CHECKING:
    from align_uniform.measuring.measure import measure
    from align_uniform.measuring.measurement import Measurement

_LATER = {"measure": "align_uniform.measuring.measure", "Measurement": "align_uniform.measuring.measurement"}


def __getattr__(name: str) -> Any:
    """Import what measures only when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


__all__ = [
    "AlignLoss",
    "AlignUniformLoss",
    "ContrastiveLoss",
    "Measurement",
    "UniformLoss",
    "__version__",
    "align_loss",
    "contrastive_loss",
    "gather_rows",
    "measure",
    "uniform_loss",
    "uniform_optimum",
]
