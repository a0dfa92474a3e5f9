"""The loop that all recipes train in: on one device or under torchrun, resumable at every batch, seen while
it runs.

A recipe brings a model whose forward pass, from two views, is its loss and the terms of it; all else is here.
Launched by torchrun, each process takes its share of every batch, and DistributedDataParallel averages the
gradients.

What a run leaves in its folder: `checkpoint.pt` (and the one before), `log.jsonl`, a line every few batches
and one for every evaluation, and at the end what the recipe exports.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from align_uniform import _ranks as ranks
from align_uniform import sphere
from align_uniform._writing import written_whole
from align_uniform.recipes.devices import device
from align_uniform.recipes.images.sampler import GlobalBatchSampler
from align_uniform.recipes.images.views import TwoViews
from align_uniform.recipes.images.workers import outlive_signals
from align_uniform.recipes.pretrain import state as state_files
from align_uniform.recipes.pretrain.options import PretrainOptions

COLLAPSED = -0.05
"""Uniformity above this is that of features that are nearly all the same."""


@dataclass
class Trainer:
    """One run of a recipe."""

    options: PretrainOptions
    folder: Path
    model: nn.Module
    """forward(x, y) -> a dict of scalars: "loss", "align", "uniform", and what else is worth a line in the
    log
    """
    views: TwoViews
    dim: int
    """of the outputs"""
    t: float
    """of the uniformity in the log"""
    evaluate: Callable[[], Mapping[str, float]]
    """called every few epochs, on all processes"""
    drop_last: bool = False
    on_epoch: Callable[[Trainer], None] | None = None
    """called after every epoch, before the state is saved, on all processes"""
    epoch: int = 0
    batch: int = 0
    """of the epoch, the next to come"""
    stopped: int | None = None
    """the signal that ended the run early"""
    history: list[dict[str, Any]] = field(default_factory=list)
    """the lines of the log"""
    collapse_told: int = -1
    """the last epoch whose collapse was told, -1 for none"""

    def __post_init__(self) -> None:
        options = self.options
        self.device = device(options.device)
        self.model.to(self.device)
        if options.channels_last:
            self.model.to(memory_format=torch.channels_last)
        parameters = list(self.model.parameters())
        self.optimizer = torch.optim.SGD(
            parameters, options.lr, momentum=options.momentum, weight_decay=options.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "fp16")
        self.sampler = GlobalBatchSampler(
            len(self.views), options.batch_size,
            rank=ranks.rank(), world=ranks.world_size(), seed=options.seed, drop_last=self.drop_last,
        )  # fmt: skip
        self._resume()
        if len(places := set(ranks.gather_objects((self.epoch, self.batch)))) > 1:
            raise ValueError(
                "all processes must go on from one checkpoint, but theirs are of epoch and batch "
                f"{sorted(places)}; --out must be a folder that all machines share, got {self.folder}."
            )

    # ----------------------------------------------------------------------------------------------- the loop

    def run(self) -> int:
        """Train to the end, or until a signal; return 0, or 128 and the signal's number."""
        distributed = self._distributed()
        loader = self._loader()
        with _signals(self._stop), self._progress() as advance, self._log() as log:
            self._stop_if_enough()
            self._evaluate_if_due(log)  # an interruption may have come between an epoch and its evaluation
            while self.epoch < self.options.epochs and not self._all_stopped():
                self.sampler.set_epoch(self.epoch, self.batch)
                self._epoch(distributed, loader, advance, log)
                if self._all_stopped():
                    break
                self.epoch, self.batch = self.epoch + 1, 0
                if self.on_epoch is not None:
                    self.on_epoch(self)
                self.save()
                self._evaluate_if_due(log)
            self.save()
        return 128 + self.stopped if self.stopped else 0

    def _evaluate_if_due(self, log: _Log | None) -> None:
        every, last = self.options.evaluate_every, self.epoch == self.options.epochs
        is_due = self.epoch > 0 and self.batch == 0 and (last or (every > 0 and self.epoch % every == 0))
        if is_due and not (self.history and "evaluation" in self.history[-1]):
            self._write(log, {"evaluation": True, "epoch": self.epoch, **self.evaluate()})

    def _epoch(
        self, model: nn.Module, loader: DataLoader[Any], advance: Callable[[str], None], log: _Log | None
    ) -> None:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr_at(self.epoch)
        meter = _Meter()
        began = time.perf_counter()
        for x, y, _ in loader:
            meter.waited += time.perf_counter() - began
            losses = self._step(model, x, y)
            self.batch += 1
            meter.add(losses, 2 * len(x) * ranks.world_size())
            advance(f"epoch {self.epoch + 1} of {self.options.epochs}, loss {losses['loss']:.4f}, {meter}")
            if self.batch % self.options.log_every == 0 or self.batch == self.sampler.batches:
                self._report(log, meter)
                meter = _Meter()
            self._stop_if_enough()
            if self._all_stopped():
                return
            began = time.perf_counter()

    def _step(self, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        """One batch: forward, backward, and a step of the optimiser."""
        layout = torch.channels_last if self.options.channels_last else torch.preserve_format
        x, y = (view.to(self.device, non_blocking=True, memory_format=layout) for view in (x, y))
        with self._autocast():
            losses: dict[str, Tensor] = model(x, y)
        self.optimizer.zero_grad()
        self.scaler.scale(losses["loss"]).backward()
        numbers = _means_over_ranks(losses)
        if not math.isfinite(numbers["loss"]):
            kept = (
                f"; {self.folder} has the checkpoint of before"
                if (self.folder / state_files.LAST).exists()
                else ""
            )
            raise ValueError(
                f"the loss is {numbers['loss']} in batch {self.batch} of epoch {self.epoch}: most often the "
                f"learning rate, {self.options.lr:g}, is too high, or the precision, "
                f"{self.options.precision}, too low{kept}."
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return numbers

    def _autocast(self) -> AbstractContextManager[object]:
        if self.options.precision == "fp32":
            return nullcontext()
        return torch.autocast(
            self.device.type, torch.bfloat16 if self.options.precision == "bf16" else torch.float16
        )

    def _distributed(self) -> nn.Module:
        if self.options.compile:
            for name, child in self.model.named_children():
                if name.startswith("encoder"):
                    child.compile()
        if ranks.world_size() == 1:
            return self.model
        return DistributedDataParallel(
            self.model, device_ids=[self.device.index] if self.device.type == "cuda" else None
        )

    def _loader(self) -> DataLoader[Any]:
        return DataLoader(
            self.views,
            batch_sampler=self.sampler,
            num_workers=self.options.loading_processes,
            persistent_workers=self.options.loading_processes > 0,
            worker_init_fn=outlive_signals,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(
                self.options.seed
            ),  # or a resumed run would draw one number too many
        )

    # ---------------------------------------------------------------------------------------------- the state

    def save(self) -> None:
        """Write everything that it takes to go on as if nothing had been."""
        if ranks.rank() != 0:
            return
        state = {
            "options": self._course(),
            "epoch": self.epoch,
            "batch": self.batch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "history": len(self.history),
        }
        state_files.save(self.folder, state)

    def _resume(self) -> None:
        state = state_files.load(self.folder, self.device)
        if state is None:
            return
        if self.options.resume == "never":
            raise ValueError(
                f"{self.folder} holds a run already; use --resume auto to go on with it, or another folder."
            )
        state_files.check_same(state["options"], self._course(), self.folder)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"].cpu())
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.history = read_log(self.folder)[: state["history"]]
        if (lost := state["history"] - len(self.history)) and ranks.rank() == 0:
            sys.stderr.write(
                f"{self.folder / 'log.jsonl'} lacks the last {lost} lines that the checkpoint knows of.\n"
            )

    def _course(self) -> dict[str, Any]:
        """All that changes what is learned; measured statistics are as much an option as given ones."""
        mean, std = self.views.transform.statistics
        return self.options.course() | {"mean": list(mean), "std": list(std)}

    # --------------------------------------------------------------------------------------------- being seen

    def _report(self, log: _Log | None, meter: _Meter) -> None:
        """A line of the log, and a warning if the features collapse."""
        means = meter.means()
        line = {"epoch": self.epoch, "batch": self.batch, "lr": self.optimizer.param_groups[0]["lr"], **means}
        dimension = sphere.equivalent_dim(means["uniform"], self.t)
        line["equivalent_dim"] = dimension if math.isfinite(dimension) else None
        self._write(log, line)
        had_time = (
            self.epoch > 0 or self.batch >= 100
        )  # features of an untrained encoder are nearly the same, too
        if (
            means["uniform"] > COLLAPSED
            and had_time
            and self.collapse_told < self.epoch
            and ranks.rank() == 0
        ):
            self.collapse_told = self.epoch
            sys.stderr.write(
                f"The features have collapsed: uniformity is {means['uniform']:.3f}, where 0 is one point. "
                f"Most often the weight of uniformity is too low, or the learning rate too high.\n"
            )

    def _write(self, log: _Log | None, line: dict[str, Any]) -> None:
        self.history.append(line)
        if log is not None:
            log.write(line, self._batches_done())

    @contextmanager
    def _log(self) -> Iterator[_Log | None]:
        """The log of the first process, cut back to what the checkpoint knows of."""
        if ranks.rank() != 0:
            yield None
            return
        path = self.folder / "log.jsonl"
        with written_whole(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in self.history), encoding="utf-8")
        with path.open("a", encoding="utf-8") as lines, self._board() as board:
            yield _Log(lines, board)

    @contextmanager
    def _board(self) -> Iterator[Any]:
        """TensorBoard's writer, if that is asked for; of what an earlier run wrote after its checkpoint it
        shows nothing.
        """
        if not self.options.tensorboard:
            yield None
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise ValueError("tensorboard is missing; run: pip install tensorboard") from error
        with SummaryWriter(str(self.folder), purge_step=self._batches_done() + 1) as board:
            yield board

    @contextmanager
    def _progress(self) -> Iterator[Callable[[str], None]]:
        if ranks.rank() != 0:
            yield lambda _: None
            return
        if not sys.stderr.isatty():
            yield self._tell_each_epoch(time.perf_counter(), self._batches_done())
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            total = self.options.epochs * self.sampler.batches
            task = progress.add_task("", total=total, completed=self._batches_done())
            yield lambda text: progress.update(task, advance=1, description=text)

    def _tell_each_epoch(self, began: float, before: int) -> Callable[[str], None]:
        """What to call after each batch where a bar would be of no use: in the log of a batch system."""

        def tell(text: str) -> None:
            if self.batch == self.sampler.batches:
                a_batch = (time.perf_counter() - began) / (self._batches_done() - before)
                left = timedelta(
                    seconds=round(a_batch * (self.options.epochs - self.epoch - 1) * self.sampler.batches)
                )
                sys.stderr.write(f"{text}, {left} left\n")

        return tell

    def _batches_done(self) -> int:
        return self.epoch * self.sampler.batches + self.batch

    def _stop_if_enough(self) -> None:
        if self.options.steps is not None and self._batches_done() >= self.options.steps:
            self._stop(0)

    def _stop(self, number: int) -> None:
        self.stopped = number

    def _all_stopped(self) -> bool:
        """Whether any process was told to stop: all must know, or the others would wait for it."""
        if ranks.world_size() > 1:
            told = torch.tensor([-1 if self.stopped is None else self.stopped], device=self.device)
            heard = max(int(number) for number in ranks.gather(told.unsqueeze(1).float()).rows)
            self.stopped = None if heard < 0 else heard
        return self.stopped is not None


def _means_over_ranks(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Losses of the whole batch are the same on all processes; those that each computes over its own images
    are averaged.
    """
    means = (
        ranks.add_over_ranks_(torch.stack([value.detach() for value in losses.values()])) / ranks.world_size()
    )
    return dict(zip(losses, means.tolist(), strict=True))


class _Log(NamedTuple):
    """Where the lines go; what is written is there, however the run ends."""

    lines: TextIO
    board: Any
    """TensorBoard's writer, or None"""

    def write(self, line: Mapping[str, Any], step: int) -> None:
        self.lines.write(json.dumps(line) + "\n")
        self.lines.flush()
        if self.board is not None:
            kind = "test" if "evaluation" in line else "train"
            for name, value in line.items():
                if name not in ("epoch", "batch", "evaluation") and value is not None:
                    self.board.add_scalar(f"{kind}/{name}", value, step)
            self.board.flush()


@dataclass
class _Meter:
    """Means over batches, and how fast they came."""

    sums: dict[str, float] = field(default_factory=dict)
    batches: int = 0
    images: int = 0
    waited: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def add(self, losses: Mapping[str, float], images: int) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batches, self.images = self.batches + 1, self.images + images

    def means(self) -> dict[str, float]:
        return {name: total / self.batches for name, total in self.sums.items()} | self.speed()

    def speed(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.began
        return {"views_per_second": self.images / seconds, "waiting": self.waited / seconds}

    def __str__(self) -> str:
        speed = self.speed()
        return f"{speed['views_per_second']:,.0f} views/s, {speed['waiting']:.0%} waiting"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; one that was torn off is left out."""
    path = folder / "log.jsonl"
    texts = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(text) for text in texts if text.endswith("\n")]


@contextmanager
def _signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the run after the batch; a second Ctrl-C ends it at once."""

    def handle(number: int, _: FrameType | None) -> None:
        stop(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    kept = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
