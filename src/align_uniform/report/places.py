"""The places of rows on a map: by their first two principal components, or by UMAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from align_uniform._extras import needs
from align_uniform._options import check_choice
from align_uniform.figures import Array

Method = Literal["pca", "umap"]
"""The ways to put rows on a map."""

WIDTH, HEIGHT, MARGIN = 640, 460, 14
"""The size of the map, and the room around its points, in its own units."""

NEIGHBOURS = 15
"""The number of neighbours of a row that UMAP keeps near."""

LEAST_FOR_UMAP = 2 * NEIGHBOURS
"""The number of rows below which neighbourhoods are no picture, and principal components are shown."""


@dataclass(frozen=True)
class Places:
    """The places of rows on the page."""

    on_page: Array
    """The horizontal and the vertical place of each row, [N, 2]."""
    title: str
    """The name of the method."""
    words: str
    """The way in which the places were found, and what they can be read for."""


def places_of(rows: torch.Tensor, method: Method, seed: int) -> Places:
    """Return the places of rows by a method.

    Args:
        rows: the rows, [N, m].
        method: "pca", or "umap", which needs the extra `umap`.
        seed: the seed of UMAP, whose map depends on it.

    Raises:
        ValueError: the method is another.
        ModuleNotFoundError: umap-learn is missing.
    """
    check_choice("map", method, get_args(Method))
    if method == "pca":
        return _principal(rows)
    with needs("umap"):
        import umap
    if len(rows) < LEAST_FOR_UMAP:
        found = _principal(rows)
        few = f"UMAP was asked for, but takes at least {LEAST_FOR_UMAP} rows."
        return Places(found.on_page, found.title, f"{found.words} {few}")
    return _neighbourhoods(rows, umap, seed)


def _principal(rows: torch.Tensor) -> Places:
    """Return the places in the two directions of most variance, and the share of it that they hold."""
    centred = rows.double() - rows.double().mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    places = (left[:, :2] * values[:2]).numpy()
    # The sign of a direction is arbitrary.
    places = places * np.sign(places[np.abs(places).argmax(0), [0, 1]])
    squares = values.square()
    share = float(squares[:2].sum() / squares.sum().clamp(min=1e-300))
    words = (
        f"projected on their first two principal components, which hold {share:.0%} of the variance: rows "
        "that are apart here are apart; rows that are close here need not be."
    )
    return Places(_on_page(places), "principal components", words)


def _neighbourhoods(rows: torch.Tensor, umap: Any, seed: int) -> Places:
    """Return the places by which UMAP keeps the neighbours of each row near it."""
    model = umap.UMAP(n_components=2, n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1)
    places = np.asarray(model.fit_transform(rows.float().numpy()), np.float64)
    words = (
        f"placed by UMAP with {NEIGHBOURS} neighbours and seed {seed}: rows that are close here are mostly "
        "neighbours. Distances are not to scale: neither the sizes of groups nor the room between them mean "
        "anything, and another seed draws another map."
    )
    return Places(_on_page(places), "UMAP", words)


def _on_page(places: Array) -> Array:
    """Scale places to fill the page, by one factor in both directions."""
    low, high = places.min(0), places.max(0)
    room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
    scale = float((room / np.maximum(high - low, 1e-12)).min())
    on_page: Array = (places - (low + high) / 2) * [scale, -scale] + [WIDTH / 2, HEIGHT / 2]
    return on_page.round(1)
