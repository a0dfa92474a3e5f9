"""Run the items of one part, and write a line of JSON when one begins and when it ends.

    python -m benchmarks.gpu.worker PART --device cuda --out FILE [--first NUMBER] [--deadline TIME] [--quick]

The status is 3 if the device can no longer be used: the next process resumes with the next item.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.item import Failed, Item, LeftOut, Record
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.session import Session

BROKEN = 3
"""The exit status of a process whose device does not answer any more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all items from the first requested one, as long as there is time."""
    options = _parse(arguments)
    session = Session(torch.device(options.device), options.quick, options.deadline)
    with options.out.open("a", encoding="utf-8") as file:

        def write(line: Record) -> None:
            file.write(json.dumps(_finite(line), allow_nan=False) + "\n")
            file.flush()

        items = importlib.import_module(f"benchmarks.gpu.{PARTS[options.part].module}").items(session)
        for number, item in list(enumerate(items))[options.first :]:
            write({"begins": number, "name": item.name})
            began = time.perf_counter()
            outcome = (
                run(item)
                if session.seconds_left() > 0
                else {"outcome": "left out", "why": "no time was left"}
            )
            write({"number": number, "name": item.name, "took": time.perf_counter() - began} | outcome)
            if outcome["outcome"] == "failed" and _is_broken(session):
                return BROKEN
        write({"done": True})
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu.worker", description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--deadline", type=float, default=math.inf)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args(arguments)


def run(item: Item) -> Record:
    """Return the results of an item with its outcome: measured, failed or left out, and why."""
    try:
        return {"outcome": "measured"} | item.run()
    except LeftOut as reason:
        return reason.found | {"outcome": "left out", "why": str(reason)}
    except Failed as failure:
        return failure.found | {"outcome": "failed", "why": str(failure)}
    except Exception as error:
        return {
            "outcome": "failed",
            "why": f"{type(error).__name__}: {error}".strip()[-1000:],
            "traceback": traceback.format_exc().splitlines()[-12:],
        }


def _is_broken(session: Session) -> bool:
    """Return whether an earlier error on the device, such as an illegal address, makes all else fail."""
    if not session.on_gpu:
        return False
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        return True
    return False


def _finite(found: Any) -> Any:
    """Return the value with NaN and infinities as words, since JSON has no numbers for them."""
    if isinstance(found, float) and not math.isfinite(found):
        return str(found)
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_finite(value) for value in found]
    return found


if __name__ == "__main__":
    sys.exit(main())
