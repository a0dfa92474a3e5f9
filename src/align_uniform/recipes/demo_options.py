"""The options of the demo, which need nothing but Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from align_uniform._options import Options, check_at_least


@dataclass(frozen=True)
class DemoOptions(Options):
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
        super().__post_init__()
        check_at_least(1, seeds=self.seeds, steps=self.steps)
