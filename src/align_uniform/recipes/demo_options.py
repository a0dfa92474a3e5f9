"""The options of the demo, which need nothing but Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo."""

    out: Path = Path("align-uniform-demo")
    """Folder for the figures and results.json."""
    seeds: int = 3
    """Number of encoders that are trained for each objective in 64 dimensions, to show the spread."""
    steps: int = 200
    """Number of batches that each encoder is trained on."""
    force: bool = False
    """Replace the files of an earlier demo in the folder."""

    def __post_init__(self) -> None:
        for name in ("seeds", "steps"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
