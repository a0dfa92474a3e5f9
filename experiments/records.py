"""Records of experiments: what all of them keep of a run, and how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from align_uniform._writing import written_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def keep(path: Path, outcomes: Sequence[DataclassInstance], **stated: Any) -> None:
    """Write the outcomes of runs, after what is stated of all of them."""
    document = {"schema_version": 2, **stated, "outcomes": [asdict(each) for each in outcomes]}
    with written_whole(path) as partial:
        partial.write_text(json.dumps(document, indent=1) + "\n")


def kept(path: Path, **stated: Any) -> list[dict[str, Any]]:
    """Return the outcomes of earlier runs with the same stated values; there are none without a file."""
    if not path.exists():
        return []
    held = json.loads(path.read_text())
    for name, value in stated.items():
        if held.get(name) != value:
            raise SystemExit(f"{path} has {held.get(name)!r} as {name}, not {value!r}; choose another --out.")
    found: list[dict[str, Any]] = held["outcomes"]
    return found


def packed(hits: Sequence[bool]) -> str:
    """Return the hits of items, a bit for each, in hexadecimal."""
    return np.packbits(np.array(hits, bool)).tobytes().hex()


def unpacked(text: str) -> NDArray[np.bool_]:
    """Return the hits of items; up to seven more follow if their number is no multiple of eight."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(bool)
