"""Alignment and uniformity on the hypersphere (Wang & Isola, ICML 2020), as losses.

>>> import torch
>>> from align_uniform import align_loss, uniform_loss
>>> x, y = torch.nn.functional.normalize(torch.randn(2, 256, 64), dim=-1)  # two views
>>> loss = align_loss(x, y) + (uniform_loss(x) + uniform_loss(y)) / 2
"""

from align_uniform._ranks import gather_rows
from align_uniform.functional import align_loss, contrastive_loss, uniform_loss
from align_uniform.losses import AlignLoss, AlignUniformLoss, ContrastiveLoss, UniformLoss
from align_uniform.sphere import uniform_optimum

__version__ = "0.1.0"

__all__ = [
    "AlignLoss",
    "AlignUniformLoss",
    "ContrastiveLoss",
    "UniformLoss",
    "__version__",
    "align_loss",
    "contrastive_loss",
    "gather_rows",
    "uniform_loss",
    "uniform_optimum",
]
