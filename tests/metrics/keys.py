"""The keys of rows, in whole numbers of any size."""

from __future__ import annotations


def key(seed: int, rank: int, number: int) -> int:
    """Return a row's key in whole numbers of any size: splitmix64, which the metric has in signed 64 bits."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def output(z: int) -> int:
        z &= mask
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    drawn = output(output(output(seed) + rank) + (number + 1) * golden)
    return drawn - 2**64 if drawn >= 2**63 else drawn
