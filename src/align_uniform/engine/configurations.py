"""The launch parameters of the kernels, as data: blocks, warps and stages by kernel, dtype, features and GPU.

Every entry was compiled for its GPUs: it keeps its sums in registers, and fits the shared memory of a
multiprocessor (benchmarks/kernels.json). Those of Hopper were the fastest of some 360 on an H100, for rows of
64, 128 and 256 features, except where the fastest spills; for the other GPUs nobody has tried which of those
that fit is the fastest.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple, TypeAlias

Capability: TypeAlias = tuple[int, int]
"""The compute capability of an NVIDIA GPU, such as (9, 0)."""

Kernel: TypeAlias = Literal["logs", "means", "gradients", "potentials"]
"""A kernel: `log_sums` without and with means, `logit_gradient`, `potential_sums`."""


class Configuration(NamedTuple):
    """The launch parameters of one kernel, for rows of one width and dtype on one kind of GPU."""

    rows: int
    """Number of rows of a tile of exponents."""
    columns: int
    """Number of columns of a tile of exponents."""
    step: int
    """Number of features that are loaded and multiplied at a time; more save loads, and take registers."""
    warps: int
    """Number of warps of a program, of 32 threads each."""
    stages: int
    """Depth of the pipeline of loads."""


class Entry(NamedTuple):
    """A configuration, and the kernels, rows and GPUs that it serves."""

    kernels: tuple[Kernel, ...]
    terms: int
    """The number of half-precision terms of each number: 1 for half-precision rows, 2 for float32."""
    features: int
    """The widest rows; entries for narrower ones take precedence."""
    capability: Capability
    """The lowest capability; higher entries take precedence."""
    configuration: Configuration


AMPERE, HOPPER, BLACKWELL = (8, 0), (9, 0), (10, 0)

LOGS: tuple[Kernel, ...] = ("logs",)
POTENTIALS: tuple[Kernel, ...] = ("potentials",)
SUMS: tuple[Kernel, ...] = ("logs", "potentials")
MEANS: tuple[Kernel, ...] = ("means",)
GRADIENTS: tuple[Kernel, ...] = ("gradients",)
WEIGHTED: tuple[Kernel, ...] = ("means", "gradients")

ENTRIES = (
    Entry(SUMS, 2, 64, HOPPER, Configuration(128, 64, 64, 4, 3)),
    Entry(SUMS, 2, 128, HOPPER, Configuration(128, 64, 128, 8, 3)),
    Entry(SUMS, 2, 1024, AMPERE, Configuration(128, 64, 16, 8, 2)),
    Entry(SUMS, 2, 1024, HOPPER, Configuration(128, 64, 64, 8, 3)),
    Entry(MEANS, 2, 64, HOPPER, Configuration(64, 128, 64, 4, 3)),
    Entry(MEANS, 2, 64, BLACKWELL, Configuration(128, 64, 64, 8, 2)),
    Entry(MEANS, 2, 128, HOPPER, Configuration(128, 64, 128, 8, 2)),
    Entry(MEANS, 2, 128, BLACKWELL, Configuration(128, 64, 64, 8, 2)),
    Entry(GRADIENTS, 2, 64, HOPPER, Configuration(128, 64, 64, 4, 2)),
    Entry(GRADIENTS, 2, 128, HOPPER, Configuration(64, 64, 128, 4, 2)),
    Entry(WEIGHTED, 2, 64, AMPERE, Configuration(64, 64, 32, 8, 2)),
    Entry(WEIGHTED, 2, 1024, AMPERE, Configuration(64, 64, 32, 8, 2)),
    Entry(WEIGHTED, 2, 1024, HOPPER, Configuration(128, 64, 64, 8, 3)),
    Entry(SUMS, 1, 128, AMPERE, Configuration(128, 64, 128, 8, 2)),
    Entry(LOGS, 1, 128, HOPPER, Configuration(64, 128, 128, 4, 2)),
    Entry(POTENTIALS, 1, 128, HOPPER, Configuration(128, 64, 128, 4, 3)),
    Entry(SUMS, 1, 1024, AMPERE, Configuration(128, 64, 64, 8, 2)),
    Entry(SUMS, 1, 256, HOPPER, Configuration(128, 64, 256, 8, 3)),
    Entry(WEIGHTED, 1, 64, AMPERE, Configuration(128, 64, 64, 8, 2)),
    Entry(WEIGHTED, 1, 128, AMPERE, Configuration(64, 64, 128, 8, 2)),
    Entry(MEANS, 1, 128, HOPPER, Configuration(64, 64, 128, 4, 3)),
    Entry(GRADIENTS, 1, 128, HOPPER, Configuration(64, 128, 128, 4, 2)),
    Entry(WEIGHTED, 1, 1024, AMPERE, Configuration(64, 64, 64, 8, 2)),
    Entry(WEIGHTED, 1, 128, BLACKWELL, Configuration(128, 64, 128, 8, 2)),
    Entry(WEIGHTED, 1, 256, HOPPER, Configuration(128, 64, 256, 8, 2)),
    Entry(WEIGHTED, 1, 256, BLACKWELL, Configuration(128, 64, 64, 8, 2)),
    Entry(SUMS, 1, 1024, HOPPER, Configuration(128, 64, 64, 8, 2)),
    Entry(WEIGHTED, 1, 1024, HOPPER, Configuration(128, 64, 64, 8, 2)),
)


@functools.cache
def configuration(
    kernel: Kernel, *, terms: int, features: int, capability: Capability | None
) -> Configuration:
    """Return the launch parameters of a kernel.

    Args:
        kernel: the kernel.
        terms: the number of half-precision terms of each number: 1 for half-precision rows, 2 for float32.
        features: the number of features as kernels count them, from 16 to 1,024 (`launching.counted`).
        capability: the capability of the GPU; one without entries of its own takes the nearest lower ones.
            None is the interpreter.
    """
    family = AMPERE if capability is None else _family(capability)
    fitting = [
        entry
        for entry in ENTRIES
        if kernel in entry.kernels
        and entry.terms == terms
        and features <= entry.features
        and entry.capability <= family
    ]
    chosen = min(
        fitting, key=lambda entry: (entry.features, *(-part for part in entry.capability))
    ).configuration
    return chosen._replace(step=min(chosen.step, features))


def _family(capability: Capability) -> Capability:
    """Return the capability whose entries serve this one.

    Desktop Blackwell (12.x) has the shared memory of desktop Ampere.
    """
    return AMPERE if capability[0] == 12 else max(AMPERE, capability)
