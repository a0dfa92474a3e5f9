"""The aims of the engine on a GPU, and whether a run reached them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.gpu.item import Record
from benchmarks.gpu.rates import limit_seconds

MAIN = {"loss": "uniform", "what": "value + gradient", "m": 128, "dtype": "float32"}
"""The rows of the table that most aims are about."""


class Aim(NamedTuple):
    """An aim, and the result that it is compared with."""

    text: str
    reached: bool | None
    """Whether the aim was reached; None where it was not measured."""
    measured: str


def judge(found: Mapping[str, Sequence[Record]]) -> list[Aim]:
    """Compare the records of all parts with the aims; the engine is the kernel's."""
    return [
        _never_slower(found),
        _faster(found, 4096, 10),
        _faster(found, 16384, 30),
        _near_the_limit(found, 65536, 1.5),
        _million_rows(found, 5),
        _half_rows(found, 65536, 2),
    ]


def rows(found: Mapping[str, Sequence[Record]], **conditions: Any) -> Iterator[Record]:
    """Yield the comparisons of times that meet the conditions."""
    for record in found.get("speed", ()):
        if "ms" in record and all(record.get(name) == value for name, value in conditions.items()):
            yield record


def milliseconds(record: Record, name: str) -> float | None:
    """Return the median time of a contestant, None if it has none."""
    return record["ms"][name]["median"] if name in record["ms"] else None


def speedup(record: Record, other: str, engine: str = "triton") -> float | None:
    """Return how many times faster than another the engine is."""
    ours, theirs = milliseconds(record, engine), milliseconds(record, other)
    return None if ours is None or theirs is None else theirs / ours


def over_limit(
    found: Mapping[str, Sequence[Record]], record: Record, engine: str, exponential: str = "exp"
) -> float | None:
    """Return the time of an engine over the limit of its form."""
    took = milliseconds(record, engine)
    limit = limit_seconds(
        {rate["name"]: rate["rate"] for rate in found.get("limit", ()) if "rate" in rate},
        n=record["n"],
        m=record["m"],
        dtype=record["dtype"],
        engine="triton" if engine == "triton" else "tiles",
        gradient=record["what"] == "value + gradient",
        exponential=exponential,
    )
    return None if took is None or limit is None else took / 1e3 / limit


def _never_slower(found: Mapping[str, Sequence[Record]]) -> Aim:
    """Compare the kernel where it serves, else the tile loop, with the two lines, at every common size."""
    text = "never slower than the two lines at any N from 128"
    ratios = {}
    for record in rows(found, loss="uniform"):
        factor = speedup(record, "two lines", "triton" if "triton" in record["ms"] else "tiles")
        if factor is not None and record["n"] >= 128:
            ratios[f"N={record['n']}, m={record['m']}, {record['dtype']}, {record['what']}"] = factor
    if not ratios:
        return Aim(text, None, "")
    where = min(ratios, key=lambda name: ratios[name])
    return Aim(
        text, ratios[where] >= 1, f"{ratios[where]:.2f}x at the worst of {len(ratios)} sizes ({where})"
    )


def _faster(found: Mapping[str, Sequence[Record]], n: int, factor: float) -> Aim:
    """Compare with the two lines, or with the compiled formula where the two lines do not fit in memory."""
    text = f">= {factor:g}x the two lines at N = {n:,} (value + gradient, float32)"
    for record in rows(found, n=n, **MAIN):
        for other in ("two lines", "compiled"):
            if (got := speedup(record, other)) is not None:
                why = (
                    ""
                    if other == "two lines"
                    else f"; the two lines: {record['left_out'].get('two lines', 'not timed')}"
                )
                return Aim(
                    text,
                    got >= factor,
                    f"{got:.1f}x the {'formula under torch.compile' if why else other}{why}",
                )
    return Aim(text, None, "")


def _near_the_limit(found: Mapping[str, Sequence[Record]], n: int, factor: float) -> Aim:
    text = f"within {factor:g}x of the limit at N = {n:,} (value + gradient, float32)"
    for record in rows(found, n=n, **MAIN):
        if (got := over_limit(found, record, "triton")) is not None:
            return Aim(text, got <= factor, f"{got:.2f}x")
    return Aim(text, None, "")


def _million_rows(found: Mapping[str, Sequence[Record]], seconds: float) -> Aim:
    text = f"a million rows exact in less than {seconds:g} s"
    for record in found.get("exact", ()):
        if record.get("n") == 1_000_000 and record.get("engine") == "triton" and "seconds" in record:
            return Aim(text, record["seconds"] < seconds, f"{record['seconds']:.2f} s")
    return Aim(text, None, "")


def _half_rows(found: Mapping[str, Sequence[Record]], n: int, factor: float) -> Aim:
    text = f"bfloat16 rows >= {factor:g}x float32 rows at N = {n:,} (value + gradient)"
    times = []
    for dtype in ("float32", "bfloat16"):
        times += [milliseconds(record, "triton") for record in rows(found, n=n, **MAIN | {"dtype": dtype})]
    if len(times) != 2 or times[0] is None or times[1] is None:
        return Aim(text, None, "")
    return Aim(text, times[0] / times[1] >= factor, f"{times[0] / times[1]:.2f}x")
