"""Files for the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of embeddings, and where the command is run."""
    x, y = (rows.unit(50, 6, seed=seed).float().numpy() for seed in (0, 1))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    (tmp_path / "pairs.csv").write_text("x,y,score\n0,1,5\n2,3,4\n4,9,1\n")
    (tmp_path / "named.csv").write_text("x,y\nu0,u1\nu7,u3\n")
    (tmp_path / "ids.txt").write_text("".join(f"u{i % 25}\n" for i in range(50)))
    (tmp_path / "labels.txt").write_text("".join(f"class {i % 3}\n" for i in range(50)))
    monkeypatch.chdir(tmp_path)
    return tmp_path
