"""
What do fewer features cost?
============================

Principal components put what matters into the first features of a row. How many of them do you have to
keep? Here two views of digits are cut to their first features, normalised again, and measured: the curves
are relative alignment and recall@1, with their errors.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits

from align_uniform import figures, measure

generator = torch.Generator().manual_seed(0)
pixels = torch.tensor(load_digits().data / 16).float()
_, _, directions = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
x, y = (
    (pixels + 0.1 * torch.randn(pixels.shape, generator=generator) - pixels.mean(0)) @ directions.T
    for _ in range(2)
)
found = measure(x, y, dims=(2, 4, 8, 16, 32))
dims = list(found.prefixes)
kept = list(found.prefixes.values())
figure = figures.prefix_figure(
    dims,
    [
        figures.PrefixCurve(
            "relative alignment",
            np.array([each.align.relative for each in kept]),
            np.array([each.align.relative_stderr for each in kept]),
            better="smaller",
        ),
        figures.PrefixCurve(
            "recall@1",
            np.array([each.retrieval.forward.recall_1 for each in kept]),
            np.array([each.retrieval.forward.recall_1_stderr for each in kept]),
            is_share=True,
            better="larger",
        ),
    ],
)
