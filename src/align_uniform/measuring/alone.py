"""Alignment or uniformity alone, for callers who want one number often, and not all that `measure` finds."""

from __future__ import annotations

from typing import Any

from align_uniform import _ranks as ranks
from align_uniform.measuring.alignment import alignment_of_classes, alignment_of_pairs
from align_uniform.measuring.columns import codes_of
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.results import Alignment, Uniformity
from align_uniform.measuring.subject import Subject, subject
from align_uniform.measuring.sweep import Alike, Plan, sweep, uniformities
from align_uniform.measuring.units import units_of


def uniformity_of(features: Any, t: float, *, normalize: bool = True) -> Uniformity:
    """Return the `uniform` of `measure(features, t=t, normalize=normalize)`.

    Args:
        features: [N, m], or [V, N, m] for V views, as `measure` takes them.
        t: the inverse squared width of the Gaussian, above 0.
        normalize: whether to divide rows by their norms.

    Example:
        >>> import torch
        >>> from align_uniform.measuring.alone import uniformity_of
        >>> round(uniformity_of(torch.eye(8), 2).value, 6)
        -4.0
    """
    with ranks.alone():
        asked = _asked(features, None, normalize)
        plan, units = Plan((t,), "exact", 0, 0, False, False), units_of(asked, None)
        (found,), _ = uniformities(sweep(asked, plan, units), asked, plan, units, Alike.of(asked, units))
    return found


def alignment_of(
    features: Any, *, labels: Any = None, pairs: Any = None, alpha: float = 2, normalize: bool = True
) -> Alignment:
    """Return the `align` of `measure`, of the rows of each class or of given pairs.

    Args:
        features: [N, m], as `measure` takes them.
        labels: the class of each row, [N]; alpha is 2 for classes.
        pairs: row numbers, [P, 2], in place of labels.
        alpha: the exponent of the distance, above 0.
        normalize: whether to divide rows by their norms.

    Raises:
        ValueError: there are no positive pairs.

    Example:
        >>> import torch
        >>> from align_uniform.measuring.alone import alignment_of
        >>> round(alignment_of(torch.eye(4), pairs=[[0, 1]]).value, 6)
        2.0
    """
    with ranks.alone():
        asked = _asked(features, pairs, normalize)
        units = units_of(asked, None)
        if pairs is not None:
            found = alignment_of_pairs(asked, alpha, units).alignment
        else:
            found = alignment_of_classes(
                asked, codes_of("labels", labels, len(asked.rows)), 2, units
            ).alignment
    if found is None:
        raise ValueError("there must be at least one positive pair; no class has two rows.")
    return found


def _asked(features: Any, pairs: Any, normalize: bool) -> Subject:
    choice = PairChoice(pairs, None, None, True)
    return subject(features, None, choice, ids=None, normalize=normalize, device=None, name=None)
