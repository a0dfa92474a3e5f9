"""`measure`: what it makes of each kind of input, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import backend_registration

from align_uniform import Measurement, align_loss, measure, uniform_loss
from align_uniform.measuring import populations
from tests import oracle, rows

X, Y = rows.unit(40, 6), rows.unit(40, 6, seed=1)


def close(value: float | None, expected: float | Tensor, tolerance: float = 1e-9) -> None:
    assert value == pytest.approx(float(expected), rel=tolerance, abs=tolerance)


def mean_square(x: Tensor, y: Tensor, is_pair: Tensor) -> float:
    """Mean squared distance of rows that are no pair."""
    return float(torch.cdist(x, y).square()[~is_pair].mean())


# --------------------------------------------------------------------------------------------- kinds of input


@pytest.mark.parametrize("t", [0.5, 2, 60])
def test_features_alone_have_their_uniformity(t: float, device: str) -> None:
    result = measure(X.to(device), t=t)
    close(result.uniform.value, oracle.uniform(oracle.numbers(X), t))
    assert (result.align, result.tolerance, result.towers, result.worst_pairs) == (None, None, None, ())
    assert (result.n, result.dim) == (40, 6)


@pytest.mark.parametrize("alpha", [1, 2, 3.5])
def test_two_views_are_pairs_row_by_row(alpha: float) -> None:
    result = measure(X, Y, alpha=alpha)
    assert result.align
    close(result.align.value, oracle.align(oracle.numbers(X), oracle.numbers(Y), alpha))
    distances = torch.linalg.vector_norm(X - Y, dim=1).pow(alpha)
    close(result.align.stderr, distances.std() / 40**0.5)
    close(
        result.align.relative,
        (X - Y).square().sum(1).mean() / mean_square(X, Y, torch.eye(40, dtype=torch.bool)),
    )
    close(result.uniform.value, (uniform_loss(X) + uniform_loss(Y)) / 2)
    assert result.uniform.by_population == pytest.approx((float(uniform_loss(X)), float(uniform_loss(Y))))
    assert (result.align.pairs, result.align.of) == (40, "two views")


def test_many_views_are_pairs_with_each_other() -> None:
    views = torch.stack([X, Y, F.normalize(X + Y, dim=1)])
    result = measure(views)
    assert result.align
    couples = [(views[0], views[1]), (views[0], views[2]), (views[1], views[2])]
    close(result.align.value, sum(align_loss(x, y) for x, y in couples) / 3)
    per_item = torch.stack([(x - y).square().sum(1) for x, y in couples]).mean(0)
    close(result.align.stderr, per_item.std() / 40**0.5)
    close(result.uniform.value, uniform_loss(views).mean())
    assert (result.align.pairs, result.align.of, result.n) == (120, "3 views", 40)


def test_labels_give_alignment_and_tolerance_within_classes() -> None:
    labels = [*"aab" * 13, "alone"]
    same = torch.tensor([[a == b for b in labels] for a in labels])
    pairs = same & ~torch.eye(40, dtype=torch.bool)
    result = measure(X, labels=labels)
    assert result.align
    assert result.tolerance
    close(result.align.value, torch.cdist(X, X).square()[pairs].mean())
    close(result.align.relative, result.align.value / mean_square(X, X, same))
    close(result.tolerance.value, (X @ X.T)[pairs].mean())
    assert (result.align.of, result.align.pairs) == ("same class", int(pairs.sum()) // 2)
    assert (result.tolerance.classes, result.tolerance.skipped) == (2, 1)
    assert measure(X, labels=labels, alpha=1).align is None  # no closed form: tolerance alone is given


def test_labels_beside_views_leave_alignment_to_the_views() -> None:
    result = measure(X, Y, labels=np.arange(40) // 4)
    assert result.align
    assert result.align.of == "two views"
    assert result.tolerance


@pytest.mark.parametrize(
    ("strict", "of", "expected"),
    [(True, "pairs with score > 4", [2]), (False, "pairs with score >= 4", [1, 2])],
)
def test_scored_pairs_count_above_a_threshold(strict: bool, of: str, expected: list[int]) -> None:
    pairs = np.array([[0, 1], [2, 3], [4, 9]])
    result = measure(X, pairs=pairs, scores=[1, 4, 5], threshold=4, strict=strict)
    assert result.align
    x, y = X[pairs[expected, 0]], X[pairs[expected, 1]]
    close(result.align.value, align_loss(x, y))
    assert (result.align.of, result.align.pairs) == (of, len(expected))
    is_pair = torch.eye(40, dtype=torch.bool)
    for i, j in pairs[expected].tolist():
        is_pair[i, j] = is_pair[j, i] = True
    close(result.align.relative, (x - y).square().sum(1).mean() / mean_square(X, X, is_pair))
    close(result.uniform.value, uniform_loss(X))


def test_two_towers_are_measured_each_and_between() -> None:
    users, items = rows.unit(12, 6), rows.unit(30, 6, seed=1)
    pairs = ([0, 3, 3, 11], [29, 4, 5, 0])
    result = measure(users, items, pairs=pairs)
    assert result.align
    assert result.towers
    close(result.align.value, align_loss(users[pairs[0]], items[pairs[1]]))
    close(result.uniform.value, (uniform_loss(users) + uniform_loss(items)) / 2)
    close(result.towers.cross_uniform, uniform_loss(users, negatives=items, intra_batch=False))
    close(result.towers.modality_gap, (users.mean(0) - items.mean(0)).norm())
    assert result.towers.rows == (12, 30)
    errors = [measure(tower).uniform.stderr for tower in (users, items)]
    close(result.uniform.stderr, sum(error**2 for error in errors if error) ** 0.5 / 2)


def test_an_entity_that_comes_again_counts_once() -> None:
    entities, pictures = [0, 1, 2, 0, 3, 1, 4, 5], [9, 8, 7, 6, 5, 4, 9, 3]
    users, items = rows.unit(6, 6)[entities], rows.unit(10, 6, seed=1)[pictures]
    result = measure(users, items, ids=([f"u{e}" for e in entities], np.array(pictures)))
    assert result.align
    assert result.towers
    close(result.align.value, align_loss(users, items))
    close(result.uniform.by_population[0], uniform_loss(rows.unit(6, 6)))
    close(result.uniform.by_population[1], uniform_loss(items[[0, 1, 2, 3, 4, 5, 7]]))
    assert result.towers.rows == (6, 7)
    assert result.duplicates.exact == 0
    once = measure(users, ids=entities)
    close(once.uniform.value, uniform_loss(rows.unit(6, 6)))
    assert {row.row for row in once.crowded} == {0, 1, 2, 4, 6, 7}  # numbered as they were given


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int8])
def test_narrow_numbers_are_measured_in_float32(dtype: torch.dtype) -> None:
    scale = 100 if dtype == torch.int8 else 1
    x, y = (X * scale).to(dtype), (Y * scale).to(dtype)
    result = measure(x, y)
    wide_x, wide_y = (F.normalize(z.double(), dim=1) for z in (x, y))
    assert result.align
    close(result.align.value, align_loss(wide_x, wide_y), 1e-6)
    close(result.uniform.value, (uniform_loss(wide_x) + uniform_loss(wide_y)) / 2, 1e-6)


def test_arrays_tensors_and_files_are_the_same(tmp_path: Path) -> None:
    x, y = X.float(), Y.float()
    np.savez(tmp_path / "both.npz", x=x.numpy(), y=y.numpy())
    torch.save(torch.stack([x, y]), tmp_path / "views.pt")
    read_only = x.numpy().copy()
    read_only.flags.writeable = False
    found = [
        measure(x, y),
        measure(read_only, y.numpy()[::-1][::-1]),
        measure(x.requires_grad_(), y),
        measure(f"{tmp_path}/both.npz::x", f"{tmp_path}/both.npz::y"),
        measure(tmp_path / "views.pt"),
    ]
    for result in found[1:]:
        assert (result.align, result.uniform) == (found[0].align, found[0].uniform)
    assert found[4].name == "views"
    for number, part in enumerate(x.detach().split(15)):
        np.save(tmp_path / f"shard{number}.npy", part.numpy())
    assert measure(tmp_path / "shard*.npy").uniform.value == measure(x).uniform.value
    assert [part["shape"] for part in found[4].provenance["sources"]] == [[40, 6], [40, 6]]


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


# ----------------------------------------------------------------------------------------------------- by row


def test_the_worst_pairs_come_farthest_first() -> None:
    result = measure(X, Y, top=4)
    distances = torch.linalg.vector_norm(X - Y, dim=1)
    assert [pair.x for pair in result.worst_pairs] == distances.topk(4).indices.tolist()
    assert all(pair.x == pair.y for pair in result.worst_pairs)
    close(result.worst_pairs[0].distance, distances.max())
    assert len(measure(X[:3], Y[:3]).worst_pairs) == 3


def test_no_rows_are_named_if_none_are_asked_for() -> None:
    result = measure(X, Y, top=0)
    assert (result.worst_pairs, result.crowded) == ((), ())


def test_the_most_crowded_rows_have_their_nearest_neighbour() -> None:
    z = X.clone()
    z[30:36] = F.normalize(z[5] + 0.2 * rows.normal(6, 6), dim=1)
    result = measure(z, top=3)
    sums = oracle.potential_sums(oracle.numbers(z), 2) / 39
    assert [row.row for row in result.crowded] == np.argsort(-sums)[:3].tolist()
    close(result.crowded[0].mean_potential, sums.max())
    apart = torch.cdist(z, z).fill_diagonal_(9)
    for row in result.crowded:
        assert row.neighbour == int(apart[row.row].argmin())
        close(row.distance, apart[row.row].min())


def test_duplicates_are_counted() -> None:
    z = X.clone()
    z[10], z[20], z[21] = z[3], z[3], F.normalize(z[4] + 0.01 * z[5], dim=0)
    duplicates = measure(z).duplicates
    assert (duplicates.exact, duplicates.near) == (2, 5)
    assert measure(-0.0 * X + 1).duplicates.exact == 39  # and a zero has no sign


def test_round_numbers_are_not_taken_for_duplicates() -> None:
    z = torch.cartesian_prod(*[torch.tensor([-2.0, -1.0, 1.0, 2.0])] * 6)
    assert measure(z, method="anchors", anchors=10).duplicates.exact == 0


def test_details_hold_every_row() -> None:
    details = measure(X, Y).details
    assert details is not None
    assert details.distances is not None
    torch.testing.assert_close(details.distances, torch.linalg.vector_norm(X - Y, dim=1))
    sums = oracle.potential_sums(oracle.numbers(Y), 2) / 39
    np.testing.assert_allclose(details.row_means[1].numpy(), sums)
    assert details.cosines.shape == (40 * 39 // 2,)
    close(float(details.spectrum.sum()), X.var(0, correction=0).sum())


# ----------------------------------------------------------------------------------------- norms and refusals


def test_rows_are_normalised_unless_they_are_to_be_taken_as_they_are() -> None:
    scaled = X * torch.linspace(1, 5, 40).unsqueeze(1)
    found = measure(scaled)
    close(found.uniform.value, uniform_loss(X))
    assert (found.norms.smallest, found.norms.largest, found.norms.normalized) == pytest.approx((1, 5, True))
    assert found.warnings == (
        "rows have norms from 1 to 5; they were divided by them, and what is measured is their directions.",
    )
    as_is = measure(scaled, normalize=False)
    close(as_is.uniform.value, uniform_loss(scaled))
    assert "the optimum, of unit rows, does not apply" in as_is.warnings[0]
    assert measure(X).warnings == ()


def broken(*places: tuple[int, float]) -> Tensor:
    z = X.clone()
    for row, value in places:
        z[row] = value
    return z


NAN, INF = float("nan"), float("inf")
BROKEN = broken(*((row, NAN) for row in range(9)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": broken((3, NAN), (17, INF))},
         r"2 of 40 rows with a NaN or an infinity \(rows 3, 17\); leave"),
        ({"features": X, "positives": BROKEN}, r"positives has 9 of 40 .*\(rows 0, 1, 2, 3, 4, \.\.\.\)"),
        ({"features": broken((5, 0.0))},
         r"features has 1 of 40 rows with norm 0, and so without a direction \(rows 5\)"),
        ({"features": [1, 2]}, "features must be a tensor, an array, or the path of a file, got list"),
        ({"features": X[0]}, r"features must be \[N, m\], or \[V, N, m\] for V views, got shape \[6\]"),
        ({"features": X[:0]}, r"got shape \[0, 6\]"),
        ({"features": X.long()}, "features must be floating point or int8, got int64"),
        ({"features": X[:1]}, "features must have at least 2 distinct rows, got 1"),
        ({"features": X, "positives": Y[:, :5]}, r"must have one dimension, got \[40, 6\] and \[40, 5\]"),
        ({"features": X, "positives": Y[:9]}, "row i of positives are a pair, got 40 and 9 rows; pass pairs"),
        ({"features": torch.stack([X, Y]), "positives": Y},
         "must be \\[N, m\\] where positives are given, got 2 views"),
        ({"features": torch.stack([X, Y]), "pairs": [[0, 1]]},
         "pairs and ids are of .* features, got 2 views"),
        ({"features": X, "pairs": [[0, 40]]},
         "second numbers of pairs must be rows from 0 to 39, got 40 to 40"),
        ({"features": X, "pairs": [[-1, 4]]},
         "first numbers of pairs must be rows from 0 to 39, got -1 to -1"),
        ({"features": X, "pairs": [[4, 4]]},
         "pairs must be of two different rows, got 1 of a row with itself"),
        ({"features": X, "pairs": [[0.5, 4]]},
         r"pairs must be row numbers, whole numbers of shape .* got torch.float32"),
        ({"features": X, "pairs": [0, 4]},
         r"whole numbers of shape \[P, 2\], got torch.int64 of shape \[2\]"),
        ({"features": X, "pairs": [[0, 4]], "scores": [3]}, "scores need a threshold"),
        ({"features": X, "pairs": [[0, 4]], "threshold": 3}, "threshold=3 needs the scores"),
        ({"features": X, "threshold": 3}, "scores and threshold are of pairs"),
        ({"features": X, "pairs": [[0, 4]], "scores": [3, 4], "threshold": 3},
         r"one for each of the 1 pairs, got shape \[2\]"),
        ({"features": X, "pairs": [[0, 4]], "scores": ["high"], "threshold": 3}, "scores must be numbers"),
        ({"features": X, "pairs": [[0, 4]], "scores": [NAN], "threshold": 3},
         "scores must be numbers, got 1 that are not"),
        ({"features": X, "pairs": [[0, 4]], "scores": [3], "threshold": 3},
         "got none of pairs with score > 3; lower"),
        ({"features": X, "labels": [1]}, "labels must be one for each of the 40 rows, got 1"),
        ({"features": X, "labels": range(40)}, "a class must have at least 2 rows"),
        ({"features": X, "ids": [7] * 40}, "must have at least 2 distinct rows, got 1"),
        ({"features": X, "positives": Y, "ids": range(40)}, "ids must be a tuple of two"),
        ({"features": X, "groups": range(40), "method": "anchors"},
         "groups are of the rows of one exact population"),
        ({"features": X, "method": "sample"}, "method must be one of 'exact', 'anchors', got 'sample'"),
        ({"features": X, "t": [2, -1]}, "t must be a finite number above 0, got -1"),
        ({"features": X, "t": []}, "t must be at least one number"),
        ({"features": X, "alpha": 0}, "alpha must be a finite number above 0"),
        ({"features": X, "method": "anchors", "anchors": 3}, "anchors must be at least 10, got 3"),
        ({"features": X, "top": -1}, "top must be at least 0, got -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        measure(**arguments)
    assert "\n" not in str(error.value)


# ----------------------------------------------------------------------------------------------- interruption


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
def test_a_device_without_float64_measures_what_the_cpu_measures() -> None:
    command = [sys.executable, "-m", "tests.measuring.float32_device"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
