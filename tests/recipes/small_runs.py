"""Runs of the two-view recipe that take seconds, and the command in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from align_uniform.recipes.pretrain import two_view

SMALL = ["--arch", "small-conv", "--dim", "16", "--size", "32"]


def run_command(arguments: list[str], processes: int = 1) -> str:
    """Run the command in processes of its own, and return what it printed."""
    launch = (
        []
        if processes == 1
        else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    )
    done = subprocess.run(
        [sys.executable, *launch, "-m", "align_uniform", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def pretrain_command(stl10: Path, out: Path, *more: str) -> list[str]:
    """Return the command of a run of 2 epochs on the images of `stl10`."""
    return [
        "pretrain", "two-view", "--preset", "stl10", *SMALL, "--root", str(stl10), "--out", str(out),
        "--epochs", "2", "--batch-size", "40", "--lr", "0.05", "--workers", "0", "--log-every", "1",
        "--device", "cpu", *more,
    ]  # fmt: skip


def brief(folder: Path, **changed: Any) -> two_view.TwoViewOptions:
    """Return the options of a run of one epoch on a folder of images."""
    shared: dict[str, Any] = {
        "data": "imagefolder",
        "root": folder,
        "arch": "small-conv",
        "size": 16,
        "workers": 0,
    }
    rest: dict[str, Any] = {"batch_size": 6, "epochs": 1, "device": "cpu", "out": folder.parent}
    return two_view.options("imagefolder", **shared | rest | changed)
