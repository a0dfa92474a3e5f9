"""`measure`: features alone, blocks, details, norms, and an interruption."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import backend_registration

from align_uniform import Measurement, measure
from align_uniform.measuring import populations
from tests import oracle
from tests.as_they_are import uniform_loss
from tests.measuring.examples import X, Y, close


@pytest.mark.parametrize("t", [0.5, 2, 60])
def test_features_alone_have_their_uniformity(t: float, device: str) -> None:
    result = measure(X.to(device), t=t)
    close(result.uniform.value, oracle.uniform(oracle.numbers(X), t))
    assert (result.align, result.tolerance, result.towers, result.worst_pairs) == (None, None, None, ())
    assert (result.n, result.dim) == (40, 6)


def test_blocks_change_nothing(tiny_tiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "labels": [i % 3 for i in range(40)],
        "pairs": [[i, (7 * i + 1) % 40] for i in range(20)],
    }
    whole = measure(X, **options)
    monkeypatch.setattr(populations, "BLOCK_BYTES", 7 * 6 * 4)
    blocks = measure(X, **options)
    for name in ("align", "uniform", "tolerance", "duplicates", "norms", "mean_cosine", "w2", "rankme"):
        a, b = getattr(whole, name), getattr(blocks, name)
        for key, value in vars(a).items() if hasattr(a, "__dict__") else [("", a)]:
            other = getattr(b, key) if key else b
            is_number = isinstance(other, float | tuple)
            assert value == (pytest.approx(other, rel=1e-10, abs=1e-12) if is_number else other), (name, key)
    assert [row.row for row in whole.crowded] == [row.row for row in blocks.crowded]


def test_details_hold_every_row() -> None:
    details = measure(X, Y).details
    assert details is not None
    assert details.distances is not None
    torch.testing.assert_close(details.distances, torch.linalg.vector_norm(X - Y, dim=1))
    sums = oracle.potential_sums(oracle.numbers(Y), 2) / 39
    np.testing.assert_allclose(details.row_means[1].numpy(), sums)
    assert details.cosines.shape == (2 * 40 * 39 // 2,)
    close(float(details.spectrum.sum()), (X.var(0, correction=0).sum() + Y.var(0, correction=0).sum()) / 2)


def test_rows_are_normalised_unless_they_are_to_be_taken_as_they_are() -> None:
    scaled = X * torch.linspace(1, 5, 40).unsqueeze(1)
    found = measure(scaled)
    close(found.uniform.value, uniform_loss(X))
    assert (found.norms.smallest, found.norms.largest, found.norms.normalized) == pytest.approx((1, 5, True))
    assert (found.norms.median, found.norms.largest_ratio) == pytest.approx((2.9487, 5 / 2.9487), rel=1e-4)
    as_is = measure(scaled, normalize=False)
    close(as_is.uniform.value, uniform_loss(scaled))
    assert "the optimum, of unit rows, does not apply" in as_is.findings[0].what


def test_an_interrupted_exact_sum_falls_back_on_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("align_uniform.measuring.uniformity.exact_potentials", interrupted)
    result: Measurement = measure(X, Y, anchors=20, interruptible=True)
    assert result.provenance["method"] == "20 anchors, the exact sum was interrupted"
    assert result.uniform.approximation_stderr > 0
    with pytest.raises(KeyboardInterrupt):
        measure(X)


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no device that Python defines",
)
@pytest.mark.parametrize("widest", ["float64", "float32"])  # as CUDA, and as MPS
def test_a_device_measures_what_the_cpu_measures(widest: str) -> None:
    command = [sys.executable, "-m", "tests.measuring.emulated_device", widest]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": range(20)}, "got 20 rows of which no two share a class; check that labels are classes"),
        ({"groups": [0] * 20}, "groups must be at least 2, got 1"),
    ],
)
def test_what_no_sum_can_use_is_refused_before_any_work(
    given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing must be summed")

    monkeypatch.setattr("align_uniform.measuring.measure.sweep", never)
    with pytest.raises(ValueError, match=message):
        measure(X[:20], **given)


def test_names_of_items_are_counted_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing must be summed")

    monkeypatch.setattr("align_uniform.measuring.measure.sweep", never)
    with pytest.raises(ValueError, match=r"items must be one for each of the 20 rows, got 19"):
        measure(X[:20], items=range(19))
