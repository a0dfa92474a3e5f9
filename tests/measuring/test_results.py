"""The rows that a measurement keeps, in a file and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from align_uniform.measuring.results import Details
from align_uniform.measuring.row_files import check_row_file
from tests.measuring.examples import example


def test_details_survive_a_file(tmp_path: Path) -> None:
    details = example().details
    assert details is not None
    details.save(tmp_path / "rows.npz")
    loaded = Details.load(tmp_path / "rows.npz")
    found, kept = (dict(vars(each)) for each in (loaded, details))
    for influences in (found, kept):
        influences["influences"] = {key: value.arrays() for key, value in influences["influences"].items()}
    assert (len(kept.pop("samples")), found.pop("samples")) == (1, ())  # rows themselves are left out
    for name, value in kept.items():
        torch.testing.assert_close(found[name], value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npz"]
    (tmp_path / "other.npz").write_bytes((tmp_path / "rows.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"other\.npz must hold the rows of a measurement"):
        Details.load(tmp_path / "other.npz")


def test_details_survive_a_parquet_file_whose_columns_are_the_arrays(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    details = example().details
    assert details is not None
    details.save(tmp_path / "rows.parquet")
    loaded = Details.load(tmp_path / "rows.parquet")
    for name in ("distances", "row_means", "cosines", "spectrum"):
        torch.testing.assert_close(getattr(loaded, name), getattr(details, name))
    for key, influence in details.influences.items():
        torch.testing.assert_close(loaded.influences[key].arrays(), influence.arrays())
    column = parquet.read_table(tmp_path / "rows.parquet").column("row_means_0").drop_null()
    assert column.to_pylist() == details.row_means[0].tolist()
    parquet.write_table(
        parquet.read_table(tmp_path / "rows.parquet").replace_schema_metadata(), tmp_path / "o.parquet"
    )
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:500])
    for name in ("o.parquet", "cut.parquet"):
        with pytest.raises(ValueError, match=rf"{name} must hold the rows of a measurement"):
            Details.load(tmp_path / name)


def test_a_file_of_rows_of_another_format_is_refused_with_what_to_type() -> None:
    for name in ("r.csv", "r", "r.npy", "r.parquet.gz", "r.NPZ"):
        with pytest.raises(ValueError, match=r"--rows-out must end in \.npz or \.parquet, got r"):
            check_row_file(Path(name))
    for name in ("r.npz", "r.parquet"):
        check_row_file(Path(name))
