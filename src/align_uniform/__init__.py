"""Alignment and uniformity on the hypersphere (Wang & Isola, ICML 2020), as losses.

>>> import torch
>>> from align_uniform import align_loss, uniform_loss
>>> x, y = torch.nn.functional.normalize(torch.randn(2, 256, 64), dim=-1)  # two views
>>> loss = align_loss(x, y) + (uniform_loss(x) + uniform_loss(y)) / 2

Importing the package costs next to nothing: PyTorch is imported with the first of these names that is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from align_uniform._version import __version__

if TYPE_CHECKING:
    from align_uniform._ranks import gather_rows
    from align_uniform.functional import align_loss, contrastive_loss, uniform_loss
    from align_uniform.losses import AlignLoss, AlignUniformLoss, ContrastiveLoss, UniformLoss, W2Loss
    from align_uniform.measuring.accuracies import compare_accuracies
    from align_uniform.measuring.comparison import compare
    from align_uniform.measuring.drift import drift
    from align_uniform.measuring.measure import measure
    from align_uniform.measuring.measurement import Measurement
    from align_uniform.recipes.encoders.loading import load_encoder
    from align_uniform.sphere import uniform_optimum
    from align_uniform.wasserstein import w2_loss

_HOMES = {
    "AlignLoss": "align_uniform.losses",
    "AlignUniformLoss": "align_uniform.losses",
    "ContrastiveLoss": "align_uniform.losses",
    "Measurement": "align_uniform.measuring.measurement",
    "UniformLoss": "align_uniform.losses",
    "W2Loss": "align_uniform.losses",
    "align_loss": "align_uniform.functional",
    "compare": "align_uniform.measuring.comparison",
    "compare_accuracies": "align_uniform.measuring.accuracies",
    "contrastive_loss": "align_uniform.functional",
    "drift": "align_uniform.measuring.drift",
    "gather_rows": "align_uniform._ranks",
    "load_encoder": "align_uniform.recipes.encoders.loading",
    "measure": "align_uniform.measuring.measure",
    "uniform_loss": "align_uniform.functional",
    "uniform_optimum": "align_uniform.sphere",
    "w2_loss": "align_uniform.wasserstein",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    """List the public names, whether they have been imported or not."""
    return sorted({*globals(), *__all__})


__all__ = [
    "AlignLoss",
    "AlignUniformLoss",
    "ContrastiveLoss",
    "Measurement",
    "UniformLoss",
    "W2Loss",
    "__version__",
    "align_loss",
    "compare",
    "compare_accuracies",
    "contrastive_loss",
    "drift",
    "gather_rows",
    "load_encoder",
    "measure",
    "uniform_loss",
    "uniform_optimum",
    "w2_loss",
]
