from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

import pytest
import torch

from align_uniform import measure
from align_uniform.measuring.sources import sources
from tests.files.samples import np, pa, refusal
from tests.rows import normal

X = normal(9, 3, dtype=torch.float32)
COLUMNS: dict[str, Any] = {f"d{j}": X[:, j].numpy() for j in range(3)}


def pandas(columns: dict[str, Any]) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


def polars(columns: dict[str, Any]) -> Any:
    return pytest.importorskip("polars").DataFrame(columns)


MAKERS = [pandas, polars, pa.table]


@pytest.fixture(params=MAKERS, ids=["pandas", "polars", "pyarrow"])
def frame(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], Any]:
    made: Callable[[dict[str, Any]], Any] = request.param
    return made


Frame = Callable[[dict[str, Any]], Any]


def test_columns_of_numbers_are_rows(frame: Frame) -> None:
    assert torch.equal(sources("x", frame(COLUMNS))[0][:], X)
    result = measure(frame(COLUMNS), frame({name: 2 * x for name, x in COLUMNS.items()}))
    assert result.uniform.value == measure(X).uniform.value
    assert result.align is not None
    assert result.align.value < 1e-6


def test_the_only_column_of_lists_is_rows(frame: Frame) -> None:
    (rows,) = sources("x", frame({"id": [*range(9)], "name": [*"abcdefghi"], "x": X.tolist()}))
    assert torch.equal(rows[:], X.double())
    assert rows.shape == (9, 3)


def test_a_column_of_lists_alone_is_rows() -> None:
    for made, column in ((pandas, "x"), (polars, "x")):
        assert torch.equal(torch.as_tensor(sources("x", made({"x": X.tolist()})[column])[0]), X.double())


def test_odd_columns_are_named_and_the_remedy_leaves_them_out(frame: Frame) -> None:
    for odd in ({"id": [*"abcdefghi"]}, {"label": [*range(9)]}):
        features = frame(COLUMNS | odd)
        message = refusal(sources, "features", features)
        assert message.startswith(f"features must be features alone, but {next(iter(odd))} (")
        left = eval(
            message.partition("by a pattern: ")[2].rstrip("."), {"features": features, "fnmatch": fnmatch}
        )
        assert torch.equal(sources("features", left)[0][:], X)
    features = frame({"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "label": [*range(9)]})
    message = refusal(sources, "features", features)
    left = eval(message.partition("leave them out: ")[2].rstrip("."), {"features": features})
    assert torch.equal(sources("features", left)[0][:], X[:, :2])


def test_whole_numbers_are_features_if_that_is_said(frame: Frame) -> None:
    features = frame({"a": [1, 2, 3], "b": [0, 0, 5]})
    message = refusal(sources, "features", features)
    said = eval(message.partition("say so: ")[2].rstrip("."), {"features": features, "np": np})
    assert sources("features", said)[0][:].tolist() == [[1, 0], [2, 0], [3, 5]]


def test_several_columns_of_lists_need_a_choice(frame: Frame) -> None:
    features = frame({"x": X.tolist(), "y": X.tolist()})
    message = refusal(sources, "features", features)
    assert message.endswith("say which one to read, as in features['x'].")
    assert "lists of 2 numbers, as the first is, got another length in row 1" in refusal(
        sources, "features", frame({"x": [[1.0, 2.0], [3.0]]})
    )


def test_missing_numbers_are_named_with_their_rows(frame: Frame) -> None:
    with pytest.raises(ValueError, match=r"features has 1 of 9 rows with a NaN or an infinity \(rows 4\)"):
        measure(frame(COLUMNS | {"d1": [0.5] * 4 + [None] + [1.5] * 4}))


def test_the_index_of_pandas_is_no_feature_and_names_come_once() -> None:
    frame = pandas(COLUMNS | {"id": [*range(9)]}).set_index("id")[::-1]
    assert torch.equal(sources("x", frame)[0][:], X.flip(0))
    frame.columns = ["a", "a", "b"]
    assert "must name each column once, got two of the name a; rename one" in refusal(sources, "x", frame)


def test_a_lazy_frame_says_how_to_collect_it() -> None:
    assert "got LazyFrame; use features.collect()" in refusal(sources, "features", polars(COLUMNS).lazy())
