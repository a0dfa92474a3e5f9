"""Exact uniformity with the sum of every row, from a file, against a loop over blocks of all pairs."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from align_uniform.files import open_rows
from align_uniform.measuring.populations import Population
from align_uniform.measuring.uniformity import exact_potentials
from benchmarks.case import Aim, Case, Operations, Work
from benchmarks.operations import unit_rows

Folder: TypeAlias = "tempfile.TemporaryDirectory[str]"

M, T = 128, 2.0
BLOCK = 256


def exact(folder: Folder) -> tuple[Tensor, ...]:
    """Return the uniformity, and the mean potential of each row, of the rows of a file."""
    (rows,) = open_rows(f"{folder.name}/rows.npy")
    population = Population(rows, "rows", normalize=True, device=torch.device("cpu"))
    ((potentials,), _) = exact_potentials(population, [T], lambda _: None)
    return torch.tensor(potentials.log_mean), potentials.relative.float()


def plain(folder: Folder) -> tuple[Tensor, ...]:
    """Return the same numbers in a few lines, with blocks of rows against all rows: every pair twice."""
    x = torch.nn.functional.normalize(torch.from_numpy(np.load(f"{folder.name}/rows.npy")))
    buffer = torch.empty(BLOCK, len(x))
    sums = torch.cat([_row_sums(block, x, buffer[: len(block)]) for block in x.split(BLOCK)]).double()
    return (sums.sum() / (len(x) * (len(x) - 1))).log().float(), (sums / sums.mean()).float()


def _row_sums(block: Tensor, x: Tensor, buffer: Tensor) -> Tensor:
    return torch.mm(block, x.T, out=buffer).sub_(1).mul_(2 * T).exp_().sum(1) - 1


def measuring(quick: bool) -> list[Case]:
    """Return the cases: the cost grows as N^2 / 2, the limit is one product and one exponential a pair."""
    sizes = [4000] if quick else [25_000, 50_000, 100_000]
    aims = (Aim("over_limit", "<=", 1.3), Aim("ours_mib", "<=", 256))
    pairs = {n: n * (n - 1) / 2 for n in sizes}
    return [
        Case(
            "measuring",
            "value + row means",
            {"N": n, "m": M},
            partial(_prepare, n),
            Work(pairs[n], pairs[n]),
            aims,
        )
        for n in sizes
    ]


def _prepare(n: int) -> Operations:
    folder = tempfile.TemporaryDirectory()  # kept by the operations, and gone with them
    np.save(f"{folder.name}/rows.npy", unit_rows(n, M).numpy())
    return Operations(partial(exact, folder), partial(plain, folder))
