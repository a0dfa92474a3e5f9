"""
Pairs and strangers
===================

The distances of positive pairs against those of random pairs: relative alignment in a picture. The two
rows of a pair are the pixels of one digit, the second with noise; one pair in ten is wrong on purpose, and
is seen as the bump among the strangers.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import normalize

from align_uniform import figures, measure

generator = torch.Generator().manual_seed(0)
pixels = torch.tensor(load_digits().data / 16).float()
x = normalize(pixels - pixels.mean(0), dim=1)
y = normalize(x + 0.05 * torch.randn(x.shape, generator=generator), dim=1)
wrong = torch.arange(0, len(y), 10)
y[wrong] = y[wrong.roll(1)]
strangers = torch.randperm(len(y), generator=generator)

found = measure(x, y)
print([finding.name for finding in found.findings])
figure = figures.pair_distance_figure((x - y).norm(dim=1).numpy(), (x - y[strangers]).norm(dim=1).numpy())
