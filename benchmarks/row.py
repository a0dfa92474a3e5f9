"""The results of the benchmarks: a measured case is a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from benchmarks.case import Case
from benchmarks.limit import TILE, limit_seconds, rate_actions
from benchmarks.memory import peaks_mib
from benchmarks.timing import Spread, calm_rounds, spread, take_turns


@dataclass(frozen=True)
class Row:
    """The measurements of one case.

    A spread is taken over the rounds; a ratio is taken within each round, then its median.
    """

    benchmark: str
    what: str
    sizes: Mapping[str, int]
    rounds: int
    """The number of rounds that were used, the calm ones."""
    calm: bool
    """Whether the rounds were calm; if not, `rounds` are the least disturbed of a busy machine."""
    ours_ms: Spread
    reference_ms: Spread
    limit_ms: Spread
    product_ns: Spread
    """The nanoseconds of one scalar product of m features in a matrix product."""
    exp_ns: Spread
    speedup: Spread
    """The ratio reference / ours."""
    over_limit: Spread
    """The ratio ours / limit."""
    ours_mib: float | None
    """The extra memory at its peak; None if not measured."""
    reference_mib: float | None
    aims: Mapping[str, bool | None]
    """Whether each aim was reached; None if not measured, or for a time on a busy machine."""


def measure(case: Case, seconds: float, memory: Executor) -> Iterator[float | Row]:
    """Yield the fraction done now and then, and the row at the end; `memory` is that of `memory_process`."""
    mib = memory.submit(peaks_mib, case.prepare).result()
    actions = {**case.prepare()._asdict(), **rate_actions(case.sizes["m"])}
    rounds = []
    for fraction, turn in take_turns(actions, seconds):
        rounds.append(turn)
        yield fraction
    chosen, calm = calm_rounds(rounds)
    samples = [{**turn.seconds, "limit": limit_seconds(case.work, turn.seconds)} for turn in chosen]
    yield _row(case, samples, calm, *mib)


def _row(
    case: Case,
    rounds: list[dict[str, float]],
    calm: bool,
    ours_mib: float | None,
    reference_mib: float | None,
) -> Row:
    def column(name: str, factor: float, over: str | None = None) -> Spread:
        return spread([factor * samples[name] / (samples[over] if over else 1) for samples in rounds])

    speedup, over_limit = column("reference", 1, "ours"), column("ours", 1, "limit")
    memory_ratio = None if ours_mib is None or not reference_mib else ours_mib / reference_mib
    reached = {
        "speedup": speedup.median if calm else None,
        "over_limit": over_limit.median if calm else None,
        "ours_mib": ours_mib,
        "memory_ratio": memory_ratio,
    }
    aims = {str(aim): None if (got := reached[aim.column]) is None else aim.reached(got) for aim in case.aims}
    return Row(
        benchmark=case.benchmark,
        what=case.what,
        sizes=case.sizes,
        rounds=len(rounds),
        calm=calm,
        ours_ms=column("ours", 1e3),
        reference_ms=column("reference", 1e3),
        limit_ms=column("limit", 1e3),
        product_ns=column("products", 1e9 / TILE**2),
        exp_ns=column("exponentials", 1e9 / TILE**2),
        speedup=speedup,
        over_limit=over_limit,
        ours_mib=ours_mib,
        reference_mib=reference_mib,
        aims=aims,
    )
