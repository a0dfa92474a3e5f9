"""Rows of bytes that look like packed bits, whose distances mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from align_uniform._messages import counted
from align_uniform.files.rows import to_tensor
from align_uniform.measuring.populations import Population

MOST_ROWS = 2000
"""The most rows that are looked at."""

LEAST_ROWS = 50
"""The fewest rows whose bits tell anything."""

MOST_FEATURES = 128
"""The most features whose bits are compared with each other."""

EVEN = 0.19, 0.31
"""The smallest and the largest share of bytes with given upper two bits, for bits that are even."""

UNEVEN = 0.1, 0.45
"""The same for bits of which one value is more frequent, or that depend on each other."""

SIMILAR = 3.0
"""The largest ratio of the structure of the highest bits to that of the lowest ones, if bits are alike."""


def warnings_of(populations: Sequence[Population]) -> Iterator[str]:
    """Yield a warning for each view or tower whose bytes look like packed bits."""
    for population in populations:
        if population.dtype_name in ("int8", "uint8"):
            rows = to_tensor(population.source[: min(MOST_ROWS, population.source.shape[0])])
            if are_packed_bits(rows):
                bits = 8 * rows.shape[1]
                yield (
                    f"{population.name} look like packed bits: the {counted(rows.shape[1], 'feature')} of "
                    f"{population.dtype_name} are as even as random bytes, and distances of bytes mean "
                    f"nothing. If they are, unpack the {bits:,} bits: np.unpackbits(x.view('uint8'), axis=1) "
                    "* 2.0 - 1."
                )


def are_packed_bits(rows: Tensor) -> bool:
    """Return whether rows of bytes look like bits that np.packbits packed.

    The highest bit of a number says more than its lowest one, which is noise: over many rows, the highest
    bits of two features are related, or one of the two values is more frequent. Eight packed bits are alike.

    Args:
        rows: int8 or uint8, [N, m].

    Returns:
        Whether the upper two bits are about even, and the highest bits of the features have as much structure
        as the lowest bits. False for fewer than 50 rows, which do not tell.
    """
    if len(rows) < LEAST_ROWS:
        return False
    values = rows[:, :MOST_FEATURES].contiguous().view(torch.uint8).int()
    shares = (values >> 6).flatten().bincount(minlength=4) / values.numel()
    least, most = float(shares.min()), float(shares.max())
    noise = 1 / (16 * len(rows))
    highest, lowest = (_structure(values >> place & 1) - noise for place in (7, 0))
    if lowest > SIMILAR * noise:
        return least >= UNEVEN[0] and most <= UNEVEN[1] and 1 / SIMILAR <= highest / lowest <= SIMILAR
    return least >= EVEN[0] and most <= EVEN[1] and highest <= SIMILAR * max(lowest, 0) + noise


def _structure(bits: Tensor) -> float:
    """Return the mean square of the second moments about 1/2 of two features' bits.

    For independent, even bits of N rows it is 1 / (16 N) on average.
    """
    centred = bits.double() - 0.5
    moments = (centred.T @ centred / len(bits)).fill_diagonal_(0)
    features = len(moments)
    return float(moments.square().sum()) / max(features * (features - 1), 1)
