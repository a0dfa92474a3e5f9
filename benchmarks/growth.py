"""How the cost of a measurement grows with the number of rows: seconds, peak memory and error.

    python -m benchmarks.growth [--exact 1000 ... 200000] [--anchors 1000 ... 10000000] [--processes 1 2]
                                [--out FILE] [--figure PATH]

The rows are those of 1,000 clusters on the sphere in 128 dimensions, float32, in a mapped file. Every case is
`measure(file, method=...)` in processes of its own: one with all threads, or several that share the work
(`distributed=True`), with an equal part of the threads each. Peak memory is what the processes allocate
beyond what they hold before, sampled every 10 ms, and added up over processes; pages of the mapped file are
not counted. Cases that are in FILE are not repeated: with --out, an interrupted run is resumed by the same
command. The file of the largest case, 5 GB for 10,000,000 rows, lies in the folder of temporary files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch.multiprocessing.spawn import spawn

from align_uniform import Measurement, measure
from align_uniform._writing import written_whole

M, CLUSTERS = 128, 1000
EXACT = (1000, 3000, 10_000, 30_000, 100_000, 200_000)
ANCHORS = (1000, 10_000, 100_000, 1_000_000, 10_000_000)
CHUNK = 100_000
"""The number of rows that are made at a time."""


@dataclass(frozen=True)
class Outcome:
    """The measurement of one case, with its cost."""

    method: str
    rows: int
    processes: int
    threads: int
    """The threads of each process."""
    seconds: float
    peak_mib: float | None
    """The sum over processes of the peak of each one's memory; None if this system does not report it."""
    uniform: float
    approximation_stderr: float
    """The stated standard error of `uniform` as an estimate of the exact value; 0 if it is exact."""

    @property
    def case(self) -> tuple[str, int, int]:
        """The identity of the case."""
        return self.method, self.rows, self.processes


def main() -> int:
    """Measure the cases that are missing, print, draw and write; return 130 after Ctrl-C."""
    options = _parse()
    outcomes = _read(options.out)
    done = {each.case for each in outcomes}
    cases = [("exact", n, p) for n in options.exact for p in options.processes]
    cases += [("anchors", n, p) for n in options.anchors for p in options.processes]
    code = 0
    try:
        for case in sorted(cases, key=lambda case: case[1] ** (2 if case[0] == "exact" else 1)):
            if case in done:
                continue
            outcomes.append(outcome(*case))
            sys.stderr.write(f"{outcomes[-1]}\n")
            _write(options.out, outcomes)
    except KeyboardInterrupt:
        resume = (
            "Run the same command again to resume." if options.out else "They were not kept, without --out."
        )
        sys.stderr.write(f"Interrupted; the finished cases are shown. {resume}\n")
        code = 130
    show(outcomes)
    if options.figure is not None and outcomes:
        draw(outcomes, options.figure)
    return code


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--exact", type=int, nargs="*", default=EXACT, metavar="N", help="numbers of rows to sum exactly"
    )
    parser.add_argument(
        "--anchors",
        type=int,
        nargs="*",
        default=ANCHORS,
        metavar="N",
        help="numbers of rows to measure from anchors",
    )
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=(1, 2),
        metavar="P",
        help="numbers of processes to share the work",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON of the outcomes, which is added to")
    parser.add_argument("--figure", type=Path, metavar="PATH", help="figure, PATH.png and PATH.svg")
    return parser.parse_args()


def _read(path: Path | None) -> list[Outcome]:
    if path is None or not path.exists():
        return []
    return [Outcome(**each) for each in json.loads(path.read_text())["outcomes"]]


def _write(path: Path | None, outcomes: Sequence[Outcome]) -> None:
    if path is not None:
        document = {"schema_version": 1, "outcomes": [asdict(each) for each in outcomes]}
        with written_whole(path) as partial:
            partial.write_text(json.dumps(document, indent=1) + "\n")


# ----------------------------------------------------------------------------------------------------- a case


def outcome(method: str, rows: int, processes: int) -> Outcome:
    """Make the rows, and measure them in processes of their own."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.npy", rows)
        spawn(_measure, (folder, method, processes, threads), processes)
        parts = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(processes)]
    peaks = [part["peak_mib"] for part in parts]
    return Outcome(
        method,
        rows,
        processes,
        threads,
        seconds=max(part["seconds"] for part in parts),
        peak_mib=None if None in peaks else sum(peaks),
        uniform=parts[0]["uniform"],
        approximation_stderr=parts[0]["approximation_stderr"],
    )


def write_rows(path: Path, count: int) -> None:
    """Write rows of clusters, a part at a time: the first rows are the same for any number of them."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(CLUSTERS, M, generator=generator))
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, M))
    for start in range(0, count, CHUNK):
        members = torch.randint(CLUSTERS, (CHUNK,), generator=generator)
        noise = torch.randn(CHUNK, M, generator=generator).mul_(0.3 / math.sqrt(M))
        rows[start : start + CHUNK] = noise.add_(centres[members])[: count - start].numpy()
    rows.flush()


