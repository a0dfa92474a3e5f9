"""The rows as tables for people, and as JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path

import torch
from rich.table import Table

from align_uniform._writing import written_whole
from benchmarks.memory import error_on_known_allocations
from benchmarks.row import Row
from benchmarks.timing import Spread

SCHEMA_VERSION = 1


def tables(rows: Sequence[Row]) -> Iterable[Table]:
    """Yield one table per benchmark and computation."""
    for title in dict.fromkeys(f"{row.benchmark}: {row.what}" for row in rows):
        mine = [row for row in rows if f"{row.benchmark}: {row.what}" == title]
        caption = (
            None
            if all(row.calm for row in mine)
            else "? others kept the machine busy: take these times with caution"
        )
        table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
        sizes = list(mine[0].sizes)
        for heading in (
            *sizes,
            "ours ms",
            "reference ms",
            "speedup",
            "ours / limit",
            "ours MiB",
            "reference MiB",
        ):
            table.add_column(heading, justify="right")
        table.add_column("aim")
        for row in mine:
            table.add_row(*(str(row.sizes[size]) for size in sizes), *_cells(row))
        yield table


def _cells(row: Row) -> list[str]:
    words = {True: "reached", False: "MISSED", None: "undecided"}
    return [
        _milliseconds(row.ours_ms),
        _milliseconds(row.reference_ms),
        f"{row.speedup.median:.2f}x" + ("" if row.calm else " ?"),
        f"{row.over_limit.median:.2f}",
        *("not measured" if mib is None else f"{mib:.1f}" for mib in (row.ours_mib, row.reference_mib)),
        ", ".join(f"{aim}: {words[reached]}" for aim, reached in row.aims.items()),
    ]


def _milliseconds(time: Spread) -> str:
    return f"{time.median:.3f}" if time.median < 10 else f"{time.median:.1f}"


def losses(rows: Sequence[Row]) -> list[str]:
    """Return sentences about where we are slower than the reference, or take more memory."""
    lines = []
    for row in rows:
        doubt = "" if row.calm else " (machine busy)"
        sizes = ", ".join(f"{name}={size}" for name, size in row.sizes.items())
        where = f"{row.benchmark}, {row.what}, {sizes}"
        if row.speedup.median < 1:
            lines.append(f"slower: {where}: {1 / row.speedup.median:.2f} times the reference's time{doubt}")
        if (
            row.ours_mib is not None
            and row.reference_mib is not None
            and row.ours_mib > row.reference_mib + 0.1
        ):
            lines.append(f"larger: {where}: {row.ours_mib:.1f} MiB, the reference {row.reference_mib:.1f}")
    return lines


def machine(memory: Executor) -> dict[str, object]:
    """Return the conditions of the numbers; `memory` is the process of `memory_process`.

    The load is that of the minute before: above 0, other processes were at work.
    """
    return {
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": "cpu",
        "dtype": "float32",
        "memory_error_mib": memory.submit(error_on_known_allocations).result(),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = (
        re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    )
    return found[1] if found else platform.processor()


def write_json(path: Path, facts: dict[str, object], rows: Sequence[Row], *, complete: bool) -> None:
    """Write under a temporary name, then rename: the file is whole or absent."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": facts,
        "complete": complete,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
