"""Test, check and measure the pair engine on a GPU, within nine minutes.

    PYTHONPATH=src python -m benchmarks.gpu --out benchmarks/gpu.json

Progress goes to stderr, a table to stdout, JSON to a file. Exit status: 0: nothing failed; 1: something
failed, see the table; 2: usage error; 130: interrupted, the JSON has the results so far. A missed aim is no
failure.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from align_uniform._writing import check_replaceable, written_whole
from benchmarks.gpu.aims import judge
from benchmarks.gpu.item import Record
from benchmarks.gpu.parts import PARTS, STAGES
from benchmarks.gpu.summary import lines
from benchmarks.gpu.supervision import run_stage

SCHEMA_VERSION = 1
SECONDS = 520.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, write the results after each stage, and print the table."""
    options = _parse(arguments)
    try:
        if options.out is not None:
            check_replaceable(options.out, force=options.force)
        device = _device(options.quick)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    facts = _machine(device)
    found: dict[str, list[Record]] = {part: [] for part in PARTS if part in options.only}
    complete = False
    try:
        _run_all(options, device, facts, found)
        complete = True
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
    if options.out is not None:
        _write(options, facts, found, complete=complete)
    for line in lines(facts, found, judge(_judged(options, facts, found))):
        sys.stdout.write(f"{line}\n")
    if not complete:
        return 130
    return int(any(record["outcome"] == "failed" for records in found.values() for record in records))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all results here as JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="time for all parts together (default %(default)g)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(PARTS),
        default=list(PARTS),
        metavar="PART",
        help="run only these parts: %(choices)s",
    )
    parser.add_argument(
        "--quick", action="store_true", help="take tiny sizes and few rounds, to see whether everything runs"
    )
    return parser.parse_args(arguments)


def _device(quick: bool) -> str:
    """Return the device that torch computes on."""
    if torch.cuda.is_available():
        if os.environ.get("TRITON_INTERPRET", "0") == "1":
            raise ValueError("TRITON_INTERPRET=1 keeps the kernels from the GPU; run: unset TRITON_INTERPRET")
        return "cuda"
    if quick or os.environ.get("TRITON_INTERPRET", "0") == "1":
        return "cpu"
    raise ValueError(
        "There is no CUDA device; run this on a machine with an NVIDIA GPU, or try it out with "
        "TRITON_INTERPRET=1 and --quick."
    )


def _machine(device: str) -> Record:
    """Return the conditions of the numbers."""
    on_gpu = device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu, {platform.machine()}",
        "capability": ".".join(map(str, torch.cuda.get_device_capability())) if on_gpu else None,
        "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if on_gpu else None,
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count if on_gpu else None,
        "driver": _driver() if on_gpu else None,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return (
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
            .stdout.split("\n")[0]
            .strip()
        )
    return None


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _run_all(options: argparse.Namespace, device: str, facts: Record, found: dict[str, list[Record]]) -> None:
    """Run stage after stage, each for its share of the time left, so that later stages use the time saved."""
    start = time.time()
    stages = [[part for part in stage if part in found] for stage in STAGES]
    weights = [max((PARTS[part].weight for part in stage), default=0.0) for stage in stages]
    with tempfile.TemporaryDirectory(prefix="align-uniform-gpu-") as folder:
        for number, stage in enumerate(stages):
            if not stage:
                continue
            left = start + options.seconds - time.time()
            deadline = time.time() + left * weights[number] / sum(weights[number:])
            running = run_stage(
                stage,
                Path(folder),
                device=device,
                quick=options.quick,
                deadline=deadline,
                report=lambda line: _progress(time.time() - start, line),
            )
            for records in running:
                found.update(records)
            if options.out is not None:
                _write(options, facts, found, complete=False)


def _progress(seconds: float, line: str) -> None:
    sys.stderr.write(f"{seconds:5.0f} s  {line}\n")
    sys.stderr.flush()


def _write(
    options: argparse.Namespace, facts: Record, found: dict[str, list[Record]], *, complete: bool
) -> None:
    content = {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "complete": complete,
        "quick": options.quick,
        "machine": facts,
        "parts": found,
        "aims": [aim._asdict() for aim in judge(_judged(options, facts, found))],
    }
    with written_whole(options.out) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _judged(
    options: argparse.Namespace, facts: Record, found: dict[str, list[Record]]
) -> dict[str, list[Record]]:
    """Return the records that the aims are about: full sizes on a GPU."""
    return {} if options.quick or facts["capability"] is None else found


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
