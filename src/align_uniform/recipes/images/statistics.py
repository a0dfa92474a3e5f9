"""Means and standard deviations of channels, by which images are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from align_uniform._options import check_statistics


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel, with pixels scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


STATISTICS = {
    "stl10": Statistics(
        (0.44087801806139126, 0.42790631331699347, 0.3867879370752931),
        (0.26826768628079806, 0.2610450402318512, 0.26866836876860795),
    ),
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "fashion-mnist": Statistics((0.2860405969887955,), (0.3530242445149223,)),
    "cifar10": Statistics(
        (0.4913996801, 0.4821584173, 0.4465309174), (0.2470322324, 0.2434851280, 0.2615878417)
    ),
    "digits": Statistics((0.30538230688935286,), (0.31860230836127507,)),
}
"""Statistics of training images: for STL-10 with and without labels, for the digits at 16x16."""


def given_statistics(mean: Sequence[float], std: Sequence[float]) -> Statistics | None:
    """Return the statistics that the options `mean` and `std` ask for, or None if both are empty.

    Raises:
        ValueError: the two differ in length, or a standard deviation is not positive.
    """
    check_statistics(mean, std)
    return Statistics(tuple(mean), tuple(std)) if mean else None
