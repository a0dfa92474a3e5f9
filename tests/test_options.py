"""The checks of options, and the options that may change on resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from align_uniform._options import (
    Options,
    check_at_least,
    check_positive,
    check_statistics,
    choices_of,
    may_change,
    options_that_may_change,
)


@dataclass(frozen=True)
class PlaneOptions(Options):
    kind: Literal["plane", "circle"] = "plane"
    width: int = 3


@dataclass(frozen=True)
class DrawingOptions(PlaneOptions):
    width: int = may_change(5)
    bold: bool = may_change(False)


def test_a_choice_is_one_of_the_literals_of_the_class_and_its_bases() -> None:
    assert choices_of(DrawingOptions) == {"kind": ("plane", "circle")}
    with pytest.raises(ValueError, match=r"kind must be one of 'plane', 'circle', got 'line'\."):
        DrawingOptions(kind="line")  # type: ignore[arg-type]


def test_options_that_may_change_keep_their_defaults_and_are_those_of_the_last_declaration() -> None:
    assert options_that_may_change(PlaneOptions) == set()
    assert options_that_may_change(DrawingOptions()) == {"width", "bold"}
    assert DrawingOptions() == DrawingOptions("plane", 5, False)


def test_checks_name_the_option_and_the_value() -> None:
    check_at_least(1, epochs=1, limit=None)
    with pytest.raises(ValueError, match=r"^epochs must be at least 1, got 0\.$"):
        check_at_least(1, epochs=0)
    with pytest.raises(ValueError, match=r"^workers must not be negative, got -1\.$"):
        check_at_least(0, seed=3, workers=-1)
    with pytest.raises(ValueError, match=r"^lr must not be negative, got nan\.$"):
        check_at_least(0, lr=float("nan"))
    assert check_positive("tau", 2) == 2.0
    for value in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"^tau must be a finite number above 0, got {value}"):
            check_positive("tau", value)
    check_statistics((), ())
    with pytest.raises(ValueError, match="one number for each channel, got 3 and 1"):
        check_statistics((0.5,) * 3, (0.5,))
    with pytest.raises(ValueError, match=r"std must have finite numbers above 0, got \[0\]"):
        check_statistics((0.5,), (0,))
