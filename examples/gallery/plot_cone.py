"""
What a cone looks like
======================

The cosines of random pairs of rows, next to those of uniform points (dashed). Pixels are never negative,
and so no two digits are at a right angle: their features form a cone. Subtracting the mean opens it.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import normalize

from align_uniform import figures

pixels = normalize(torch.tensor(load_digits().data), dim=1)
pairs = torch.randint(len(pixels), (2, 20_000), generator=torch.Generator().manual_seed(0))


def cosines(rows):
    return (rows[pairs[0]] * rows[pairs[1]]).sum(1)[pairs[0] != pairs[1]].numpy()


figure = figures.cosine_figure(cosines(pixels), dim=64)

# %%
# The same rows less their mean, and normalised again.

figure = figures.cosine_figure(cosines(normalize(pixels - pixels.mean(0), dim=1)), dim=64)
