"""Progress of long work on stderr: a bar on a terminal, and elsewhere a line every so often."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from align_uniform._extras import needs

SURE = 3.0
"""Seconds after which the speed so far tells how long the work will take."""

EVERY = 30.0
"""Seconds between two lines where stderr is no terminal."""


@dataclass
class Progress:
    """The progress of some work: call it with the amount of work that was done since the last call."""

    text: str
    """A description of what is done at present."""
    total: int
    """The amount of all work."""
    shown: bool = True
    """Whether anything is written."""
    done: int = 0
    """The amount of work that is done; work done before, by a run that is resumed, included."""
    bar: Any = None
    """The bar of rich on a terminal."""
    hint: Callable[[float], str | None] | None = None
    """The line to say about work that takes so many seconds; it is asked for once, when that is known."""

    def __post_init__(self) -> None:
        self._before = self.done
        self._began = self._spoke = time.monotonic()

    def __call__(self, amount: int = 1, text: str | None = None) -> None:
        """Advance by an amount of work, and describe what is done from now on."""
        self.done += amount
        self.text = self.text if text is None else text
        if self.hint is not None and self.shown and time.monotonic() - self._began >= SURE:
            (hint, self.hint), spent = (self.hint, None), time.monotonic() - self._began
            if (words := hint(spent + self.left.total_seconds())) is not None:
                self.say(words)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], advance=amount, description=self.text)
        elif self.shown and time.monotonic() - self._spoke >= EVERY:
            share = self.done / max(self.total, 1)
            self.say(f"{self.text}: {share:.0%} done, {self.left} left")

    def say(self, line: str) -> None:
        """Write a line that stays, above the bar if there is one."""
        if self.bar is not None:
            self.bar.console.print(line, markup=False, highlight=False)
        elif self.shown:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        self._spoke = time.monotonic()

    @property
    def left(self) -> timedelta:
        """The time that the rest will take at the speed so far."""
        done = max(self.done - self._before, 1)
        return timedelta(
            seconds=round((time.monotonic() - self._began) / done * max(self.total - self.done, 0))
        )


@contextmanager
def progress_bar(description: str, total: int, *, shown: bool, done: int = 0) -> Iterator[Progress]:
    """Yield a function to call with the amount of work done since the last call.

    Args:
        description: the text in front of the bar, which a call may change.
        total: the amount of all work.
        shown: whether anything is written.
        done: the amount that is done already, by a run that is resumed.
    """
    progress = Progress(description, total, shown, done)
    if not shown or not sys.stderr.isatty():
        yield progress
        return
    with needs("cli"):
        from rich import progress as columns
        from rich.console import Console

    with columns.Progress(
        columns.TextColumn("{task.description}", markup=False),
        columns.BarColumn(),
        columns.TaskProgressColumn(),
        columns.TimeElapsedColumn(),
        columns.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        bar.add_task(description, total=total, completed=done)
        progress.bar = bar
        yield progress
