"""
How many directions are used?
=============================

The eigenvalues of the covariance of the rows, with RankMe and the participation ratio, two counts of the
directions that matter. The pixels of digits have 64 features, a few of which (the corners) never change.
"""

import torch
from sklearn.datasets import load_digits

from align_uniform import figures, measure

pixels = torch.tensor(load_digits().data)
found = measure(pixels)
rows = pixels / pixels.norm(dim=1, keepdim=True)
eigenvalues = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
figure = figures.spectrum_figure(eigenvalues.numpy(), found.rankme, found.participation_ratio)