def _measure(rank: int, folder: str, method: str, processes: int, threads: int) -> None:
    """Measure in one of the processes, and write down what it took."""
    torch.set_num_threads(threads)
    if processes > 1:
        dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=processes)
    measure(torch.randn(64, M))  # loads what a first measurement loads

    def run() -> Measurement:
        return measure(f"{folder}/rows.npy", method=method, progress=False, distributed=processes > 1)

    if processes > 1:
        dist.barrier()  # nobody's time includes waiting for another to have loaded
    started = time.perf_counter()
    found, peak = _with_peak(run)
    part = {
        "seconds": time.perf_counter() - started,
        "peak_mib": peak,
        "uniform": found.uniform.value,
        "approximation_stderr": found.uniform.approximation_stderr,
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(part))
    if processes > 1:
        dist.destroy_process_group()


def _with_peak(run: Callable[[], Measurement]) -> tuple[Measurement, float | None]:
    """Return a measurement, and the peak of the memory that it allocated, in MiB."""
    before = _allocated()
    peak, done = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak or 0, _allocated() or 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        found = run()
    finally:
        done.set()
        watcher.join()
    return found, None if before is None or peak is None else peak - before


def _allocated() -> float | None:
    """Return the memory of this process without pages of files, in MiB; None if it is not reported."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), None)


# ---------------------------------------------------------------------------------------------- what is shown


def show(outcomes: Sequence[Outcome]) -> None:
    """Print one line for each case."""
    table = Table(
        title=f"measure of rows in {M} dimensions, float32, from a mapped file", title_justify="left"
    )
    for heading in ("rows", "method", "processes x threads", "seconds", "peak MiB", "uniform",
                    "stated error", "off by"):  # fmt: skip
        table.add_column(heading, justify="right")
    for each in sorted(outcomes, key=lambda each: (each.rows, each.method, each.processes)):
        off = _difference(each, outcomes)
        table.add_row(
            f"{each.rows:,}", each.method, f"{each.processes} x {each.threads}", f"{each.seconds:.2f}",
            "not measured" if each.peak_mib is None else f"{each.peak_mib:.0f}", f"{each.uniform:.6f}",
            f"{each.approximation_stderr:.1e}" if each.method == "anchors" else "exact",
            "" if off is None else f"{off:+.1e}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def _difference(each: Outcome, outcomes: Sequence[Outcome]) -> float | None:
    """Return the estimate less the exact value; None if there is none."""
    exact = [other.uniform for other in outcomes if other.method == "exact" and other.rows == each.rows]
    return each.uniform - exact[0] if exact and each.method == "anchors" else None


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw seconds, memory and the error over the number of rows."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    from align_uniform.figures import save

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    lines = dict.fromkeys((each.method, each.processes, each.threads) for each in outcomes)
    for method, processes, threads in lines:
        mine = [each for each in outcomes if (each.method, each.processes) == (method, processes)]
        mine.sort(key=lambda each: each.rows)
        style = {
            "marker": "o",
            "markersize": 3,
            "color": {"exact": "C0", "anchors": "C1"}[method],
            "linestyle": "-" if processes == 1 else "--",
            "label": f"{method}, {processes} x {threads}",
        }
        panels[0].loglog([each.rows for each in mine], [each.seconds for each in mine], **style)
        panels[1].loglog([each.rows for each in mine], [each.peak_mib or math.nan for each in mine], **style)
        if method == "anchors" and processes == 1:
            panels[2].loglog(
                [each.rows for each in mine],
                [each.approximation_stderr or math.nan for each in mine],
                **style | {"label": "stated error"},
            )
            off = [(each.rows, abs(_difference(each, outcomes) or math.nan)) for each in mine]
            panels[2].loglog(*zip(*off, strict=True), "x", color="C3", label="off by")
    for panel, title in zip(panels, ("seconds", "peak memory, MiB", "error of uniformity"), strict=True):
        panel.set(title=title, xlabel="rows")
        panel.grid(alpha=0.3)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())
    panels[2].margins(y=0.3)  # room for a labelled power of ten on either side
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(lines), frameon=False,
        title="method, processes x threads", fontsize="small",
    )  # fmt: skip
    panels[2].legend(frameon=False, fontsize="small")
    save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
