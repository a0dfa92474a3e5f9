"""The difference of two measurements, paired where the rows are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]  # it has no annotations

from align_uniform import measure
from align_uniform.measuring import classes
from align_uniform.measuring.influence import Influence, share_difference_stderr
from align_uniform.measuring.positives import PairChoice
from align_uniform.measuring.retrieval import retrieval
from align_uniform.measuring.subject import subject
from align_uniform.measuring.units import units_of
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


def test_measurements_with_other_groups_are_not_paired() -> None:
    """As many groups of other rows are other units: their influences do not belong together."""
    x, y = rows.normal(60, 8), rows.normal(60, 8) + 1
    neighbours, halves = [row // 2 for row in range(60)], [row % 30 for row in range(60)]
    a = measure(x, groups=neighbours, items=range(60))
    b, same = measure(y, groups=halves, items=range(60)), measure(y, groups=neighbours, items=range(60))
    alone = measure(y, items=range(60))
    words = "their rows are grouped differently; measure both with the same groups and ids"
    for other in (b, alone):
        assert (a - other).pairing == words
        with pytest.raises(ValueError, match=f"cannot be compared item by item: {words}"):
            a.difference(other, paired=True)
        assert (a - other).uniform_stderr == a.difference(other, paired=False).uniform_stderr
    assert (a - same).pairing == "the same items"
    named = measure(y, groups=[f"{row} and the next" for row in neighbours], items=range(60))
    assert (a - named).paired
    assert (alone - measure(x, groups=range(60), items=range(60))).paired  # each row is a group


def test_measurements_with_other_ids_are_not_paired() -> None:
    x = rows.normal(60, 8)
    a, b = (
        measure(x, ids=ids, items=range(60))
        for ids in ([row // 2 for row in range(60)], [row % 30 for row in range(60)])
    )
    assert (a - b).pairing.startswith("their rows are grouped differently")
    assert (a - a).paired


def test_every_number_that_has_an_influence_has_a_difference() -> None:
    labels = [row % 3 for row in range(60)]
    a, b = (example(noise=noise, items=list(range(60)), labels=labels) for noise in (0.3, 0.8))
    difference = a - b
    assert a.details is not None
    keys = {record.key for record, _, error in difference.numbers() if error is not None}
    assert keys == {*a.details.influences, "uniform.gap", "uniform.equivalent_dim"}
    towers = [
        measure(rows.unit(50, 6, seed=seed), rows.unit(40, 6), pairs=[[0, 0], [1, 1]]) for seed in (1, 2)
    ]
    found = {record.key for record, _, error in (towers[0] - towers[1]).numbers() if error is not None}
    assert {"towers.modality_gap", "towers.cross_uniform"} <= found


def test_z_and_p_are_those_of_a_normal_distribution() -> None:
    difference = example(noise=0.3) - example(noise=0.4)
    assert difference.uniform_stderr is not None
    z, p = difference.z["uniform"], difference.p["uniform"]
    assert z is not None
    assert z == pytest.approx(difference.uniform / difference.uniform_stderr)
    assert p == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert f"z = {z:.2f}, p" in str(difference)
    plain = difference.to_dict()
    assert (plain["z"]["uniform"], plain["p"]["uniform"]) == (z, p)


def test_few_hits_of_one_alone_are_no_certainty() -> None:
    """Three queries that one of two encoders alone answers have p = 0.25 by McNemar's test."""
    x = rows.unit(200, 16)
    near = torch.nn.functional.normalize(x + 0.05 * rows.unit(200, 16, seed=1))
    worse = near.clone()
    worse[[0, 1, 2]] = near[[1, 2, 0]]
    difference = measure(x, near, items=range(200)) - measure(x, worse, items=range(200))
    assert difference.paired
    assert difference.recall_1 == pytest.approx(0.015)
    p = difference.p["retrieval.forward.recall_1"]
    assert p is not None
    assert 0.1 < p < 0.3
    same = measure(x, near, items=range(200)) - measure(x, near, items=range(200))
    assert (same.recall_1, same.p["retrieval.forward.recall_1"]) == (0, 1)
    assert same.recall_1_stderr == pytest.approx(2**0.5 / 202)


def test_rows_that_look_for_nothing_make_no_difference_surer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 rows, 20 look for a partner, and 50 for the class of their neighbours."""
    monkeypatch.setattr(classes, "PRODUCTS", 100)
    monkeypatch.setattr(classes, "SAMPLE", 50)
    pairs = torch.arange(20), torch.arange(20, 40)
    found = measure(rows.unit(300, 8), pairs=pairs, labels=[i % 3 for i in range(300)], items=range(300))
    same = found - found
    for error in (same.recall_1_stderr, same.mrr_stderr, same.backward_recall_5_stderr):
        assert error == pytest.approx(2**0.5 / 22)
    assert same.knn_stderr == pytest.approx(2**0.5 / 52)
    towers = measure(rows.unit(300, 8), rows.unit(200, 8, seed=1), pairs=pairs, items=range(300))
    assert (towers - towers).recall_1_stderr == pytest.approx(2**0.5 / 22)


def test_the_difference_of_recalls_of_few_queries_covers() -> None:
    """Of 25 partners among 300 rows, one encoder loses 4 in 100, and in a third of the samples none."""

    def recall(x: torch.Tensor) -> tuple[float, Influence]:
        choice = PairChoice((torch.arange(25), torch.arange(25, 50)), None, None, strict=True)
        asked = subject(x, None, choice, ids=None, normalize=True, device=None, name=None)
        found, influences = retrieval(asked, units_of(asked, None), None, 0)
        assert found is not None
        return found.forward.recall_1, influences["retrieval.forward.recall_1"]

    changes, errors = [], []
    for seed in range(200):
        x = rows.unit(300, 8, seed=seed)
        x[25:50] = x[:25] + 0.05 * rows.unit(25, 8, seed=seed + 10**6)
        worse = x.clone()
        lost = 25 + (torch.rand(25, generator=torch.Generator().manual_seed(seed)) < 0.04).nonzero().flatten()
        worse[lost] = -x[lost]
        (a, of_a), (b, of_b) = recall(x), recall(worse)
        changes.append(a - b)
        errors.append(share_difference_stderr(of_a - of_b))
    off = (torch.tensor(changes) - torch.tensor(changes).mean()).abs()
    assert float((off < 1.96 * torch.tensor(errors)).double().mean()) > 0.93
