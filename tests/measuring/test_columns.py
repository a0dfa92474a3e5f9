"""Tests of labels, ids, groups, items, scores, pairs and numbers, as people have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from align_uniform import compare, drift, measure
from tests import rows

X, Y = rows.unit(2, 12, 6)
CLASSES = [number % 3 for number in range(12)]
PAIRS = [(0, 5), (1, 6), (2, 7), (3, 8)]
NAMES = [f"item {number}" for number in range(12)]


class Table(dict[str, Any]):
    """A data frame as pandas and polars have them: columns by name, and a shape."""

    @property
    def columns(self) -> list[str]:
        return list(self)

    @property
    def shape(self) -> tuple[int, int]:
        return len(next(iter(self.values()))), len(self)


class Series:
    """A column of a data frame of pandas."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def to_numpy(self) -> np.ndarray[Any, Any]:
        return self.values

    def tolist(self) -> list[Any]:
        return list(self.values.tolist())

    def __iter__(self) -> Any:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)


class Missing:
    """A missing value as pandas has it: neither equal to anything nor unequal."""

    def __ne__(self, other: object) -> Any:
        return self

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = object.__hash__


LABELS: dict[str, Any] = {
    "tuple": tuple(CLASSES),
    "array": np.array(CLASSES),
    "unsigned array": np.array(CLASSES, dtype=np.uint64),
    "big-endian array": np.array(CLASSES, dtype=">i2"),
    "texts of numpy": np.array(["a", "b", "c"] * 4),
    "masked array without a mask": np.ma.masked_array(CLASSES),
    "tensor": torch.tensor(CLASSES),
    "tensors": list(torch.tensor(CLASSES)),
    "numbers of numpy": [np.int32(value) for value in CLASSES],
    "floats": [float(value) for value in CLASSES],
    "column of a data frame": Series(CLASSES),
    "tuples": [(value, "x") for value in CLASSES],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_a_column_may_be_anything_that_has_its_values_in_order(labels: Any) -> None:
    expected = measure(X, labels=CLASSES)
    assert measure(X, labels=labels).tolerance == expected.tolerance
    assert measure(X, groups=labels).uniform == measure(X, groups=CLASSES).uniform
    assert measure(X, ids=labels).n == 3


@pytest.mark.parametrize("name", ["labels", "groups", "ids", "items"])
def test_a_column_may_be_read_once_only(name: str) -> None:
    def found(column: Any) -> Any:
        result = measure(X, **{name: column})
        return result.uniform, result.tolerance, result.items

    assert found(iter(CLASSES)) == found(CLASSES)


NO_COLUMN: dict[str, tuple[Any, str]] = {
    # what is passed as a column, and the words of the message
    "one-hot rows": (torch.eye(12), r"got shape \[12, 12\]; use NAME.argmax\(1\) for one-hot rows"),
    "one-hot array": (np.eye(12), r"got shape \[12, 12\]; use NAME.argmax\(1\)"),
    "a column of one": (np.zeros((12, 1)), r"got shape \[12, 1\]; use NAME\[:, 0\]"),
    "a table": (Table(a=CLASSES, b=CLASSES), r'a table of the columns a, b; use table\["a"\]'),
    "lists": ([[value] for value in CLASSES], "anything hashable, got list"),
    "a dictionary": (dict(enumerate(CLASSES)), "in order, got dict"),
    "a set": (set(range(12)), "in order, got set"),
    "a number": (3, "in order, got int"),
    "too few": (CLASSES[:5], "one for each of the 12 rows, got 5"),
    "none": ([None, *CLASSES[1:]], r"1 of 12 rows with no value \(rows 0\).*a value of their own"),
    "not a number": ([*CLASSES[:7], float("nan"), *CLASSES[8:]], r"with no value \(rows 7\)"),
    "not a number of numpy": (np.where(np.arange(12) == 4, np.nan, 1.0), r"no value \(rows 4\)"),
    "NaN in a tensor": (torch.tensor([1.0, float("nan")] * 6), r"6 of 12 rows with no value"),
    "masked": (np.ma.masked_array(CLASSES, np.arange(12) == 7), r"no value \(rows 7\)"),
    "masked texts": (np.ma.masked_array(["a"] * 12, np.arange(12) == 2), r"no value \(rows 2\)"),
    "not a time": (np.array(["NaT"] + ["2020-01-01"] * 11, dtype="M8[ns]").astype(object), "2020|rows 0"),
    "missing of pandas": ([*CLASSES[:9], Missing(), *CLASSES[10:]], r"no value \(rows 9\)"),
    "sparse": (torch.tensor(CLASSES).to_sparse(), r"must be dense, .* use NAME.to_dense\(\)"),
}


@pytest.mark.parametrize("name", ["labels", "groups", "ids", "items"])
@pytest.mark.parametrize(("column", "words"), NO_COLUMN.values(), ids=NO_COLUMN)
def test_anything_else_is_refused_with_the_row_and_a_remedy(name: str, column: Any, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .*" + words.replace("NAME", name)):
        measure(X, **{name: column})


def test_the_remedy_for_one_hot_labels_works() -> None:
    labels = torch.nn.functional.one_hot(torch.tensor(CLASSES))
    assert measure(X, labels=labels.argmax(1)).tolerance == measure(X, labels=CLASSES).tolerance


def test_ids_and_texts_of_two_sides_are_such_columns() -> None:
    ids = (np.array(NAMES), iter(NAMES))
    assert drift(X, Y, ids=ids, permutations=19).paired
    with pytest.raises(ValueError, match=r"ids has 1 of 12 rows with no value \(rows 3\)"):
        drift(X, Y, ids=(NAMES, [*NAMES[:3], None, *NAMES[4:]]), permutations=19)
    with pytest.raises(ValueError, match=r"^ids must be a tuple of two"):
        measure(X, Y, ids=NAMES)


# --------------------------------------------------------------------------------------------------- pairs

FIRST, SECOND = map(list, zip(*PAIRS, strict=True))
SPELLINGS: dict[str, Callable[[], Any]] = {
    "lists": lambda: [list(pair) for pair in PAIRS],
    "tuple of pairs": lambda: tuple(PAIRS),
    "zip": lambda: zip(FIRST, SECOND, strict=True),
    "generator": lambda: (pair for pair in PAIRS),
    "array": lambda: np.array(PAIRS),
    "unsigned": lambda: np.array(PAIRS, dtype=np.uint64),
    "big-endian": lambda: np.array(PAIRS, dtype=">i4"),
    "tensor": lambda: torch.tensor(PAIRS, dtype=torch.int32),
    "pairs of tensors": lambda: list(torch.tensor(PAIRS)),
    "pairs of numbers of numpy": lambda: [tuple(map(np.int64, pair)) for pair in PAIRS],
    "two lists": lambda: (FIRST, SECOND),
    "two arrays": lambda: (np.array(FIRST), np.array(SECOND)),
    "two arrays in a list": lambda: [np.array(FIRST), np.array(SECOND)],
    "two tensors": lambda: tuple(torch.tensor(PAIRS).T),
    "ranges": lambda: (range(4), range(5, 9)),
    "dictionary": lambda: {"x": FIRST, "y": np.array(SECOND)},
    "table of more columns": lambda: Table(score=FIRST, y=Series(SECOND), x=Series(FIRST)),
    "table of two": lambda: Table(left=Series(FIRST), right=Series(SECOND)),
    "masked array without a mask": lambda: np.ma.masked_array(np.array(PAIRS)),
}


def paired(pairs: Any, **options: Any) -> list[tuple[int, int]]:
    return sorted((each.x, each.y) for each in measure(X, pairs=pairs, **options).worst_pairs)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_pairs_are_given_pair_by_pair_or_as_two_columns(spelling: Callable[[], Any]) -> None:
    assert paired(spelling()) == PAIRS


TWO = {
    "list of pairs": [(0, 5), (1, 6)],
    "list of lists": [[0, 5], [1, 6]],
    "array": np.array([[0, 5], [1, 6]]),
    "tuple of arrays": (np.array([0, 1]), np.array([5, 6])),
    "dictionary": {"x": [0, 1], "y": [5, 6]},
}


@pytest.mark.parametrize("pairs", TWO.values(), ids=TWO)
def test_two_pairs_are_two_pairs(pairs: Any) -> None:
    assert paired(pairs) == [(0, 5), (1, 6)]


NO_PAIRS: dict[str, tuple[Any, str]] = {
    "either of two": (((0, 5), (1, 6)), r"could be two pairs or two columns.*\[\(0, 5\), \(1, 6\)\]"),
    "a tuple of lists": (([0, 5], [1, 6]), r"dictionary, \{'x': \[0, 5\], 'y': \[1, 6\]\}"),
    "a list of two tensors": (list(torch.tensor([[0, 5], [1, 6]])), "could be two pairs or two columns"),
    "floats": (np.array(PAIRS, dtype=float), "row numbers.*got float 0.0; convert them to int"),
    "truth values": (torch.ones(4, 2, dtype=torch.bool), "row numbers.*got bool True"),
    "three columns": (np.zeros((4, 3), int), r"shape \[P, 2\], got shape \[4, 3\]"),
    "one column": (np.arange(8), r"shape \[P, 2\], got shape \[8\]"),
    "two rows": ([[0, 1, 2], [3, 4, 5]], r"shape \[P, 2\], got 3 values in pair 0"),
    "ragged": ([[0, 1], [3], [4, 5]], "got 1 value in pair 1"),
    "numbers": ([0, 1, 2], "got int in pair 0"),
    "texts": (["ab", "cd", "ef"], "got str in pair 0"),
    "columns of two lengths": (([0, 1, 2], [3, 4, 5, 6]), "one length, got 3 and 4"),
    "a path": ("pairs.csv", r"got str; read a file with files.read_columns\(...\)"),
    "a table of three": (
        Table(a=FIRST, b=FIRST, c=FIRST),
        "or the columns x and y, got a, b, c",
    ),
    "none": ([], "at least one positive pair"),
    "missing": ([(0, 5), (None, 6)], r"pairs has 1 of 2 rows with no value \(rows 1\)"),
    "masked": (np.ma.masked_equal(np.array(PAIRS), 7), r"no value \(rows 2\)"),
    "texts without ids": ([("item 0", "item 5"), ("item 1", "item 6")], "got 'item 0'; pass ids too"),
    "out of range": ([(0, 12)], "rows from 0 to 11, got 12 to 12"),
}


@pytest.mark.parametrize(("pairs", "words"), NO_PAIRS.values(), ids=NO_PAIRS)
def test_other_pairs_are_refused_in_one_sentence(pairs: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        measure(X, pairs=pairs)
    assert len(str(caught.value)) < 300


def test_pairs_may_be_of_ids_of_any_kind() -> None:
    named = [(NAMES[a], NAMES[b]) for a, b in PAIRS]
    assert paired(named, ids=NAMES) == PAIRS
    assert paired(np.array(named), ids=np.array(NAMES)) == PAIRS
    tuples = [(number, "x") for number in range(12)]
    assert paired([(tuples[a], tuples[b]) for a, b in PAIRS], ids=tuples) == PAIRS
    two = measure(X, Y, pairs={"x": [n for n, _ in named], "y": SECOND}, ids=(NAMES, range(12)))
    assert sorted((each.x, each.y) for each in two.worst_pairs) == PAIRS
    with pytest.raises(ValueError, match="pairs has 1 id that no row has, the first is 'item 99'; correct"):
        measure(X, pairs=[("item 0", "item 99")], ids=NAMES)


SCORES: dict[str, Any] = {
    "array": np.array([0, 5, 0.5, 5.0]),
    "big-endian": np.array([0, 5, 0.5, 5], dtype=">f4"),
    "column": Series([0, 5, 0, 5]),
    "list": [0, 5, 0, 5],
    "tensors": list(torch.tensor([0, 5, 0, 5])),
    "truth": [False, True, False, True],
}


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_scores_may_be_anything_that_has_numbers(scores: Any) -> None:
    for given in (scores, iter(scores)):
        assert paired(PAIRS, scores=given, threshold=0.5) == PAIRS[1::2]


NO_SCORES: dict[str, tuple[Any, str]] = {
    "texts": (["1", "5", "2", "5"], r"scores must be numbers, got '1' in row 0; use float\(...\)"),
    "missing": ([1, None, 2, 5], r"scores has 1 of 4 rows with no value \(rows 1\)"),
    "not a number": ([1, 5, float("nan"), 5], r"no value \(rows 2\)"),
    "masked": (np.ma.masked_equal(np.array([1, 5, 2, 6]), 6), r"no value \(rows 3\)"),
    "too few": ([1, 5], "one for each of the 4 pairs, got 2"),
    "a matrix": (np.ones((4, 1)), r"one for each of the 4 pairs, got shape \[4, 1\]"),
    "a number": (5, "got int"),
}


@pytest.mark.parametrize(("scores", "words"), NO_SCORES.values(), ids=NO_SCORES)
def test_other_scores_are_refused(scores: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(X, pairs=PAIRS, scores=scores, threshold=4)


# ------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "t", [(2, 3.0), np.array([2, 3]), torch.tensor([2.0, 3.0]), [np.float32(2), 3], np.array([2, 3], ">f4")]
)
def test_several_t_come_as_any_sequence(t: Any) -> None:
    assert [each.t for each in measure(X, t=t).uniforms] == [2.0, 3.0]


@pytest.mark.parametrize("t", [2, 2.0, np.float32(2), np.array(2), torch.tensor(2.0)])
def test_one_t_comes_as_any_number(t: Any) -> None:
    assert measure(X, t=t).uniform == measure(X).uniform


@pytest.mark.parametrize("call", [measure, compare, drift])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"t": "2"}, "t must be one number above 0, got '2'"),
        ({"t": None}, "t must be one number above 0, got NoneType"),
        ({"t": {"a": 2}}, "t must be one number above 0, got dict"),
        ({"alpha": "2"}, "alpha must be one number above 0, got '2'"),
        ({"alpha": np.array([1, 2])}, "alpha must be one number above 0, got ndarray"),
        ({"alpha": [1]}, "alpha must be one number above 0, got list"),
        ({"alpha": -1}, "alpha must be a finite number above 0, got -1"),
    ],
)
def test_what_is_no_number_is_refused(call: Callable[..., Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(X, Y, **options)
