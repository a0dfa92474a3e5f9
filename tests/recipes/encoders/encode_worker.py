"""Two processes that encode one folder of images with the command `encode`.

    python -m tests.recipes.encoders.encode_worker PLACE FOLDER

encodes PLACE/COUNT, a folder of so many pictures, with the encoder PLACE/run into PLACE/COUNT.npz, and writes
FOLDER/2-RANK.pt with the exit code and the words on stderr of each process.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

from align_uniform.cli import main
from tests import processes

COUNTS = (7, 1)
"""Numbers of images: two processes share seven unevenly, and of one image a process has none."""


def encoded(rank: int, place: Path, count: int) -> tuple[int, str]:
    """Run the command; return its exit code, and what it says."""
    told = io.StringIO()
    with redirect_stderr(told):
        code = main(
            [
                "encode", str(place / "run"), str(place / str(count)), "--out", str(place / f"{count}.npz"),
                "--workers", "0", "--device", "cpu", "--batch-size", "2",
            ]
        )  # fmt: skip
    return code, told.getvalue()


def checks(world: int, place: Path) -> dict[str, Callable[[int], tuple[int, str]]]:
    """Return what both processes do, by the number of images."""
    return {str(count): partial(encoded, place=place, count=count) for count in COUNTS}


if __name__ == "__main__":
    processes.run(partial(checks, place=Path(sys.argv[1])), [2], Path(sys.argv[2]))
