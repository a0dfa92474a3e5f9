"""A transformer for scikit-learn that takes the mean out of embeddings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from align_uniform._extras import needs
from align_uniform._writing import written_whole

with needs("sklearn"):
    import numpy as np
    from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["Center"]


class Center(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Subtract the mean of the samples that it was fitted on, and divide samples by their norms again.

    .. math:: x' = \frac{x - \mu}{\lVert x - \mu \rVert}, \qquad
              \mu = \frac{1}{N} \sum_i \frac{x_i}{\lVert x_i \rVert}

    It opens a cone, in which all cosines are large: fit it on a sample of an index, and transform the queries
    and the index with the same mean. `align-uniform measure --center mean.npy` measures what comes of it.

    Args:
        normalize: whether to divide samples by their norms, both before and after.

    Attributes:
        mean_: the mean, (n_features,), float64.
        n_features_in_: the number of features.

    Example:
        >>> from align_uniform.integrations.center import Center
        >>> Center(normalize=False).fit_transform([[1.0, 2.0], [3.0, 2.0]])
        array([[-1.,  0.],
               [ 1.,  0.]])

    Reference:
        Mu & Viswanath, ICLR 2018, arXiv 1702.01417, "All-but-the-top".
    """

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    def fit(self, X: Any, y: Any = None) -> Center:  # noqa: ARG002, N803  # the signature of scikit-learn
        """Find the mean of samples, (n_samples, n_features); y is ignored."""
        rows = validate_data(self, X, dtype=(np.float64, np.float32))
        self.mean_ = self._unit(rows).mean(0, dtype=np.float64)
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803  # the name in scikit-learn
        """Return samples less the mean, normalised again, in their own precision."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return self._unit(self._unit(rows) - self.mean_).astype(rows.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mean to a file, mean.npy, that `--center` and `load` read.

        Raises:
            ValueError: the name does not end in .npy.
        """
        check_is_fitted(self)
        if Path(path).suffix != ".npy":
            raise ValueError(f"the mean must be saved as .npy, got {path}; name it mean.npy.")
        with written_whole(Path(path)) as partial, partial.open("wb") as file:
            np.save(file, self.mean_)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, normalize: bool = True) -> Center:
        """Return a fitted transformer with a mean that `save` wrote.

        Raises:
            ValueError: the file has no mean, (n_features,).
        """
        mean = np.load(path, allow_pickle=False)
        if mean.ndim != 1 or not np.isfinite(mean).all():
            raise ValueError(
                f"{path} must be a finite mean, [m], got shape {list(mean.shape)}; save it again."
            )
        found = cls(normalize=normalize)
        found.mean_, found.n_features_in_ = mean.astype(np.float64), len(mean)
        return found

    def _unit(self, rows: Any) -> Any:
        """Divide rows by their norms if asked; a row of zeros stays zero."""
        if not self.normalize:
            return rows
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms == 0, 1, norms)
