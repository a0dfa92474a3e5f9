"""Center follows the conventions of scikit-learn, and is what `measure` takes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from align_uniform import measure
from align_uniform.integrations.center import Center
from tests.rows import cone

X = 2 * cone(200, 6).numpy()


@pytest.mark.parametrize("normalize", [True, False])
def test_it_passes_the_checks_of_scikit_learn(normalize: bool) -> None:
    check_estimator(Center(normalize=normalize), on_skip=None)


def test_it_subtracts_the_mean_of_the_directions_and_normalises_again() -> None:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    rest = unit - unit.mean(0)
    centred = Center().fit(X)
    np.testing.assert_allclose(centred.mean_, unit.mean(0), rtol=1e-12)
    found = centred.transform(X)
    np.testing.assert_allclose(found, rest / np.linalg.norm(rest, axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(Center(normalize=False).fit_transform(X), X - X.mean(0), atol=1e-12)
    assert measure(found).mean_cosine < 0.02 < measure(X).mean_cosine
    assert centred.transform(X.astype(np.float32)).dtype == np.float32


def test_it_is_cloned_and_has_the_names_of_features() -> None:
    assert clone(Center(normalize=False)).get_params() == {"normalize": False}
    pipeline = make_pipeline(StandardScaler(), Center()).fit(X)
    assert list(pipeline.get_feature_names_out()) == [f"x{i}" for i in range(6)]


def test_the_mean_is_saved_and_applied(tmp_path: Path) -> None:
    fitted = Center().fit(X[:100])
    fitted.save(tmp_path / "mean.npy")
    np.testing.assert_array_equal(Center.load(tmp_path / "mean.npy").transform(X), fitted.transform(X))
    with pytest.raises(ValueError, match=r"must be saved as \.npy, got .*mean\.txt"):
        fitted.save(tmp_path / "mean.txt")
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(ValueError, match=r"must be a finite mean, \[m\], got shape \[200, 6\]"):
        Center.load(tmp_path / "rows.npy")
