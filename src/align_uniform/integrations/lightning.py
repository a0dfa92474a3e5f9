"""A callback for the trainer of PyTorch Lightning, the package pytorch-lightning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform._extras import needs
from align_uniform.integrations.online import OnlineUniformity

with needs("lightning"):
    from pytorch_lightning import Callback, LightningModule, Trainer

    from align_uniform.metrics import Alignment, RankMe, Uniformity

__all__ = ["AlignUniformCallback"]

TWO_VIEWS = 2


class AlignUniformCallback(Callback):
    """Alignment, uniformity and RankMe of each validation epoch, for modules that are not to be edited.

    The numbers are logged by the module as `val_align`, `val_uniform` and `val_rankme`, with
    `val_align.stderr` and `val_uniform.stderr`, and so they can be monitored. They are those of all batches
    of all processes at once, as `measure` finds them, which no mean over batches is; a process may have no
    batch at all. RankMe is that of the first view. The uniformity of two views is the mean of both, and its
    error the mean of their errors: right where the views are alike, and otherwise too wide.

    Where `online` is given, the uniformity of its window is logged every `log_every_n_steps` of the trainer,
    as `train_uniform`, `train_uniform.stderr` and `train_uniform.gap`.

    Args:
        features: a function from the module and a batch of the validation to the features, [N, m], or to a
            tuple of the two views. It is called without gradients; None for no validation.
        prefix: a text to put before every name.
        alpha: the exponent of the distance in the alignment.
        t: the inverse squared width of the Gaussian in the uniformity.
        normalize: whether to divide rows by their norms.
        max_rows: the number of rows that uniformity is computed from at most; of more it takes a sample.
        dataloader: the number of the validation's dataloader.
        online: a window that the training step updates.

    Example:
        >>> from align_uniform.integrations.lightning import AlignUniformCallback
        >>> callback = AlignUniformCallback(lambda module, batch: (module(batch[0]), module(batch[1])))
        >>> callback.state_key
        "AlignUniformCallback{'prefix': 'val_', 'dataloader': 0}"
    """

    def __init__(
        self,
        features: Callable[[Any, Any], Tensor | tuple[Tensor, Tensor]] | None = None,
        prefix: str = "val_",
        alpha: float = 2,
        t: float = 2,
        normalize: bool = True,
        max_rows: int = 16384,
        dataloader: int = 0,
        online: OnlineUniformity | None = None,
    ) -> None:
        self.features, self.prefix, self.dataloader, self.online = features, prefix, dataloader, online
        self._logged_step: int | None = None
        self.align, self.rankme = Alignment(alpha, normalize), RankMe(normalize)
        self.uniform = [Uniformity(t, normalize, max_rows) for _ in range(TWO_VIEWS)]

    @property
    def state_key(self) -> str:
        """The name in checkpoints, of which each callback of a trainer has its own."""
        return str(self._generate_state_key(prefix=self.prefix, dataloader=self.dataloader))

    def on_validation_epoch_start(
        self,
        trainer: Trainer,  # noqa: ARG002  # every callback gets it
        pl_module: LightningModule,
    ) -> None:
        """Forget the rows of the epoch before, and follow the module to its device."""
        for metric in (self.align, self.rankme, *self.uniform):
            metric.reset()
            metric.to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002  # every callback gets them
        batch: Any,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,
    ) -> None:
        """Add the rows of a batch."""
        if self.features is None or dataloader_idx != self.dataloader or trainer.sanity_checking:
            return
        with torch.no_grad():
            found = self.features(pl_module, batch)
        views = found if isinstance(found, tuple) else (found,)
        for metric, view in zip(self.uniform, views, strict=False):
            metric.update(view)
        self.rankme.update(views[0])
        if len(views) == TWO_VIEWS:
            self.align.update(*views)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the numbers of the epoch."""
        if self.features is None or trainer.sanity_checking:
            return
        has_pairs, *are_seen = self._updated_anywhere(pl_module.device)
        seen = [metric for metric, is_seen in zip(self.uniform, are_seen, strict=True) if is_seen]
        with warnings.catch_warnings():
            if seen:  # by another process, if not by this one
                warnings.filterwarnings("ignore", r".* was called before the ``update`` method")
            values = {"rankme": self.rankme.compute()}
            if has_pairs:
                values |= {"align": self.align.compute(), "align.stderr": self.align.stderr()}
            if seen:
                values["uniform"] = torch.stack([metric.compute() for metric in seen]).mean()
                values["uniform.stderr"] = torch.stack([metric.stderr() for metric in seen]).mean()
        _log(pl_module, {f"{self.prefix}{name}": float(value) for name, value in values.items()})

    def _updated_anywhere(self, device: torch.device) -> list[bool]:
        """Return for alignment, and for the uniformity of each view, whether any process has seen a batch.

        All processes must compute the same metrics: one without a batch has a part in them, too, and without
        it the others would wait for ever.
        """
        updated = [metric.update_called for metric in (self.align, *self.uniform)]
        counts = ranks.add_over_ranks_(torch.tensor(updated, dtype=torch.int64, device=device))
        return [count > 0 for count in counts.tolist()]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002  # every callback gets them
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Log the uniformity of the last steps, where the trainer logs."""
        step = trainer.global_step
        if self.online is None or not trainer.log_every_n_steps or step in (0, self._logged_step):
            return
        if step % trainer.log_every_n_steps == 0:
            self._logged_step = step  # batches whose gradients are accumulated are of one step
            numbers = self.online.scalars("train_")
            # The mean over processes is logged, whose windows are independent.
            numbers["train_uniform.stderr"] /= math.sqrt(trainer.world_size)
            _log(pl_module, numbers)


def _log(module: LightningModule, numbers: dict[str, float]) -> None:
    """Log numbers that are the same on every process, or are a process's own, averaged then."""
    for name, value in numbers.items():
        module.log(name, value, sync_dist=True)
