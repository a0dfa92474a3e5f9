"""Times of several computations that take turns, A B C, C B A, ...: by events on a GPU, else by the clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import torch

from benchmarks.case import Operation
from benchmarks.gpu.item import Failed, LeftOut, Record
from benchmarks.gpu.session import Engine, Session, computed_by
from benchmarks.timing import spread

SAMPLE_SECONDS = 20e-3
"""The least duration of a sample; a shorter computation is called several times."""
ROUNDS = 5
"""The least number of samples of each computation; for those that take seconds, `FEW_ROUNDS`."""
FEW_ROUNDS = 3
MOST_ROUNDS = 40
LONG_ROUND = 2.0
"""The seconds of a round after which `FEW_ROUNDS` are enough."""

OURS = ("triton", "tiles")
TOLERANCE = {torch.float32: 2e-4, torch.float16: 2e-2, torch.bfloat16: 3e-2}
"""The relative differences of values, by the dtype of rows, that are put down to the rounding of products."""


class Contestant(NamedTuple):
    """One way to compute what all of a comparison compute."""

    name: str
    call: Operation
    engine: Engine | None = None
    """The engine that computes, if it is a call of ours."""


def compare(
    session: Session, contestants: Sequence[Contestant], dtype: torch.dtype, seconds: float
) -> Record:
    """Time the contestants in turns, for about `seconds`.

    A contestant that runs out of memory, fails, takes too long, or finds another value than ours is left out,
    which is recorded; if it is one of ours, the comparison fails in the end.

    Returns:
        Milliseconds (median and quartiles), peak memory and value of each contestant, and `ratios`: its time
        over that of the first, within a round.
    """
    record: Record = {"left_out": {}, "values": {}, "mib": {}}
    able: dict[str, tuple[Contestant, int]] = {}
    for contestant in contestants:
        calls = _try(session, contestant, record)
        if calls is not None:
            able[contestant.name] = contestant, calls
    _leave_out_other_values(record, able, TOLERANCE[dtype])
    if able:
        rounds = _rounds(session, list(able.values()), seconds)
        first = next(iter(able))
        record["rounds"] = len(rounds)
        record["ms"] = {name: asdict(spread([1e3 * times[name] for times in rounds])) for name in able}
        record["ratios"] = {
            name: asdict(spread([times[name] / times[first] for times in rounds])) for name in able
        }
    if session.on_gpu:
        torch.cuda.empty_cache()
    wrong = {
        name: why
        for name, why in record["left_out"].items()
        if name in OURS and not why.startswith("too long")
    }
    if wrong:
        raise Failed("; ".join(f"{name}: {why}" for name, why in wrong.items()), record)
    if not able:
        raise LeftOut("; ".join(f"{name}: {why}" for name, why in record["left_out"].items()))
    return record


def _try(session: Session, contestant: Contestant, record: Record) -> int | None:
    """Call twice, note value and memory, and return how many calls make a sample.

    The result is None if the contestant is left out.
    """
    name = contestant.name
    with computed_by(contestant.engine):
        try:
            record["values"][name] = float(contestant.call()[0])
            record["mib"][name], took = _peak_and_seconds(session, contestant.call)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            record["left_out"][name] = "out of memory"
            return None
        except Exception as error:
            record["left_out"][name] = f"{type(error).__name__}: {error}".strip()[-400:]
            return None
        if took * (FEW_ROUNDS + 1) > max(session.seconds_left(), 0):
            record["left_out"][name] = f"too long for the time that is left: {took:.2g} s a call"
            return None
        return max(
            1,
            min(
                1000, round((1e-3 if session.quick else SAMPLE_SECONDS) / sample(session, contestant.call, 1))
            ),
        )


def _leave_out_other_values(
    record: Record, able: dict[str, tuple[Contestant, int]], tolerance: float
) -> None:
    """Compare all values with the tile loop's, or with the first if it has none."""
    if not able:
        return
    trusted = "tiles" if "tiles" in able else next(iter(able))
    value = record["values"][trusted]
    for name in list(able):
        difference = record["values"][name] - value
        if not abs(difference) <= tolerance * max(1, abs(value)):
            record["left_out"][name] = f"its value differs from that of {trusted} by {difference:.6f}"
            del able[name]


def _peak_and_seconds(session: Session, call: Operation) -> tuple[float | None, float]:
    """Return the peak of the extra memory in MiB, None on a CPU, and the seconds of one call."""
    if not session.on_gpu:
        return None, sample(session, call, 1)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    took = sample(session, call, 1)
    return (torch.cuda.max_memory_allocated() - before) / 2**20, took


def _rounds(
    session: Session, contestants: list[tuple[Contestant, int]], seconds: float
) -> list[dict[str, float]]:
    """Return the seconds of a call by name, round by round."""
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    while True:
        times = {}
        for contestant, calls in contestants if len(rounds) % 2 == 0 else reversed(contestants):
            with computed_by(contestant.engine):
                times[contestant.name] = sample(session, contestant.call, calls)
        rounds.append(times)
        elapsed = time.perf_counter() - start
        least = FEW_ROUNDS if session.quick or elapsed / len(rounds) > LONG_ROUND else ROUNDS
        if len(rounds) >= least and (elapsed >= seconds or len(rounds) >= MOST_ROUNDS):
            return rounds
        if len(rounds) >= 2 and elapsed / len(rounds) > session.seconds_left():
            return rounds


def sample(session: Session, call: Operation, calls: int) -> float:
    """Return the seconds of a call, as the mean over several that follow each other without waiting."""
    if not session.on_gpu:
        began = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - began) / calls
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / calls
