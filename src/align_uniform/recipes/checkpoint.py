"""The state of a run on disk: written whole, the one before it kept, loaded without executing anything in it."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from align_uniform._writing import written_whole

LAST, BEFORE = "checkpoint.pt", "checkpoint.before.pt"

PREFIX = "module."
"""Before each name of the reference's state dict."""


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state; the last one stays until this one is whole, and then as the one before."""
    last = folder / LAST
    with written_whole(last) as partial:
        torch.save(dict(state), partial)
        if last.exists():
            last.replace(folder / BEFORE)


def load(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The last state that can be read, None if there never was one.

    Raises:
        ValueError: there are files, and none can be read.
    """
    reasons = []
    for path in (folder / LAST, folder / BEFORE):
        if not path.exists():
            continue
        try:
            state: dict[str, Any] = read(path, device)
        except ValueError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            sys.stderr.write(f"{reason} The one before it, {path.name}, is taken.\n")
        return state
    if reasons:
        raise ValueError(f"{reasons[0]} Remove the checkpoints of {folder} to begin anew.")
    return None


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `torch.save` wrote, tensors and plain values alone.

    Raises:
        ValueError: the file is torn, is no checkpoint, or holds code.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(f"{path} must be a checkpoint of tensors and plain values; it cannot be read ({reason}).") from error


def check_same(kept: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with other options than a run began with."""
    changed = [name for name in now if kept.get(name) != now[name]]
    if changed:
        differences = ", ".join(f"{name} was {kept.get(name)!r} and is {now[name]!r}" for name in changed)
        raise ValueError(f"{folder} holds a run with other options: {differences}. Restore them, or choose another folder.")
