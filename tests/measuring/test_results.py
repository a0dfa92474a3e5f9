"""The rows that a measurement keeps, in a file and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from align_uniform.measuring.results import Details
from tests.measuring.examples import example


def test_details_survive_a_file(tmp_path: Path) -> None:
    details = example().details
    assert details is not None
    details.save(tmp_path / "rows.npz")
    loaded = Details.load(tmp_path / "rows.npz")
    found, kept = (dict(vars(each)) for each in (loaded, details))
    for influences in (found, kept):
        influences["influences"] = {key: value.arrays() for key, value in influences["influences"].items()}
    for name, value in kept.items():
        torch.testing.assert_close(found[name], value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npz"]
    (tmp_path / "other.npz").write_bytes((tmp_path / "rows.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"other\.npz must hold the rows of a measurement"):
        Details.load(tmp_path / "other.npz")
