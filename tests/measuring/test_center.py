"""Tests of `center`: the measurement of rows less a mean is that of rows from which it was subtracted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from align_uniform.cli import main
from tests import rows

X, Y = rows.cone(60, 6), normalize(rows.cone(60, 6) + 0.3 * rows.normal(60, 6, seed=3), dim=-1)
MEAN = rows.normal(6, seed=5) / 4


def numbers(found: Measurement) -> dict[str, float]:
    return {key: value for key, value in found.scalars().items() if not key.startswith("norms")}


def less(z: Tensor, mean: Tensor | None = None) -> Tensor:
    unit = normalize(z, dim=-1)
    return unit - (unit.mean(0) if mean is None else mean)


@pytest.mark.parametrize("mean", [None, MEAN], ids=["own", "given"])
@pytest.mark.parametrize(
    "options",
    [{}, {"labels": [i % 3 for i in range(60)]}, {"method": "anchors", "anchors": 20}],
    ids=["rows", "classes", "anchors"],
)
def test_all_numbers_are_those_of_rows_less_the_mean(mean: Tensor | None, options: dict[str, Any]) -> None:
    found = measure(3 * X, center=True if mean is None else mean, **options)
    expected = measure(less(X, mean), **options)
    assert numbers(found) == pytest.approx(numbers(expected), rel=1e-6, abs=1e-8)
    assert found.norms.mean == pytest.approx(3)


def test_each_view_or_tower_is_less_its_own_mean_and_all_are_less_a_given_one() -> None:
    for center, x, y in ((True, less(X), less(Y)), (MEAN.tolist(), less(X, MEAN), less(Y, MEAN))):
        for pairs in (None, [[i, 59 - i] for i in range(60)]):
            found, expected = measure(X, Y, center=center, pairs=pairs), measure(x, y, pairs=pairs)
            assert numbers(found) == pytest.approx(numbers(expected), rel=1e-6, abs=1e-8)


def test_rows_that_are_not_normalised_are_not_normalised_again() -> None:
    found, expected = (
        measure(3 * X, normalize=False, center=True),
        measure(3 * (X - X.mean(0)), normalize=False),
    )
    assert numbers(found) == pytest.approx(numbers(expected), rel=1e-6, abs=1e-9)


def test_the_heading_and_provenance_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "center" not in measure(X).provenance
    assert measure(X, center=False).heading == measure(X).heading
    own, given = measure(X, center=True), measure(X, center=MEAN)
    assert (own.provenance["center"], given.provenance["center"]) == ("own means", "given")
    assert own.heading.endswith("exact, less the mean")
    assert given.heading.endswith("exact, less a given mean")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "mean.npy", MEAN)
    for words, expected in (
        ([], own),
        ([str(tmp_path / "mean.npy")], given),
    ):
        assert main(["measure", str(tmp_path / "x.npy"), "--json", "--center", *words]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["uniform"]["value"] == pytest.approx(expected.uniform.value, rel=1e-6)
        assert document["provenance"]["center"] == (words[0] if words else "own means")


def test_a_wrong_mean_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (torch.ones(5), X, torch.full((6,), torch.nan)):
        with pytest.raises(ValueError, match=r"center must be a finite mean of the 6 features, \[6\], got"):
            measure(X, center=wrong)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "mean.npy", MEAN[:4])
    assert main(["measure", str(tmp_path / "x.npy"), "--center", str(tmp_path / "mean.npy")]) == 1
    assert "mean.npy must be a finite mean of the 6 features, [6], got shape [4]" in capsys.readouterr().err
    assert main(["measure", "--center", str(tmp_path / "x.npy")]) == 2
    assert "x.npy for its mean; type FEATURES before it" in capsys.readouterr().err


def test_centred_rows_that_are_not_normalised_are_judged_by_their_norms_as_measured() -> None:
    x = normalize(rows.normal(200, 16) + 0.7, dim=-1)
    found = measure(x, center=True, normalize=False)
    norms = (x - x.mean(0)).norm(dim=1)
    assert found.norms.measured == pytest.approx((float(norms.min()), float(norms.max())))
    assert found.norms.smallest == pytest.approx(1)  # as given
    (finding,) = found.findings
    assert finding.name == "not on the sphere"
    assert f"norms from {norms.min():.4g} to {norms.max():.4g}" in finding.what
    assert [place for place in found.places() if place.key.startswith("uniform")] == []
    assert Measurement.from_json(found.to_json()).findings == found.findings
    normalised = measure(x, center=True)
    assert normalised.findings == ()
    assert normalised.norms.measured is None
