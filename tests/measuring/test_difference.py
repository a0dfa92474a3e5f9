"""The difference of two measurements, paired where the rows are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from align_uniform import measure
from tests import rows
from tests.measuring.examples import example


def test_the_same_rows_are_compared_in_pairs() -> None:
    a, b = example(noise=0.3), example(noise=0.4)
    paired = a - b
    apart = a - replace(b, details=None)
    assert paired.paired
    assert not apart.paired
    assert paired.uniform == apart.uniform == a.uniform.value - b.uniform.value
    assert paired.align == apart.align
    assert paired.align_stderr is not None
    assert apart.align_stderr is not None
    assert paired.align_stderr < apart.align_stderr
    itself = a - a
    assert (itself.uniform, itself.uniform_stderr, itself.align, itself.align_stderr) == (0, 0, 0, 0)
    assert "(paired)" in str(paired)


def test_paired_errors_are_those_of_repeated_samples() -> None:
    """The spread of the difference of two encoders over 200 samples of the same items is what one sample says
    it is.
    """
    mixing = rows.normal(8, 8, seed=5)

    def difference(seed: int) -> tuple[float, float]:
        z = rows.normal(120, 8, seed=seed) + 1
        found = measure(z) - measure(z + 0.5 * z @ mixing / 8)
        assert found.uniform_stderr is not None
        return found.uniform, found.uniform_stderr

    values, errors = torch.tensor([difference(seed) for seed in range(200)], dtype=torch.float64).unbind(1)
    assert 0.85 < float(errors.mean() / values.std()) < 1.2


def test_different_settings_are_not_compared() -> None:
    with pytest.raises(ValueError, match="both must be measured at one t, got 2 and 3"):
        _ = example() - measure(rows.normal(60, 8), t=3)
    with pytest.raises(ValueError, match="both must have one alpha, got 2 and 1"):
        _ = example() - example(alpha=1)


def test_other_items_are_compared_unpaired() -> None:
    assert not (measure(rows.normal(60, 8)) - measure(rows.normal(50, 8))).paired
    assert not (
        measure(rows.normal(60, 8)) - measure(rows.normal(60, 8), method="anchors", anchors=20)
    ).paired
