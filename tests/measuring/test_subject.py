"""The arguments of `measure`: numbers and files of each kind, entities that come again, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from align_uniform import align_loss, measure, uniform_loss
from tests import rows
from tests.measuring.examples import X, Y, close


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
        ({"features": {1, 2}}, "must be a tensor, an array, a DataFrame, a list of rows, or .*, got set"),
        ({"features": X[0]}, r"must be rows \[N, m\], or views of them \[V, N, m\], got shape \[6\]"),
        ({"features": X[:0]}, r"got shape \[0, 6\]"),
        ({"features": X.long()}, "features must be of .* int8 or uint8, got int64"),
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
         r"pairs must be row numbers, whole numbers of shape .* got float 0.5"),
        ({"features": X, "pairs": [0, 4]},
         r"row numbers of shape \[P, 2\], got int in pair 0"),
        ({"features": X, "pairs": [[0, 4]], "scores": [3]}, "scores need a threshold"),
        ({"features": X, "pairs": [[0, 4]], "threshold": 3}, "threshold=3 needs the scores"),
        ({"features": X, "threshold": 3}, "scores and threshold are of pairs"),
        ({"features": X, "pairs": [[0, 4]], "scores": [3, 4], "threshold": 3},
         r"one for each of the 1 pairs, got 2"),
        ({"features": X, "pairs": [[0, 4]], "scores": ["high"], "threshold": 3}, "scores must be numbers"),
        ({"features": X, "pairs": [[0, 4]], "scores": [NAN], "threshold": 3},
         r"scores has 1 of 1 row with no value \(rows 0\)"),
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
