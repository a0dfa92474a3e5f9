"""What may be passed as rows, and what every other thing is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align_uniform import measure
from align_uniform.measuring.sources import device_of, sources
from tests.rows import normal

np = pytest.importorskip("numpy")

X = normal(6, 3)
A = X.numpy()

LONG = np.dtype(np.longdouble)
CONVERT = "convert them, as by x.astype('float32') in numpy or x.float() in torch"
TOKENS = "60 items of 20 tokens use x.mean(1), or x[:, 0]"


def message_of(value: Any) -> str:
    with pytest.raises(ValueError, match=r"^features ") as caught:
        sources("features", value)
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        A, A.astype(">f8"), np.asfortranarray(A), A[::-1][::-1], X.tolist(), tuple(X.tolist()), list(X),
        list(A),
        tuple(A.astype(">f8")), np.ma.masked_array(A), np.array([*map(list, A), None], dtype=object)[:-1],
        torch.nn.Parameter(X),
    ],
    ids=[
        "array", "other byte order", "columns first", "other direction", "lists", "tuple", "tensors",
        "arrays", "big arrays", "nothing masked", "objects", "parameter",
    ],
)  # fmt: skip
def test_whatever_holds_the_rows_is_measured_as_they_are(value: Any) -> None:
    assert measure(value).uniform.value == measure(X).uniform.value
    assert measure(X, value).align == measure(X, X).align


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float16, torch.bfloat16])
def test_narrow_numbers_are_measured_as_numbers(dtype: torch.dtype) -> None:
    x = (30 * normal(40, 3).abs()).to(dtype)
    assert measure(x).uniform == measure(x.float()).uniform


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((60, 20, 4), TOKENS),
        ((60, 2, 4), "V > N: axes swapped? For 60 items of 2 tokens use x.mean(1), or x[:, 0]"),
        ((60, 2, 4), "for 2 views of 60 rows use x.swapaxes(0, 1)"),
        ((60, 1, 4), "use x[:, 0]"),
        ((5, 4, 3), "for 4 views of 5 rows use x.swapaxes(0, 1)"),
        ((17, 20, 4), "for views of 20 rows choose some, as by x[:16]"),
        ((6,), "for one feature use x[:, None], for one row x[None]"),
        ((5, 4, 3, 3), "average feature maps, as by x.mean((2, 3))"),
        ((2, 5, 4, 3), "or flatten them: x.reshape(len(x), -1)"),
    ],
    ids=str,
)
def test_a_shape_that_would_be_guessed_is_refused_in_memory_and_in_files(
    shape: tuple[int, ...], remedy: str, tmp_path: Path
) -> None:
    x = normal(*shape)
    for suffix, write in (
        (".npy", lambda path: np.save(path, x.numpy())),
        (".pt", lambda path: torch.save(x, path)),
    ):
        write(tmp_path / f"x{suffix}")
        with pytest.raises(ValueError, match="must be rows") as caught:
            measure(tmp_path / f"x{suffix}")
        of_file = str(caught.value).removeprefix(f"{tmp_path}/x{suffix} ")
        assert message_of(x) == f"features {of_file}"
    assert remedy in of_file
    assert f"got shape {list(shape)}" in of_file


@pytest.mark.parametrize("shape", [(2, 6, 3), (16, 17, 3), (4, 4, 3), (1, 9, 3)], ids=str)
def test_few_views_are_views(shape: tuple[int, ...]) -> None:
    assert [tuple(view.shape) for view in sources("features", normal(*shape))] == [shape[1:]] * shape[0]


def test_the_remedies_for_shapes_are_rows() -> None:
    x = normal(60, 2, 4)
    assert len(sources("features", x.mean(1))) == len(sources("features", x[:, 0])) == 1
    assert len(sources("features", x.swapaxes(0, 1))) == 2
    maps = normal(7, 4, 3, 3)
    assert tuple(sources("features", maps.mean((2, 3)))[0].shape) == (7, 4)
    assert tuple(sources("features", maps.reshape(len(maps), -1))[0].shape) == (7, 36)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[1.0, 2.0], [3.0]], "rows of numbers, all of one length, got 2 in row 0 and 1 in row 1"),
        ([[1.0, 2.0], [3.0, None]], "got NoneType in row 1"),
        ([[1.0, 2.0], "ab"], "got str in row 1"),
        ([torch.ones(3), torch.ones(2)], r"got shape [3] in row 0 and [2] in row 1"),
        ([torch.ones(4, 3)] * 2, "torch.cat(features) if they are batches, or torch.stack(features)"),
        (["a.npy", "b.npy"], "got a list of str; give one path, or a pattern for several files"),
        ([], "at least one row, got an empty list"),
        ([1.0, 2.0], "got shape [2]"),
        ({"a": X[0], "b": X[1]}, "got dict; use torch.stack([*features.values()])"),
        pytest.param((row for row in X), "rows, or the path of a file, got generator", id="generator"),
        (None, "got NoneType"),
        (X.to_sparse(), "must be dense, got torch.sparse_coo; use features.to_dense()"),
        (X.long(), f"float64, int8 or uint8, got int64; {CONVERT}"),
        (A.astype(LONG), f"got {LONG.name}; {CONVERT}"),
        (A + 0j, "the real and the imaginary parts are features: np.concatenate([x.real, x.imag], -1)"),
        (A > 0, "got bool; convert them"),
        (A.astype(str), "convert them"),
        (np.array([[1, None]]), "got object; convert them"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_rows_is_refused_with_a_remedy(value: Any, expected: str) -> None:
    assert expected in message_of(value)


def test_a_sparse_matrix_says_how_to_make_it_dense() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_matrix, sparse.coo_array):
        assert f"must be dense, got {kind.__name__}; use features.toarray()" in message_of(kind(A))
    assert len(sources("features", sparse.csr_matrix(A).toarray())) == 1


@pytest.mark.parametrize("shape", [(6, 3), (2, 6, 3)], ids=str)
def test_masked_rows_are_refused_with_their_numbers_and_the_remedy_leaves_them_out(
    shape: tuple[int, ...],
) -> None:
    features = np.ma.masked_array(normal(*shape).numpy())
    features[..., 1, 2] = np.ma.masked
    features[..., 4, :] = np.ma.masked
    message = message_of(features)
    assert "has 2 of 6 rows with masked values (rows 1, 4); leave them out" in message
    left = eval(message.partition("out: ")[2].rstrip("."), {"features": features, "np": np})
    assert left.shape == (*shape[:-2], 4, 3)
    assert measure(left).n == 4


def test_ids_of_a_file_name_the_items_of_a_measurement(tmp_path: Path) -> None:
    rows = normal(8, 3)
    torch.save({f"item {i}": row for i, row in enumerate(rows)}, tmp_path / "x.pt")
    torch.save({f"item {i}": row for i, row in enumerate(rows + 0.1)}, tmp_path / "y.pt")
    torch.save({f"item {i}": rows[i] for i in reversed(range(8))}, tmp_path / "z.pt")
    x, y, z = (measure(tmp_path / f"{name}.pt") for name in "xyz")
    assert x.items == y.items == measure(rows, ids=[f"item {i}" for i in range(8)]).items
    assert x.items != z.items
    assert (y - x).paired
    assert measure(tmp_path / "x.pt", tmp_path / "y.pt").align is not None
    message = (
        "row i of features and row i of positives are a pair, but the ids of row 0 are 'item 0' and "
        "'item 7'; save both in one order, or pass pairs."
    )
    with pytest.raises(ValueError, match="are a pair") as caught:
        measure(tmp_path / "x.pt", tmp_path / "z.pt")
    assert str(caught.value) == message
    assert measure(tmp_path / "x.pt", tmp_path / "z.pt", pairs=[[0, 7], [1, 6]]).align is not None


def test_the_device_of_a_list_is_that_of_its_tensors() -> None:
    assert device_of([torch.empty(2, device="meta")]).type == "meta"
    assert device_of([]) == device_of([[1.0]]) == torch.device("cpu")
