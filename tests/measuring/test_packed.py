from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from align_uniform import measure
from align_uniform.measuring.packed import are_packed_bits
from tests.rows import normal

np = pytest.importorskip("numpy")


def embedding(kind: str, rows: int, features: int) -> Tensor:
    """Return rows of a kind: independent, in ten clusters, or in ten clusters and a cone."""
    x = normal(rows, features)
    if kind != "independent":
        x = 0.7 * x + normal(10, features, seed=1)[torch.arange(rows) % 10]
    return x + 0.5 * normal(1, features, seed=2) if kind == "a cone" else x


def packed(x: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits((x > 0).numpy(), axis=1))


def quantised(x: Tensor) -> Tensor:
    """Return 255 steps between the smallest and the largest value of each feature."""
    low, high = x.amin(0), x.amax(0)
    return ((x - low) / (high - low) * 255).round().to(torch.uint8)


BYTES: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "bits": (packed, True),
    "bits as int8": (lambda x: packed(x).view(torch.int8), True),
    "bits less 128": (lambda x: (packed(x).int() - 128).to(torch.int8), True),
    "numbers": (quantised, False),
    "numbers as int8": (lambda x: (quantised(x).int() - 128).to(torch.int8), False),
    "one scale": (lambda x: (40 * x).round().clamp(-128, 127).to(torch.int8), False),
    "counts": (lambda x: (2 * x.abs()).to(torch.uint8), False),
    "nothing": (lambda x: torch.zeros_like(x, dtype=torch.uint8), False),
}


@pytest.mark.parametrize("kind", ["independent", "clusters", "a cone"])
@pytest.mark.parametrize("rows", [60, 400])
@pytest.mark.parametrize("name", BYTES)
def test_packed_bits_are_told_from_numbers(name: str, rows: int, kind: str) -> None:
    made, expected = BYTES[name]
    assert are_packed_bits(made(embedding(kind, rows, 768))) == expected


def test_few_rows_do_not_tell() -> None:
    assert not are_packed_bits(packed(normal(49, 768)))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_measurement_says_how_to_unpack_and_the_remedy_works(dtype: str) -> None:
    x = packed(normal(60, 1024)).numpy().view(dtype)
    (warning,) = (each for each in measure(x).warnings if "packed" in each)
    assert f"the 128 features of {dtype} are as even as random bytes" in warning
    assert "unpack the 1,024 bits" in warning
    unpacked = eval(warning.rpartition("bits: ")[2].rstrip("."), {"x": x, "np": np})
    assert torch.equal(torch.from_numpy(unpacked), normal(60, 1024).sign())
    assert not any("packed" in each for each in measure(unpacked.astype(np.int8)).warnings)
