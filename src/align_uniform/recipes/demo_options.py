"""The options of the demo, which need nothing but Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from align_uniform._apart import Writes
from align_uniform._options import Options, check_at_least


def _files(options: DemoOptions) -> Iterable[Path]:
    from align_uniform.recipes.demo import FILES

    return [options.out / name for name in FILES]


@dataclass(frozen=True)
class DemoOptions(Options):
    """Options of the demo."""

    files: ClassVar[tuple[Writes, ...]] = (Writes("out", _files),)
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
