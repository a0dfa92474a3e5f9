"""The difference of two measurements, paired where the rows are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from align_uniform import measure
from tests import rows
from tests.measuring.examples import example


def test_the_same_rows_are_compared_in_pairs() -> None:
    a, b = (example(noise=noise, items=list(range(60))) for noise in (0.3, 0.4))
    paired = a - b
    apart = a - replace(b, details=None)
    assert paired.paired
    assert not apart.paired
    assert (paired.pairing, apart.pairing[:28]) == ("the same items", "the numbers of each item of ")
    assert paired.uniform == apart.uniform == a.uniform.value - b.uniform.value
    assert paired.align == apart.align
    assert paired.align_stderr is not None
    assert apart.align_stderr is not None
    assert paired.align_stderr < apart.align_stderr
    itself = a - a
    assert (itself.uniform, itself.uniform_stderr, itself.align, itself.align_stderr) == (0, 0, 0, 0)
    assert "(paired: the same items)" in str(paired)


def test_paired_errors_are_those_of_repeated_samples() -> None:
    """The spread of the difference of two encoders over 200 samples of the same items is what one sample says
    it is.
    """
    mixing = rows.normal(8, 8, seed=5)

    def difference(seed: int) -> tuple[float, float]:
        z = rows.normal(120, 8, seed=seed) + 1
        found = measure(z).difference(measure(z + 0.5 * z @ mixing / 8), paired=True)
        assert found.uniform_stderr is not None
        return found.uniform, found.uniform_stderr

    values, errors = torch.tensor([difference(seed) for seed in range(200)], dtype=torch.float64).unbind(1)
    assert 0.85 < float(errors.mean() / values.std()) < 1.2


def test_different_settings_are_not_compared() -> None:
    with pytest.raises(ValueError, match="both must be measured at one t, got 2 and 3"):
        _ = example() - measure(rows.normal(60, 8), t=3)
    with pytest.raises(ValueError, match="both must have one alpha, got 2 and 1"):
        _ = example() - example(alpha=1)


def test_items_are_paired_only_where_they_are_known_to_be_the_same() -> None:
    x, names = rows.normal(60, 8), [f"item {i}" for i in range(60)]
    labels = [(7 * i) % 5 for i in range(60)]
    named = measure(x, items=names)
    assert (named - measure(x + 1, items=names)).paired
    assert not (named - measure(x + 1, items=names[::-1])).paired
    assert not (named - measure(x + 1)).paired
    assert not (measure(x) - measure(x + 1)).paired
    assert (measure(x, ids=names) - measure(x + 1, ids=names)).pairing == "the same ids"
    assert (measure(x, labels=labels) - measure(x + 1, labels=labels)).pairing == "the same labels"
    ordered = sorted(labels)
    assert (measure(x, labels=ordered) - measure(x + 1, labels=ordered)).pairing == (
        "the order of the items is not known"
    )
    pairs = [[0, 1], [2, 3], [4, 5]]
    apart = measure(x, pairs=pairs, items=names) - measure(x, pairs=[[0, 1], [2, 3], [4, 6]], items=names)
    assert apart.pairing == "the items differ"


def test_pairing_can_be_said_and_refused() -> None:
    a, b = measure(rows.normal(60, 8)), measure(rows.normal(60, 8) + 1)
    assert a.difference(b, paired=True).pairing == "as was said"
    named = measure(rows.normal(60, 8), items=range(60))
    assert not named.difference(named, paired=False).paired
    with pytest.raises(ValueError, match="cannot be compared item by item: they have 60 and 50 items"):
        a.difference(measure(rows.normal(50, 8)), paired=True)
    with pytest.raises(ValueError, match="was measured from anchors; measure it exactly"):
        a.difference(measure(rows.normal(60, 8), method="anchors", anchors=20), paired=True)
