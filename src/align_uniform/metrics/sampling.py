"""Random numbers for rows, by which a sample of all rows is drawn without knowing how many there will be."""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
"""2^64 over the golden ratio, as a signed number."""


def random_keys(seed: int, rank: int, numbers: Tensor) -> Tensor:
    """Return a random number for each row number, [N], int64, whatever the other row numbers are.

    It is the output of splitmix64, a generator that can be read at any place.
    """
    start = _scatter(_scatter(torch.tensor(seed, device="cpu")) + rank).to(numbers.device)
    return _scatter(start + (numbers + 1) * GOLDEN)


def _scatter(z: Tensor) -> Tensor:
    """Return the output function of splitmix64, which is one to one on 64 bits."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1)):
        logical = (z >> shift) & (2 ** (64 - shift) - 1)  # torch's shift brings copies of the sign
        z = (z ^ logical) * factor
    return z
