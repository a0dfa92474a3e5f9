"""Measures of features in addition to alignment and uniformity.

Uniformity shows a cone that the rank measures miss once the mean is subtracted; the rank measures show a
collapsed dimension that uniformity hides in its third decimal. So a set of rows is measured from several
sides:

* **Moments**, the sum of the rows and of their outer products, give the mean cosine, W2 uniformity, RankMe,
  the participation ratio, IsoScore and the modality gap.
* **Class sums**, the same class by class without the outer products, give tolerance and the alignment of
  classes.
* **Nearest neighbours** give KoLeo, the near duplicates, and the hubs.
* **Retrieval** ranks the partner of a row among all candidates: recall at k and the mean reciprocal rank.

Moments and class sums are float64, small, and mergeable with `+`. Rows in many files, or on many processes,
are measured a part at a time, with the same result as the whole. Nothing here has a gradient.
"""

from __future__ import annotations

from align_uniform.geometry.classes import (
    ClassSums,
    class_alignment,
    explained_variance,
    permuted_tolerance,
    tolerance,
    tolerance_influence,
    tolerance_stderr,
    within_class_products,
)
from align_uniform.geometry.moments import Moments, cross_mean_squared_distance, mean_cosine, modality_gap
from align_uniform.geometry.neighbours import koleo, nearest_neighbours, occurrences, skewness
from align_uniform.geometry.retrieval import Ranks, partner_ranks
from align_uniform.geometry.spectra import (
    isoscore,
    participation_ratio,
    participation_ratio_of_uniform,
    rankme,
    rankme_of_uniform,
    singular_values,
    spectrum,
    w2_floor,
    w2_uniformity,
)

__all__ = [
    "ClassSums",
    "Moments",
    "Ranks",
    "class_alignment",
    "cross_mean_squared_distance",
    "explained_variance",
    "isoscore",
    "koleo",
    "mean_cosine",
    "modality_gap",
    "nearest_neighbours",
    "occurrences",
    "participation_ratio",
    "participation_ratio_of_uniform",
    "partner_ranks",
    "permuted_tolerance",
    "rankme",
    "rankme_of_uniform",
    "singular_values",
    "skewness",
    "spectrum",
    "tolerance",
    "tolerance_influence",
    "tolerance_stderr",
    "w2_floor",
    "w2_uniformity",
    "within_class_products",
]
