"""The parts of a run: their names, their order, and their shares of the time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """The items that are run in one process."""

    module: str
    """A module of this package; its function `items` makes the items of a session."""
    weight: float
    """The share of the time left when its stage begins; a stage has the largest of its parts' weights."""
    patience: float = 60.0
    """The seconds without an answer after which an item is taken to hang."""


PARTS = {
    "tests": Part("pytests", 140, patience=600),
    "accuracy": Part("accuracy", 110, patience=100),
    "behaviour": Part("behaviour", 110, patience=100),
    "limit": Part("rates", 25),
    "speed": Part("speed", 230, patience=120),
    "exact": Part("exact", 60, patience=120),
    "step": Part("step", 50, patience=120),
}

STAGES = (("tests", "accuracy", "behaviour"), ("limit",), ("speed",), ("exact",), ("step",))
"""The stages of a run: parts of one stage run at the same time, and those that measure times run alone."""
