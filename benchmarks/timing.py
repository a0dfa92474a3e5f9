"""Wall-clock times of computations that take turns, so that disturbances of the machine meet all of them.

Turns are not enough where another process wants a processor for long: a computation of many short parallel
steps then waits at the end of each for the thread that was put aside, and loses a factor of ten where one
long step loses a factor of two. The kernel counts how often it took a processor from us (involuntary context
switches): rounds where it did so often are left out.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SAMPLE_SECONDS = 20e-3
"""The least duration of a sample; a shorter computation is called several times, after a call to warm up.

Without that call, the caches would hold the data of the computation before, which may have run for seconds.
"""
ROUNDS = 5
"""The least number of samples of each computation, however long one takes."""
CALM = 100
"""The largest number of preemptions a second of a calm round.

Two idle cores show 20 to 60, shared ones 150 or more.
"""
PATIENCE = 3
"""The factor by which waiting for calm rounds may exceed the given seconds."""
LONGEST = 40.0
"""The seconds after which two rounds are enough: the largest references, on a busy machine."""


@dataclass(frozen=True)
class Spread:
    """The median of several samples, with the quartiles."""

    median: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Summarise samples, two of them or more.

    Example:
        >>> spread([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.5, high=2.5)
    """
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high)


class Round(NamedTuple):
    """One sample of each computation."""

    seconds: dict[str, float]
    """The seconds per call, by name."""
    preemptions: float
    """The preemptions per second of all our threads together; 0 where the system does not count them."""


def take_turns(actions: Mapping[str, Callable[[], object]], seconds: float) -> Iterator[tuple[float, Round]]:
    """Time the actions in turn, A B C, C B A, A B C, ..., for `seconds` and at least `ROUNDS` rounds.

    It takes longer if disturbed. Compare samples of one round only, and take the median of the ratios.

    Yields:
        after each round, the fraction done of the whole, and the round.
    """
    calls = {name: _calls(action) for name, action in actions.items()}
    names = list(actions)
    start, done, calm = time.perf_counter(), 0, 0
    while _goes_on(time.perf_counter() - start, seconds, done, calm):
        began, switches = time.perf_counter(), _preemptions()
        samples = {name: _sample(actions[name], calls[name]) for name in names}
        turn = Round(samples, (_preemptions() - switches) / (time.perf_counter() - began))
        names.reverse()
        done, calm = done + 1, calm + (turn.preemptions <= CALM)
        yield min(done / ROUNDS, (time.perf_counter() - start) / seconds, 1), turn


def _goes_on(elapsed: float, seconds: float, done: int, calm: int) -> bool:
    if done < ROUNDS:
        return done < 2 or elapsed < LONGEST
    return elapsed < seconds * (1 if calm >= ROUNDS else PATIENCE)


def calm_rounds(rounds: Sequence[Round]) -> tuple[list[Round], bool]:
    """Return the calm rounds and True; if they are fewer than `ROUNDS`, the calmest of all and False."""
    calm = [turn for turn in rounds if turn.preemptions <= CALM]
    if len(calm) >= ROUNDS:
        return calm, True
    return sorted(rounds, key=lambda turn: turn.preemptions)[:ROUNDS], False


def _preemptions() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _calls(action: Callable[[], object]) -> int:
    """Return how many calls make a sample; the first call, which may load code, is not counted."""
    first = _sample(action, 1)
    quickest = min(first, *(_sample(action, 1) for _ in range(3))) if first < 5 * SAMPLE_SECONDS else first
    return max(1, round(SAMPLE_SECONDS / quickest))


def _sample(action: Callable[[], object], calls: int) -> float:
    if calls > 1:
        action()
    start = time.perf_counter()
    for _ in range(calls):
        action()
    return (time.perf_counter() - start) / calls
