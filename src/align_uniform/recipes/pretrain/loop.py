"""The training loop of all recipes: on one device or under torchrun, resumable at every batch.

A recipe brings a model whose forward pass, from two views, is its loss and the terms of the loss; the rest is
here. Under torchrun each process takes its share of every batch, and DistributedDataParallel averages the
gradients.

During training the folder of a run has `checkpoint.pt`, the checkpoint before it, and `log.jsonl`.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from align_uniform import _ranks as ranks
from align_uniform import sphere
from align_uniform._messages import counted
from align_uniform._progress import Progress, progress_bar
from align_uniform.recipes.devices import device
from align_uniform.recipes.images.batches import Drafting, Drafts, render
from align_uniform.recipes.images.loader import ImageLoader
from align_uniform.recipes.images.sampler import GlobalBatchSampler
from align_uniform.recipes.images.views import TwoViews
from align_uniform.recipes.images.workers import LostWorkerError
from align_uniform.recipes.pretrain import state as state_files
from align_uniform.recipes.pretrain.log import FILE, Line, Log, Meter, in_words, open_log, read_log
from align_uniform.recipes.pretrain.options import PretrainOptions

COLLAPSED = -0.05
"""Uniformity above this value is that of features that are nearly all the same."""


@dataclass
class Trainer:
    """One run of a recipe."""

    options: PretrainOptions
    model: nn.Module
    """The model: forward(x, y) returns a dict of scalars, "loss", "align", "uniform" and others to log."""
    views: TwoViews
    """The images to train on, each as two views."""
    evaluate: Callable[[], Mapping[str, float]]
    """The evaluation, called every few epochs on all processes."""
    drop_last: bool = False
    """Leave out the last batch of an epoch if it is smaller than the others."""
    on_epoch: Callable[[Trainer], None] | None = None
    """A function that is called after every epoch on all processes, before the state is saved."""
    epoch: int = 0
    """The number of epochs that are done."""
    batch: int = 0
    """The number of batches that are done in the epoch after these."""
    so_far: Meter = field(default_factory=Meter)
    """The means over these batches."""
    lately: Meter = field(default_factory=Meter)
    """The means over those of them that no line of the log has yet."""
    stopped: int | None = None
    """The number of the signal that stopped the run early; 0 if it stopped after options.steps."""
    history: list[Line] = field(default_factory=list)
    """The lines of the log."""
    warned: int = -1
    """The last epoch in which a collapse was warned of, -1 for none."""

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
                "all processes must resume from one checkpoint, but theirs are of epoch and batch "
                f"{sorted(places)}; --out must be a folder that all machines share, got {self.folder}."
            )

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.options.folder

    @property
    def batches_done(self) -> int:
        """The number of batches that are done in all epochs."""
        return self.epoch * self.sampler.batches + self.batch

    # ----------------------------------------------------------------------------------------------- the loop

    def run(self) -> int:
        """Train to the end, or until a signal; return 0, or 128 plus the number of the signal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        distributed, loader = self.distributed(), self._loader()
        with _signals(self._stop), self._progress() as progress, self._log() as log, self._saved():
            self._stop_if_enough()
            # A run may have been interrupted between an epoch and its evaluation.
            self._evaluate_if_due(progress, log)
            while self.epoch < self.options.epochs and not self._all_stopped():
                self.sampler.set_epoch(self.epoch, self.batch)
                self._epoch(distributed, loader, progress, log)
                if self._all_stopped():
                    break
                self.epoch, self.batch, self.so_far = self.epoch + 1, 0, Meter()
                if self.on_epoch is not None:
                    self.on_epoch(self)
                self.save()
                self._evaluate_if_due(progress, log)
        return 128 + self.stopped if self.stopped else 0

    def _evaluate_if_due(self, progress: Progress, log: Log) -> None:
        every, last = self.options.evaluate_every, self.epoch == self.options.epochs
        is_due = self.epoch > 0 and self.batch == 0 and (last or (every > 0 and self.epoch % every == 0))
        if is_due and not (self.history and "evaluation" in self.history[-1]):
            found = self.evaluate()
            self._write(log, {"evaluation": True, "epoch": self.epoch, **found})
            if not last:  # the numbers of the last evaluation are said at the end of the run
                progress.say(f"after epoch {self.epoch} of {self.options.epochs}: {in_words(found)}")

    def _epoch(self, model: nn.Module, loader: DataLoader[Any], progress: Progress, log: Log) -> None:
        """Train for one epoch, or for the rest of one."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr_at(self.epoch)
        self.so_far, self.lately = self.so_far.timed_anew(), self.lately.timed_anew()
        began = time.perf_counter()
        for batch in loader:
            x, y = self._views_in(batch)
            waited = time.perf_counter() - began
            losses = self.step(model, x, y)
            self._count(losses, 2 * len(x) * ranks.world_size(), waited, progress, log)
            self._stop_if_enough()
            if self._all_stopped():
                return
            began = time.perf_counter()

    def _count(
        self, losses: Mapping[str, float], views: int, waited: float, progress: Progress, log: Log
    ) -> None:
        """Count a batch, show the means, and log them where a line is due."""
        self.batch += 1
        for meter in (self.so_far, self.lately):
            meter.add(losses, views, waited)
        text, is_last = f"epoch {self.epoch + 1} of {self.options.epochs}", self.batch == self.sampler.batches
        progress(1, f"{text}, loss {self.so_far.means()['loss']:.4f}")
        if is_last or self.batch % self.options.log_every == 0:
            whole = {"epoch_loss": self.so_far.means()["loss"]} if is_last else {}
            self._report(log, self.lately.means() | whole)
            self.lately = Meter()
        if is_last:
            progress.say(f"{text}, {self.so_far}, {progress.left} left")

    def _views_in(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the two views of the images of a batch, made here if the loader did not make them."""
        if isinstance(batch, Drafts):
            return render(batch, self.views.transform, self.device)
        x, y, _ = batch
        return x, y

    def step(self, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        """Take one step: forward, backward and the optimiser; return the losses of the batch."""
        layout = torch.channels_last if self.options.channels_last else torch.preserve_format
        x, y = (view.to(self.device, non_blocking=True, memory_format=layout) for view in (x, y))
        with self.autocast():
            losses: dict[str, Tensor] = model(x, y)
        self.optimizer.zero_grad()
        self.scaler.scale(losses["loss"]).backward()
        numbers = means_over_ranks(losses)
        if not math.isfinite(numbers["loss"]):
            has_state = (self.folder / state_files.LAST).exists()
            kept = f"; {self.folder} has the checkpoint from before" if has_state else ""
            raise ValueError(
                f"the loss is {numbers['loss']} after {counted(self.batch, 'batch', 'batches')} of epoch "
                f"{self.epoch + 1}: most often the learning rate, {self.options.lr:g}, is too high, or the "
                f"precision, {self.options.precision}, too low{kept}."
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return numbers

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the precision of the options."""
        if self.options.precision == "fp32":
            return nullcontext()
        return torch.autocast(
            self.device.type, torch.bfloat16 if self.options.precision == "bf16" else torch.float16
        )

    def distributed(self) -> nn.Module:
        """Return the model, compiled if that is asked for, as one of several processes calls it."""
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
        workers = self.options.loading_processes
        drafting = Drafting(self.views) if self.options.augment_on == "device" else None
        return ImageLoader(
            drafting or self.views,
            collate_fn=drafting.collate if drafting else None,
            batch_sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            # A generator of its own: otherwise a resumed run would draw one number too many.
            generator=torch.Generator().manual_seed(self.options.seed),
        )

    # ---------------------------------------------------------------------------------------------- the state

    def save(self) -> None:
        """Write the whole state, from which a run resumes as if it had never stopped."""
        if ranks.rank() != 0:
            return
        state = {
            "options": self._course(),
            "epoch": self.epoch,
            "batch": self.batch,
            "so_far": self.so_far.kept(),
            "lately": self.lately.kept(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "history": len(self.history),
        }
        state_files.save(self.folder, state)

    @contextmanager
    def _saved(self) -> Iterator[None]:
        """Save the state at the end, also at the loss of a process that makes views, between two batches."""
        try:
            yield
        except LostWorkerError:
            self.save()
            raise
        self.save()

    def _resume(self) -> None:
        """Restore the state of the folder's checkpoint, if there is one."""
        state = state_files.load(self.folder, self.device)
        if state is None:
            return
        if self.options.resume == "never":
            raise ValueError(
                f"{self.folder} has a run already; use --resume auto to resume it, or choose another folder "
                "with --out."
            )
        state_files.check_same(state["options"], self._course(), self.folder)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"].cpu())
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.so_far, self.lately = Meter(**state["so_far"]), Meter(**state["lately"])
        self.history = read_log(self.folder)[: state["history"]]
        if (lost := state["history"] - len(self.history)) and ranks.rank() == 0:
            sys.stderr.write(
                f"{self.folder / FILE} lacks the last {counted(lost, 'line')} before the checkpoint.\n"
            )

    def _course(self) -> dict[str, Any]:
        """Return all that changes what is learned: the options, the images' number and their statistics."""
        mean, std = self.views.transform.statistics
        images = {"images": len(self.views), "mean": list(mean), "std": list(std)}
        return self.options.course() | images

    # ------------------------------------------------------------------------------------ the log and the bar

    def _report(self, log: Log, means: Mapping[str, float]) -> None:
        """Write a line of the log, and warn if the features collapse."""
        lr = self.optimizer.param_groups[0]["lr"]
        line = {"epoch": self.epoch + 1, "batch": self.batch, "lr": lr, **means}
        dimension = sphere.equivalent_dim(means["uniform"], self.options.uniform_t)
        line["equivalent_dim"] = dimension if math.isfinite(dimension) else None
        self._write(log, line)
        had_time = self.epoch > 0 or self.batch >= 100  # the features of an untrained encoder are alike, too
        if means["uniform"] > COLLAPSED and had_time and self.warned < self.epoch and ranks.rank() == 0:
            self.warned = self.epoch
            sys.stderr.write(
                f"The features have collapsed: uniformity is {means['uniform']:.3f}, where 0 is one point. "
                f"Most often the weight of uniformity is too low, or the learning rate too high.\n"
            )

    def _write(self, log: Log, line: Line) -> None:
        self.history.append(line)
        log.write(line, self.batches_done)

    def _log(self) -> AbstractContextManager[Log]:
        """Open the log on the first process."""
        if ranks.rank() != 0:
            return nullcontext(Log())
        return open_log(
            self.folder, self.history, tensorboard=self.options.tensorboard, step=self.batches_done
        )

    def _progress(self) -> AbstractContextManager[Progress]:
        total = self.options.epochs * self.sampler.batches
        return progress_bar("", total, shown=ranks.rank() == 0, done=self.batches_done)

    # ----------------------------------------------------------------------------------------------- stopping

    def _stop_if_enough(self) -> None:
        if self.options.steps is not None and self.batches_done >= self.options.steps:
            self._stop(0)

    def _stop(self, number: int) -> None:
        self.stopped = number

    def _all_stopped(self) -> bool:
        """Return whether any process was told to stop; all must know, or the others would wait for it."""
        if ranks.world_size() > 1:
            told = torch.tensor([-1 if self.stopped is None else self.stopped], device=self.device)
            heard = max(int(number) for number in ranks.gather(told.unsqueeze(1).float()).rows)
            self.stopped = None if heard < 0 else heard
        return self.stopped is not None


def means_over_ranks(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the means of losses over all processes.

    Losses of the whole batch are the same on all processes; losses of each process's own images are not.
    """
    total = ranks.add_over_ranks_(torch.stack([value.detach() for value in losses.values()]))
    return dict(zip(losses, (total / ranks.world_size()).tolist(), strict=True))


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
