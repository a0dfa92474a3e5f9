"""Figures of random numbers, and the words of their keys."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from align_uniform import figures

CLASSES = ["cat", "dog"]


def random(*shape: int, seed: int = 0) -> figures.Array:
    return np.random.default_rng(seed).normal(size=shape)


def circle(dim: int = 2) -> figures.CircleFeatures:
    features = random(40, dim)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return figures.CircleFeatures("encoder", np.abs(random(40)), features, np.arange(40) % 2)


def keys(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def every_panel() -> dict[str, Figure]:
    return {
        "pairs": figures.pair_distance_figure(np.abs(random(50)), np.abs(random(90)) + 1),
        "cosines": figures.cosine_figure(np.tanh(random(500) / 4), 16),
        "spectrum": figures.spectrum_figure(np.geomspace(1, 1e-5, 20), 7.5, 4.25),
        "crowding": figures.crowding_figure([np.exp(random(50) / 9 - 3)], 2, -3.5),
    }


POINTS = [
    figures.PlanePoint("a", 0.1, -2, 0.9),
    figures.PlanePoint("a", 0.2, -3, 0.8),
    figures.PlanePoint("b", 0.3, -1, 0.7),
]
