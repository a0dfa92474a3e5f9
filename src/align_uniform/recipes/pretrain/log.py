"""The log of a run: log.jsonl, the same for TensorBoard, and the means that its lines hold.

A line of training has `epoch` (the first is 1), `batch` (how many batches of the epoch are done), and the
means since the line before it: `loss`, its terms, and the speed. The last one of an epoch also has
`epoch_loss`, the mean over all its batches. A line of an evaluation has `evaluation`,
and the `epoch` after which it was made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from align_uniform._extras import needs
from align_uniform._writing import written_whole

FILE = "log.jsonl"

Line = dict[str, Any]
"""A line of the log."""


class Word(NamedTuple):
    """A number of an evaluation, in words."""

    label: str
    meaning: str
    format: str = ".3f"


WORDS = {
    "align": Word("alignment of two views", "two random views of each image"),
    "uniform_plain": Word("uniformity of plain images", "the images as they are, not their random views"),
    "rankme": Word("RankMe", "the images as they are", ".1f"),
    "knn": Word("5-NN accuracy", "the images as they are, by their nearest training images", ".1%"),
}
"""The numbers of an evaluation, by their names in the log."""


def read_log(folder: Path) -> list[Line]:
    """Return the lines of a run's log; a last line that was not written to its end is left out."""
    path = folder / FILE
    texts = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(text) for text in texts if text.endswith("\n")]


def in_words(evaluation: Mapping[str, Any]) -> str:
    """Return the numbers of an evaluation as a sentence.

    Example:
        >>> in_words({"evaluation": True, "epoch": 20, "align": 0.4381, "uniform_plain": -3.2, "knn": 0.8125})
        'alignment of two views 0.438, uniformity of plain images -3.200, 5-NN accuracy 81.2%'
    """
    return ", ".join(f"{label} {value}" for label, value, _ in spelled(evaluation))


def spelled(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the label, the value and the meaning of each number of an evaluation.

    Example:
        >>> spelled({"evaluation": True, "epoch": 20, "align": 0.4381})
        [('alignment of two views', '0.438', 'two random views of each image')]
    """
    return [
        (word.label, f"{evaluation[name]:{word.format}}", word.meaning)
        for name, word in WORDS.items()
        if name in evaluation
    ]


@dataclass
class Log:
    """The open files of a log. A line that is written is there, however the run ends."""

    lines: TextIO | None = None
    """The file log.jsonl; None on processes other than the first."""
    board: Any = None
    """The writer of TensorBoard, if that is asked for."""

    def write(self, line: Mapping[str, Any], step: int) -> None:
        """Write a line, and its numbers at a step, counted in batches, for TensorBoard."""
        if self.lines is not None:
            self.lines.write(json.dumps(line) + "\n")
            self.lines.flush()
        if self.board is not None:
            kind = "test" if "evaluation" in line else "train"
            for name, value in line.items():
                if name not in ("epoch", "batch", "evaluation") and value is not None:
                    self.board.add_scalar(f"{kind}/{name}", value, step)
            self.board.flush()


@contextmanager
def open_log(folder: Path, history: Sequence[Line], *, tensorboard: bool, step: int) -> Iterator[Log]:
    """Open a run's log, after cutting it back to the lines that the checkpoint knows of.

    Args:
        folder: folder of the run.
        history: the lines to begin with.
        tensorboard: whether to write for TensorBoard, too. Events logged after the last checkpoint of an
            interrupted run are purged.
        step: number of batches that are done.
    """
    path = folder / FILE
    with written_whole(path) as partial:
        partial.write_text("".join(json.dumps(line) + "\n" for line in history), encoding="utf-8")
    with path.open("a", encoding="utf-8") as lines:
        if not tensorboard:
            yield Log(lines)
            return
        with needs("recipes"):
            from torch.utils.tensorboard import SummaryWriter
        with SummaryWriter(str(folder), purge_step=step + 1) as board:
            yield Log(lines, board)


@dataclass
class Meter:
    """Means over batches, and the speed at which the batches came."""

    sums: dict[str, float] = field(default_factory=dict)
    batches: int = 0
    views: int = 0
    waited: float = 0.0
    """Seconds spent waiting for views."""
    began: float = field(default_factory=time.perf_counter)

    def add(self, losses: Mapping[str, float], views: int, waited: float) -> None:
        """Count a batch."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batches, self.views, self.waited = self.batches + 1, self.views + views, self.waited + waited

    def kept(self) -> dict[str, Any]:
        """Return what outlasts the process: the sums and their number, without the time."""
        return {"sums": dict(self.sums), "batches": self.batches}

    def timed_anew(self) -> Meter:
        """Return a meter that goes on with these means and times the batches from now on."""
        return Meter(**self.kept())

    def means(self) -> dict[str, float]:
        """Return the mean of each loss, views a second, and the share of time spent waiting for views."""
        seconds = time.perf_counter() - self.began
        speed = {"views_per_second": self.views / seconds, "waiting": self.waited / seconds}
        return {name: total / self.batches for name, total in self.sums.items()} | speed

    def __str__(self) -> str:
        means = self.means()
        speed = f"{means.pop('views_per_second'):,.0f} views/s, {means.pop('waiting'):.0%} waiting"
        return ", ".join([*(f"{name} {value:.4f}" for name, value in means.items()), speed])
