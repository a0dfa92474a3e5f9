"""The checkpoints of a run: written whole, with the one before kept, and loaded without executing code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from align_uniform._writing import written_whole
from align_uniform.recipes.encoders.checkpoints import dump, read_checkpoint

LAST, BEFORE = "checkpoint.pt", "checkpoint.before.pt"


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; the last one stays until this one is whole, and then as the one before."""
    last = folder / LAST
    with written_whole(last) as partial:
        dump(dict(state), partial)
        if last.exists():
            last.replace(folder / BEFORE)


def load(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the contents of the last checkpoint that can be read, or None if there is none.

    Raises:
        ValueError: there are checkpoints, and none can be read.
    """
    reasons = []
    for path in (folder / LAST, folder / BEFORE):
        if not path.exists():
            continue
        try:
            state: dict[str, Any] = read_checkpoint(path, device)
        except ValueError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            sys.stderr.write(f"{reason} The one before it, {path.name}, is used.\n")
        return state
    if reasons:
        raise ValueError(f"{reasons[0]} Remove the checkpoints of {folder} to start again.")
    return None


def check_same(kept: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to resume a run with other options or images than it began with."""
    changed = [name for name in now if kept.get(name) != now[name]]
    if changed:
        differences = ", ".join(f"{name} was {kept.get(name)!r} and is {now[name]!r}" for name in changed)
        raise ValueError(
            f"{folder} holds a run with other options or images: {differences}. Restore them, or choose "
            "another folder with --out."
        )
