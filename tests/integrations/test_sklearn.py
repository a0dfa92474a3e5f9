"""Scores are the values of `measure`, and scorers choose transformers within scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from align_uniform import measure
from align_uniform.integrations.sklearn import (
    alignment_score,
    neg_alignment_scorer,
    neg_uniformity_scorer,
    uniformity_score,
)
from tests.integrations.pages import run_page
from tests.rows import normal

X = normal(60, 5).numpy() + 1
Y = np.arange(60) % 7
PAIRS = np.arange(60).reshape(30, 2)


def test_the_page_compares_transformers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the page saves a mean
    names = run_page("scikit-learn", {})
    assert "{'whiten': True}" in capsys.readouterr().out
    results = names["search"].cv_results_["mean_test_score"]
    assert results[1] > results[0]


def test_scores_are_those_of_the_definition() -> None:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    squares = ((unit[:, None] - unit) ** 2).sum(2)
    apart = ~np.eye(60, dtype=bool)
    assert uniformity_score(X, t=3) == pytest.approx(np.log(np.exp(-3 * squares[apart]).mean()))
    of_classes = squares[apart & (Y[:, None] == Y)].mean()
    assert alignment_score(X, Y) == pytest.approx(of_classes)
    first, second = PAIRS.T
    assert alignment_score(X, pairs=PAIRS, alpha=1) == pytest.approx(np.sqrt(squares[first, second]).mean())


def test_scores_are_those_of_measure_in_every_digit() -> None:
    found = measure(X, pairs=PAIRS, t=3, alpha=1, normalize=False)
    assert found.align is not None
    assert uniformity_score(X, t=3, normalize=False) == found.uniform.value
    assert alignment_score(X, pairs=PAIRS, alpha=1, normalize=False) == found.align.value
    of_classes = measure(X, labels=[str(y) for y in Y]).align
    assert of_classes is not None
    assert alignment_score(X, [str(y) for y in Y]) == of_classes.value


def test_scorers_are_larger_for_the_better_embedding() -> None:
    scaler = StandardScaler().fit(X)
    assert neg_uniformity_scorer(scaler, X) == -uniformity_score(scaler.transform(X))
    assert neg_alignment_scorer(scaler, X, Y) == -alignment_score(scaler.transform(X), Y)
    cone = make_pipeline(scaler, FunctionTransformer(lambda z: z + 10)).fit(X)
    assert neg_uniformity_scorer(cone, X) < neg_uniformity_scorer(scaler, X)
    assert neg_alignment_scorer(cone, X, Y) > neg_alignment_scorer(scaler, X, Y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alignment_score(X), "got neither; pass one of them"),
        (lambda: alignment_score(X, Y, pairs=PAIRS), "got both; pass one of them"),
        (lambda: alignment_score(X, Y, alpha=1), "alpha must be 2 for classes"),
        (lambda: alignment_score(X, np.arange(60)), "no class has two rows|at least"),
        (lambda: alignment_score(X, Y[1:]), "labels"),
        (lambda: uniformity_score(X * np.nan), "NaN"),
        (lambda: uniformity_score(X, t=-1), "t must be"),
        (lambda: neg_alignment_scorer(StandardScaler().fit(X), X), "got neither"),
        (lambda: neg_uniformity_scorer(LogisticRegression().fit(X, Y), X), "which has no transform"),
    ],
)
def test_what_cannot_be_scored_is_refused(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
