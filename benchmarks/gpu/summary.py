"""The table at the end of a run, in plain text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.gpu.aims import Aim, milliseconds, over_limit, rows, speedup
from benchmarks.gpu.item import Record

Found = Mapping[str, Sequence[Record]]

MOST_FAILURES = 12
"""The number of failures of a part that the table shows."""


def lines(facts: Record, found: Found, aims: Sequence[Aim]) -> Iterator[str]:
    """Yield the machine, the work, accuracy, times, and the aims last."""
    yield ", ".join(f"{name} {fact}" for name, fact in facts.items() if fact is not None)
    yield from _section("parts", _parts(found))
    yield from _section("failures", _failures(found))
    yield from _section("tests", _tests(found))
    yield from _section("largest error over its bound", _accuracy(found))
    yield from _section("limit", _limit(found))
    main = next((record["m"] for record in rows(found, loss="uniform")), 128)
    yield from _section(
        f"uniform, m = {main}: ms, and times faster than the two lines", _uniform(found, main)
    )
    yield from _section("other widths: ms", _widths(found, main))
    yield from _section("other losses, value + gradient: ms", _others(found))
    yield from _section("exact uniformity", _exact(found))
    yield from _section("two-view step", _steps(found))
    yield from _section("launches of value, and of value + gradient", _launches(found))
    yield from _section("aims", _aims(aims))


def _section(title: str, table: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield columns as wide as their widest cell, under a title; nothing where there is nothing to show."""
    cells = [list(row) for row in table]
    if not cells:
        return
    yield ""
    yield title
    columns = max(map(len, cells))
    widths = [
        max((len(row[column]) for row in cells if column < len(row) - 1), default=0)
        for column in range(columns)
    ]
    for row in cells:
        yield "  " + "  ".join(f"{cell:<{widths[column]}}" for column, cell in enumerate(row)).rstrip()


def _parts(found: Found) -> Iterator[Sequence[str]]:
    yield "part", "measured", "failed", "left out", "seconds"
    for part, records in found.items():
        outcomes = Counter(record["outcome"] for record in records)
        seconds = sum(record.get("took", 0.0) for record in records)
        yield part, *(str(outcomes[name]) for name in ("measured", "failed", "left out")), f"{seconds:.0f}"


def _failures(found: Found) -> Iterator[Sequence[str]]:
    for part, records in found.items():
        failed = [record for record in records if record["outcome"] == "failed"]
        for record in failed[:MOST_FAILURES]:
            yield (f"{part}, {record['name']}: {' | '.join(record['why'].splitlines())[:240]}",)
        if len(failed) > MOST_FAILURES:
            yield (f"{part}: {len(failed) - MOST_FAILURES} more, see the JSON",)


def _tests(found: Found) -> Iterator[Sequence[str]]:
    for record in found.get("tests", ()):
        if "passed" in record:
            yield (
                record["name"],
                f"{record['passed']} passed",
                f"{record['failed']} failed",
                f"{record['skipped']} skipped",
            )
        else:
            yield record["name"], record.get("why", "")


def _accuracy(found: Found) -> Iterator[Sequence[str]]:
    worst: dict[tuple[str, str], dict[str, float]] = {}
    for record in found.get("accuracy", ()):
        for loss, check in record.get("checks", {}).items():
            errors = worst.setdefault((record["engine"], record["dtype"]), {})
            error = float(check.get("worst", math.nan))
            errors[loss] = math.nan if math.isnan(error) else max(error, errors.get(loss, 0.0))
    for (engine, dtype), errors in worst.items():
        yield engine, dtype, *(f"{loss} {error:.2f}" for loss, error in errors.items())


def _limit(found: Found) -> Iterator[Sequence[str]]:
    for record in found.get("limit", ()):
        if "rate" in record:
            yield record["name"], f"{record['rate'] / 1e12:.3g}", f"T{record['unit']}"


def _uniform(found: Found, m: int) -> Iterator[Sequence[str]]:
    table = list(rows(found, loss="uniform", m=m))
    if not table:
        return
    yield (
        "N",
        "dtype",
        "what",
        "two lines",
        "compiled",
        "tiles",
        "triton",
        "tiles x",
        "triton x",
        "triton / limit",
        "MiB",
    )
    for record in table:
        names = ("two lines", "compiled", "tiles", "triton")
        factors = [speedup(record, "two lines", engine) for engine in ("tiles", "triton")]
        limit, mib = over_limit(found, record, "triton"), record["mib"].get("triton")
        yield (
            str(record["n"]),
            record["dtype"],
            record["what"],
            *(_number(milliseconds(record, name)) for name in names),
            *map(_number, factors),
            _number(limit),
            _number(mib),
        )


def _widths(found: Found, main: int) -> Iterator[Sequence[str]]:
    for record in rows(found, loss="uniform"):
        if record["m"] != main:
            yield f"N={record['n']}, m={record['m']}", record["dtype"], record["what"], *_times(record)


def _others(found: Found) -> Iterator[Sequence[str]]:
    for record in [*found.get("speed", ()), *found.get("exact", ())]:
        if "ms" in record and record["loss"] != "uniform":
            yield record["loss"], f"N={record['n']}", record["dtype"], *_times(record)


def _times(record: Record) -> list[str]:
    return [f"{name} {_number(milliseconds(record, name))}" for name in record["ms"]]


def _exact(found: Found) -> Iterator[Sequence[str]]:
    for record in found.get("exact", ()):
        if "stderr" in record:
            value = (
                f"{record['value']:.6f} (optimum {record['optimum']:.6f}, "
                f"error {record['stderr'] or math.nan:.1e})"
            )
            yield (
                record["engine"],
                f"N={record['n']}",
                f"{record['seconds']:.3g} s",
                value,
                f"row error {record['worst_row']:.1e}",
            )


def _steps(found: Found) -> Iterator[Sequence[str]]:
    for record in found.get("step", ()):
        if "ms" in record:
            yield (
                record["precision"],
                *(
                    f"{name} {record['images_per_second'][name]:.0f} images/s "
                    f"({100 * record['share_of_loss'][name]:.1f}%)"
                    for name in record["ms"]
                ),
            )


def _launches(found: Found) -> Iterator[Sequence[str]]:
    for record in found.get("behaviour", ()):
        if "launches" in record:
            counts = record["launches"]
            yield record["by"], f"N={record['n']}", str(counts["value"]), str(counts["value + gradient"])


def _aims(aims: Sequence[Aim]) -> Iterator[Sequence[str]]:
    words: dict[bool | None, str] = {True: "reached", False: "MISSED", None: "not measured"}
    for aim in aims:
        yield words[aim.reached], aim.text, aim.measured


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"
