"""Statistics of channels, as options give them and as they are listed."""

from __future__ import annotations

import numpy as np
import pytest

from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.image_set import measure_statistics
from align_uniform.recipes.images.statistics import STATISTICS, Statistics, given_statistics


def test_statistics_are_given_for_every_channel_or_not_at_all() -> None:
    assert given_statistics((), ()) is None
    assert given_statistics([0.5], [0.25]) == Statistics((0.5,), (0.25,))
    with pytest.raises(ValueError, match="one number for each channel, got 3 and 1"):
        given_statistics([0.5] * 3, [0.5])
    with pytest.raises(ValueError, match=r"std must have finite numbers above 0, got \[0.0\]"):
        given_statistics([0.5], [0.0])


def test_statistics_of_the_digits_are_as_listed() -> None:
    measured = measure_statistics(load("digits", "", "train"))
    np.testing.assert_allclose(np.array(measured), np.array(STATISTICS["digits"]), rtol=1e-6)
