"""Exact uniformity of a million rows with its errors, and the loss of queries against a queue."""

from __future__ import annotations

import functools
import math
import time

import torch

from align_uniform import sphere, uniform_loss
from align_uniform.measuring import uniformity
from align_uniform.measuring.influence import stderr
from align_uniform.measuring.populations import Population
from benchmarks.gpu import formulas
from benchmarks.gpu.item import Failed, Item, Record
from benchmarks.gpu.session import Engine, Session, computed_by, name_of
from benchmarks.gpu.speed import ours
from benchmarks.gpu.turns import Contestant, compare
from benchmarks.operations import value_and_gradient

SIZES = (100_000, 1_000_000)
M, T = 128, 2.0
CHECKED = 64
"""The number of rows whose sums are computed in float64 as well."""
BOUND = 3e-5
"""The largest error of a row's relative mean potential: 8 eps t R^2, and as much again for the mean."""
QUEUE = (256, 65536)


def items(session: Session) -> list[Item]:
    """Return the queue, then a population by each engine; the small one, which loads the kernels, first."""
    sizes = (64, 96) if session.quick else SIZES
    queue = [
        Item(f"queue, value + gradient, {name_of(dtype)}", functools.partial(_queue, session, dtype))
        for dtype in session.dtypes
    ]
    return [
        *queue,
        *(
            Item(f"exact uniformity, {engine}, N={n}", functools.partial(_exact, session, engine, n))
            for n in sizes
            for engine in session.engines
        ),
    ]


def _exact(session: Session, engine: Engine, n: int) -> Record:
    """Measure as `align-uniform measure` does: the survey of the rows, all pairs, the value and its error."""
    m = 16 if session.quick else M
    x = session.rows(n, m)
    if session.on_gpu:
        torch.cuda.synchronize()
    began = time.perf_counter()
    population = Population(x, "rows", normalize=True, device=session.device)
    surveyed = time.perf_counter()
    with computed_by(engine):
        ((potentials,), near) = uniformity.exact_potentials(population, [T], lambda _: None)
    error = stderr(potentials.influence)
    ended = time.perf_counter()
    worst = _worst_relative(session, population, potentials.relative)
    record: Record = {
        "engine": engine,
        "n": n,
        "m": m,
        "seconds": ended - began,
        "survey_seconds": surveyed - began,
        "pairs_seconds": ended - surveyed,
        "value": potentials.log_mean,
        "stderr": error,
        "optimum": sphere.uniform_optimum(m, T),
        "near_duplicates": int(near.sum()),
        "worst_row": worst,
    }
    if not worst <= BOUND:
        raise Failed(f"the mean potential of a row is off by {worst:.2g} of itself, over {BOUND:g}", record)
    return record


def _worst_relative(session: Session, population: Population, relative: torch.Tensor) -> float:
    """Return the largest relative error of the mean potentials of rows spread over all, over their mean."""
    n = len(population)
    chosen = torch.linspace(0, n - 1, min(CHECKED, n)).long().unique()
    rows = population[slice(0, n)]
    queries, total = rows[chosen.to(session.device)].double(), []
    for first in range(0, n, 65536):
        part = rows[first : first + 65536].double()
        exponents = formulas.squared_distances(queries, part).mul_(-T)
        own = (chosen >= first) & (chosen < first + len(part))
        exponents[own.to(session.device), (chosen[own] - first).to(session.device)] = -math.inf
        total.append(exponents.exp().sum(1))
    exact = torch.stack(total).sum(0).cpu()
    found = relative[chosen]
    return float(((found / found.mean()) / (exact / exact.mean()) - 1).abs().max())


def _queue(session: Session, dtype: torch.dtype) -> Record:
    """Time value and gradient of the queries, as MoCo's recipe has them."""
    n, length = (16, 64) if session.quick else QUEUE
    m = 16 if session.quick else M
    x, queue = session.rows(n, m, dtype).requires_grad_(), session.rows(length, m, dtype, seed=1)
    call = functools.partial(value_and_gradient, lambda x, queue: uniform_loss(x, negatives=queue), x, queue)
    theirs = Contestant("plain", value_and_gradient(formulas.queue_uniformity, x, queue))
    sizes: Record = {"loss": "uniform, queue", "what": "value + gradient", "n": n, "m": m, "queue": length}
    contestants = [*ours(session, call, x), theirs]
    return (
        sizes
        | {"dtype": name_of(dtype)}
        | compare(session, contestants, dtype, 0.01 if session.quick else 0.5)
    )
