"""Scores and scorers for scikit-learn, by which transformers are compared and chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from align_uniform import _checks as checks
from align_uniform.measuring.alone import alignment_of, uniformity_of

__all__ = ["alignment_score", "neg_alignment_scorer", "neg_uniformity_scorer", "uniformity_score"]


def alignment_score(
    X: Any,  # noqa: N803  # the name in scikit-learn
    y: Any = None,
    *,
    pairs: Any = None,
    alpha: float = 2,
    normalize: bool = True,
) -> float:
    r"""Return the alignment of samples of one class, or of given pairs of samples; 0 is best.

    .. math:: E \lVert x - x^+ \rVert^\alpha

    It is the `align.value` of `measure(X, labels=y)` or `measure(X, pairs=pairs)`. As in
    `sklearn.metrics.davies_bouldin_score`, less is better; a constant embedding has 0, so look at uniformity,
    too.

    Args:
        X: the embedding, (n_samples, n_features).
        y: the class of each sample, (n_samples,).
        pairs: the numbers of two samples for each positive pair, (n_pairs, 2), in place of classes.
        alpha: the exponent of the distance, above 0; it is 2 for classes.
        normalize: whether to divide samples by their norms.

    Raises:
        ValueError: neither or both of y and pairs are given, or there are no positive pairs.

    Example:
        >>> from align_uniform.integrations.sklearn import alignment_score
        >>> X = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
        >>> round(alignment_score(X, [0, 0, 1]), 6), round(alignment_score(X, pairs=[[0, 2]]), 6)
        (2.0, 4.0)

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1.
    """
    if (y is None) == (pairs is None):
        given = "neither" if y is None else "both"
        raise ValueError(f"alignment_score needs y, the classes, or pairs, got {given}; pass one of them.")
    alpha = checks.check_positive("alpha", alpha)
    if y is not None and alpha != 2:
        raise ValueError(f"alpha must be 2 for classes, got {alpha:g}; leave it out, or pass pairs.")
    return alignment_of(X, labels=y, pairs=pairs, alpha=alpha, normalize=normalize).value


def uniformity_score(X: Any, *, t: float = 2, normalize: bool = True) -> float:  # noqa: N803
    r"""Return the uniformity of an embedding; lower is more even.

    .. math:: \log E_{i \neq j}\, e^{-t \lVert x_i - x_j \rVert^2}

    It is the `uniform.value` of `measure(X)`: at most 0, and at best about `uniform_optimum(n_features, t)`.
    As in `sklearn.metrics.davies_bouldin_score`, less is better.

    Args:
        X: the embedding, (n_samples, n_features).
        t: the inverse squared width of the Gaussian, above 0.
        normalize: whether to divide samples by their norms.

    Raises:
        ValueError: a sample is NaN, infinite, or zero with `normalize`, or there are fewer than two.

    Example:
        >>> from align_uniform.integrations.sklearn import uniformity_score
        >>> round(uniformity_score([[1.0, 0.0], [-1.0, 0.0]]), 6)
        -8.0

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2.
    """
    return uniformity_of(X, checks.check_positive("t", t), normalize=normalize).value


def neg_alignment_scorer(estimator: Any, X: Any, y: Any = None, **options: Any) -> float:  # noqa: N803
    """Return minus the alignment of the classes in what a transformer makes of samples; 0 is best.

    Pass it as `scoring` to `GridSearchCV` or `cross_validate`, which take the largest score for the best.

    Args:
        estimator: a fitted transformer, or a pipeline that ends with one.
        X: samples, as the transformer takes them.
        y: the class of each sample.
        **options: more arguments of `alignment_score`, by `functools.partial`.

    Raises:
        ValueError: y is missing, or the estimator does not transform.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.decomposition import PCA
        >>> from align_uniform.integrations.sklearn import neg_alignment_scorer
        >>> iris = load_iris()
        >>> print(f"{neg_alignment_scorer(PCA(2).fit(iris.data), iris.data, iris.target):.2f}")
        -0.42
    """
    return -alignment_score(_transform(estimator)(X), y, **options)


def neg_uniformity_scorer(estimator: Any, X: Any, y: Any = None, **options: Any) -> float:  # noqa: N803
    """Return minus the uniformity of what a transformer makes of samples: more is more even.

    Pass it as `scoring` to `GridSearchCV` or `cross_validate`, which take the largest score for the best.

    Args:
        estimator: a fitted transformer, or a pipeline that ends with one.
        X: samples, as the transformer takes them.
        y: ignored.
        **options: more arguments of `uniformity_score`, by `functools.partial`.

    Raises:
        ValueError: the estimator does not transform.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.decomposition import PCA
        >>> from align_uniform.integrations.sklearn import neg_uniformity_scorer
        >>> data = load_iris().data
        >>> print(f"{neg_uniformity_scorer(PCA(2).fit(data), data):.2f}")
        1.05
    """
    return -uniformity_score(_transform(estimator)(X), **options)


def _transform(estimator: Any) -> Callable[[Any], Any]:
    """Return the method of an estimator that makes an embedding."""
    if not hasattr(estimator, "transform"):
        raise ValueError(
            f"the scorers are for transformers, got {type(estimator).__name__}, which has no transform; "
            "leave the classifier out of the pipeline."
        )
    transform: Callable[[Any], Any] = estimator.transform
    return transform
