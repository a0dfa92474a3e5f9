"""Has it moved? Changes that uniformity misses, kinds of pairs, files larger than memory, other axes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from align_uniform import compare, drift, measure
from align_uniform.measuring.drift_result import Drift
from tests import oracle, rows

N = 120


def items(n: int = N, dim: int = 6, seed: int = 0) -> Tensor:
    return rows.normal(n, dim, seed=seed) + 0.5


def noisy(z: Tensor, seed: int = 1, noise: float = 0.2) -> Tensor:
    return z + noise * rows.normal(*z.shape, seed=seed)


def numbers(found: Drift) -> dict[str, float]:
    assert found.discrepancy is not None
    assert found.test is not None
    return {
        "squared_mmd": found.discrepancy.squared_mmd,
        "relative": found.discrepancy.relative,
        "stderr": found.discrepancy.stderr,
        "uniform": abs(found.difference.uniform),
    }


# --------------------------------------------------------------------------------------------------- decision


@pytest.mark.parametrize("paired", [True, False])
def test_a_rotation_of_one_side_leaves_uniformity_and_is_found(paired: bool) -> None:
    x = items()
    y = (noisy(x) if paired else items(seed=1)) @ rows.rotation(6)
    before = y @ rows.rotation(6).T
    found, none = drift(x, y, paired=paired), drift(x, before, paired=paired)
    assert found.difference.uniform == pytest.approx(none.difference.uniform, abs=1e-6)
    assert (found.moved, found.p) == (True, 0.005)
    assert not none.moved
    assert "it moved: p = 0.0050 is at most 0.05." in str(found)
    assert "no movement was found" in str(none)
    assert none.mean_share is None


def test_pairs_show_changes_that_unpaired_rows_hide() -> None:
    x = items()
    y = x + 0.03 * torch.eye(6, dtype=torch.float64)[0]
    assert drift(x, y, paired=True).moved
    other = items(seed=7) + 0.03 * torch.eye(6, dtype=torch.float64)[0]
    assert not drift(x, other).moved


def test_a_change_within_the_tolerance_is_no_movement() -> None:
    x = items()
    y = x + 0.03 * torch.eye(6, dtype=torch.float64)[0]
    strict, lenient = (drift(x, y, paired=True, tolerance=tolerance) for tolerance in (0, 0.1))
    assert strict.moved
    assert not lenient.moved
    assert lenient.p == strict.p
    assert "within the tolerance of 0.1" in lenient.verdict


def test_the_value_is_of_all_rows_and_the_test_of_a_sample() -> None:
    x, y = items(), items(100, seed=1) + 0.3
    found = drift(x, y, test_rows=50)
    unit = [oracle.numbers(torch.nn.functional.normalize(z, dim=1)) for z in (x, y)]
    assert found.discrepancy is not None
    assert found.discrepancy.squared_mmd == pytest.approx(oracle.squared_mmd(unit[0], unit[1]), rel=1e-6)
    assert found.test is not None
    assert found.test.rows == (50, 50)
    assert "of 50 rows" in str(found)
    assert "120 and 100 rows of 6 features, unpaired, exact" in str(found)


def test_items_are_sampled_together() -> None:
    x = items(300)
    found = drift(x, noisy(x), paired=True, test_rows=40)
    apart = drift(x, noisy(x), paired=False, test_rows=40)
    assert found.test is not None
    assert apart.test is not None
    assert found.test.rows == apart.test.rows == (40, 40)
    assert found.test.null_sd < apart.test.null_sd / 2  # what items have in common cancels


def test_anchors_estimate_the_value_with_an_error() -> None:
    x, y = items(400), items(300, seed=1) + 0.3
    exact, some = drift(x, y), drift(x, y, method="anchors", anchors=60)
    assert exact.discrepancy is not None
    assert some.discrepancy is not None
    error = some.discrepancy.approximation_stderr
    assert 0 < abs(some.discrepancy.squared_mmd - exact.discrepancy.squared_mmd) < 4 * error
    assert some.provenance["method"] == "60 anchors"
    assert drift(x, y, method="anchors").discrepancy == exact.discrepancy  # as many anchors as rows are exact


@pytest.mark.parametrize("paired", [True, False])
def test_sides_and_the_order_of_rows_do_not_matter(paired: bool) -> None:
    x = items()
    y = noisy(x) + 0.1 if paired else items(90, seed=1)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    there, back = numbers(drift(x, y, paired=paired)), numbers(drift(y, x, paired=paired))
    mixed = numbers(drift(x[order], y[order] if paired else y.flip(0), paired=paired))
    assert there == pytest.approx(back, rel=1e-6)
    assert there == pytest.approx(mixed, rel=1e-6)


# ------------------------------------------------------------------------------------------------------ items


def test_equal_ids_make_pairs() -> None:
    x = items()
    names = [f"u{row}" for row in range(N)]
    assert drift(x, noisy(x), ids=(names, names)).paired
    assert not drift(x, noisy(x), ids=(names, names), paired=False).paired
    assert not drift(x, noisy(x)).paired


def test_ids_in_common_are_warned_of() -> None:
    x, y = items(), items(seed=1)
    found = drift(x, y, ids=(range(N), range(100, 100 + N)))
    assert "20 ids occur on both sides" in " ".join(found.warnings)
    assert not found.paired


def test_rows_that_look_paired_are_warned_of() -> None:
    x = items()
    looks = "as if they were the same items"
    assert looks in " ".join(drift(x, noisy(x)).warnings)
    assert looks not in " ".join(drift(x, noisy(x), paired=True).warnings)
    named = drift(x, noisy(x), ids=(range(N), range(N, 2 * N)))
    assert "say so (paired=True, or --paired) without ids." in " ".join(named.warnings)
    for seed in range(20):
        assert looks not in " ".join(drift(x, items(seed=100 + seed)).warnings)


def test_an_error_that_few_rows_carry_is_warned_of() -> None:
    x = items(300) + 2  # a narrow cone
    y = noisy(x)
    y[:4] = -x[:4]
    few = "the error of the squared MMD rests on effectively"
    assert few in " ".join(drift(x, y, paired=True).warnings)
    assert few not in " ".join(drift(x, noisy(x) + 0.3, paired=True).warnings)
    assert few not in " ".join(drift(x, noisy(x), paired=True).warnings)


def test_a_change_of_norms_that_normalising_hides_is_warned_of() -> None:
    x = items()
    assert "the mean norm went from" in " ".join(drift(x, 2 * x, paired=True).warnings)
    assert not drift(x, 2 * x, paired=True).moved
    assert drift(x, 2 * x, paired=True, normalize=False).moved


def test_typical_rows_are_named_by_text_or_id() -> None:
    x = items()
    y = noisy(x) + 0.5
    texts = [f"text {row}" for row in range(N)], [f"new text {row}" for row in range(N)]
    by_text = drift(x, y, texts=texts)
    assert by_text.discrepancy is not None
    first = by_text.discrepancy.typical[1][0]
    assert first.text == f"new text {first.row}"
    assert f"row {first.row}" in str(by_text)
    assert str(first.text) in str(by_text)
    by_id = drift(x, y, ids=(range(N), range(N)), top=1).discrepancy
    assert by_id is not None
    assert by_id.typical[0][0].text == str(by_id.typical[0][0].row)
    assert len(by_id.typical[0]) == 1


def test_long_texts_are_printed_on_one_line() -> None:
    x = items()
    long = ["a verse\nof several\nlines, " + "and so on " * 20] * N
    lines = [line for line in str(drift(x, x + 1, texts=(long, long))).splitlines() if "  row " in line]
    assert len(lines) == 10
    assert all("a verse of several lines, and" in line and line.endswith(" …") for line in lines)
    assert max(map(len, lines)) <= 110


def test_alignment_of_both_sides_has_a_difference() -> None:
    x = items()
    y = noisy(x)
    found = drift(x, y, positives=(noisy(x, 5), noisy(y, 6, noise=0.6)), paired=True)
    assert found.difference.align is not None
    assert found.difference.align_stderr is not None
    assert found.difference.paired
    assert found.difference.align > 5 * found.difference.align_stderr
    assert found.difference.align == pytest.approx(
        measure(y, noisy(y, 6, noise=0.6)).align.value - measure(x, noisy(x, 5)).align.value  # type: ignore[union-attr]
    )
    assert "alignment" in str(found)
    unpaired = drift(x, y, positives=(noisy(x, 5), noisy(y, 6, noise=0.6)), paired=False).difference
    assert not unpaired.paired
    assert unpaired.uniform_stderr is not None
    assert found.difference.uniform_stderr is not None
    assert unpaired.uniform_stderr > 2 * found.difference.uniform_stderr


def test_the_paired_error_of_uniformity_is_that_of_samples_near_the_optimum() -> None:
    """60 samples of nearly uniform items; without joint potentials it would be 1.4 times too wide."""
    found = [
        drift(x, noisy(x, 1000 + seed, 0.5), paired=True, permutations=19, top=0).difference
        for seed in range(60)
        for x in [rows.normal(80, 8, seed=seed)]
    ]
    spread = float(torch.tensor([each.uniform for each in found]).std())
    errors = [each.uniform_stderr for each in found if each.uniform_stderr is not None]
    assert 0.75 < sum(errors) / len(found) / spread < 1.1


# ------------------------------------------------------------------------------------------------- other axes


def test_a_paired_error_weighs_the_pairs_of_either_side_by_its_own_slope() -> None:
    centres = rows.unit(10, 16)
    old = torch.nn.functional.normalize(centres[torch.arange(300) % 10] + 0.02 * rows.normal(300, 16), dim=1)
    new = torch.nn.functional.normalize(0.2 * old + rows.unit(300, 16, seed=1), dim=1)
    found = drift(old, new, paired=True).difference
    (expected,) = compare(old, new, paired=True).differences
    assert found.uniform_stderr == pytest.approx(expected.uniform_stderr, rel=1e-4)
    assert found.equivalent_dim_stderr == pytest.approx(expected.equivalent_dim_stderr, rel=1e-4)


def test_other_dimensions_are_compared_by_what_no_rotation_changes() -> None:
    found = drift(items(), items(dim=9), names=("small", "large"))
    assert found.rotation_invariant is not None
    assert "small has 6 features and large 9" in found.rotation_invariant
    assert found.rotation_invariant in str(found)
    assert (found.discrepancy, found.test, found.mean_share) == (None, None, None)
    assert found.moved
    assert "squared MMD" not in str(found)


@pytest.mark.parametrize("paired", [True, False])
def test_a_rotation_changes_nothing_that_is_rotation_invariant(paired: bool) -> None:
    x = items()
    y = noisy(x)
    turned = drift(x, y @ rows.rotation(6), rotation_invariant=True, paired=paired)
    assert not turned.moved
    assert turned.p == pytest.approx(drift(x, y, rotation_invariant=True, paired=paired).p)
    assert drift(x, y + 1, rotation_invariant=True, paired=paired).moved
    assert turned.difference.paired == paired


def test_rotation_invariant_p_holds_its_level() -> None:
    """Of 200 runs a level of 20% has a standard error of 3 points; without the doubling it would be 36%."""
    p = torch.tensor(
        [
            drift(x[0], x[1], rotation_invariant=True, positives=(x[0] + x[2], x[1] + x[3])).p
            for seed in range(200)
            for x in [torch.cat([items(160, 4, seed=seed).view(4, 40, 4)])]
        ]
    )
    assert 0.1 < float((p <= 0.2).double().mean()) < 0.29


# ------------------------------------------------------------------------------------------------- the result


def test_the_json_has_everything_but_single_rows() -> None:
    x = items()
    found = drift(x, noisy(x) + 0.3, paired=True)
    document = json.loads(found.to_json())
    assert document["moved"] is True
    assert document["p"] == 0.005
    assert document["discrepancy"]["squared_mmd"] == pytest.approx(numbers(found)["squared_mmd"])
    assert "witness" not in document["discrepancy"]
    assert found.test is not None
    assert document["test"]["effect"] == pytest.approx(found.test.effect)
    assert [each["schema_version"] for each in document["measurements"]] == [document["schema_version"]] * 2
    assert document["difference"]["paired"] is True
    assert json.loads(drift(x, items(dim=3)).to_json())["discrepancy"] is None


def test_the_witness_of_rows_is_kept_in_a_file(tmp_path: Path) -> None:
    x = items()
    found = drift(x, items(90, seed=1))
    found.save_rows(tmp_path / "rows.npz")
    with np.load(tmp_path / "rows.npz") as kept:
        assert {name: kept[name].shape for name in kept.files} == {"old": (N,), "new": (90,)}
        assert kept["old"].mean() + kept["new"].mean() == pytest.approx(numbers(found)["squared_mmd"])
    with pytest.raises(ValueError, match="axes of its own"):
        drift(x, x, rotation_invariant=True).save_rows(tmp_path / "none.npz")


def test_files_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    for name in ("old/x.npy", "new/x.npy", "new/z.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, items(20, seed=len(name)).float().numpy())
    assert drift(tmp_path / "old/x.npy", tmp_path / "new/z.npy").names == ("x", "z")
    same = drift(tmp_path / "old/x.npy", tmp_path / "new/x.npy")
    assert same.names == (str(tmp_path / "old/x.npy"), str(tmp_path / "new/x.npy"))
    assert drift(items(20), items(20, seed=1)).names == ("a", "b")


# ------------------------------------------------------------------------------------------------- ill input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"permutations": 18}, "permutations must be at least 19, or no p is as small as 0.05, got 18"),
        ({"significance": 0}, "significance must be a number above 0 and below 1, got 0; 0.05 is usual"),
        ({"tolerance": -1}, "tolerance must not be negative, got -1"),
        ({"tolerance": math.nan}, "tolerance must not be negative, got nan"),
        (
            {"tolerance": 0.1, "rotation_invariant": True},
            "tolerance is for the squared MMD, but each",
        ),
        ({"method": "guess"}, "method must be one of 'exact', 'anchors', got 'guess'"),
        ({"anchors": 5}, "anchors must be at least 10, got 5"),
        ({"test_rows": 5}, "test_rows must be at least 20, got 5"),
        ({"top": -1}, "top must be at least 0, got -1"),
        ({"t": 0}, "t must be a finite number above 0, got 0"),
        ({"paired": True}, "have 120 and 50 rows; leave out items that one side lacks"),
        ({"ids": (range(N), range(7))}, "ids must be one for each of the 50 rows of b, got 7"),
        ({"ids": range(N)}, "ids must be a tuple of two"),
        ({"texts": (["a"], ["b"])}, "texts must be one for each of the 120 rows of a, got 1"),
        ({"positives": items()}, "positives must be a tuple of two"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drift(items(), items(50, seed=1), **options)  # type: ignore[arg-type]


def test_ids_that_do_not_occur_equally_often_are_no_other_order() -> None:
    ids = [0, 0, *range(1, 19)], [*range(19), 18]
    found = drift(items(20), items(20, seed=1), ids=ids)
    assert not found.paired


def test_ids_that_make_no_pairs_are_refused() -> None:
    x = items(20)
    with pytest.raises(ValueError, match="same ids in another order; sort the rows of one side"):
        drift(x, x, ids=(range(20), range(19, -1, -1)))
    with pytest.raises(ValueError, match="have different ids; leave out"):
        drift(x, x, ids=(range(20), range(1, 21)), paired=True)
    with pytest.raises(ValueError, match="must name each row once to make pairs, got 10 that repeat"):
        drift(x, x, ids=([*range(10)] * 2, [*range(10)] * 2))


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.full((20, 6), math.nan), "b has 20 of 20 rows with a NaN"),
        (torch.zeros(20, 6), "b has 20 of 20 rows with norm 0"),
        (items(3), "b must have at least 5 rows, got 3"),
        (torch.zeros(2, 20, 6), r"b must be rows \[N, m\], got 2 views"),
        ([[1.0]], "b must have at least 5 rows, got 1"),
        ({1.0}, "b must be a tensor, an array, a DataFrame, a list of rows, or the path of a file, got set"),
    ],
)
def test_bad_rows_are_named_by_their_side(z: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drift(items(), z)


def test_rows_without_any_potential_are_refused() -> None:
    far = 10000 * items()
    with pytest.raises(ValueError, match="got none at t = 2; normalise them, or take a smaller t"):
        drift(far, far + 5000, normalize=False)
