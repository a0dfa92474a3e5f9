"""A callback for the trainers of transformers, which those of sentence-transformers are too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from align_uniform import _ranks as ranks
from align_uniform._extras import needs
from align_uniform.integrations.online import OnlineUniformity
from align_uniform.measuring.measure import measure
from align_uniform.measuring.measurement import Measurement

with needs("transformers"):
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["AlignUniformCallback"]


class AlignUniformCallback(TrainerCallback):
    """Alignment and uniformity of the model at each evaluation, and of the last steps at each log.

    After an evaluation, all numbers of `measure` join the trainer's metrics as `eval_align`, `eval_uniform`,
    `eval_uniform.gap` and so on: `trainer.evaluate()` returns them, and `metric_for_best_model="uniform"`
    with `greater_is_better=False` takes them. Where `online` is given, the uniformity of its window is logged
    with the trainer's own numbers, as `train_uniform`, `train_uniform.stderr` and `train_uniform.gap`.

    Every process embeds the rows, as sharded models need; the numbers are those of the first.

    Args:
        encode: a function from the model to its embeddings, as `measure` takes them: x, or a tuple of the two
            views. It is called without gradients and in eval mode; None for no evaluation.
        online: a window that the training step, or one of our losses for sentence-transformers, updates.
        log: the trainer's `log`, so that W&B, TensorBoard and others get the numbers; by default they are
            written into `trainer.state.log_history` alone.
        **options: more arguments of `measure`, such as `labels` or `t`.

    Example:
        >>> from align_uniform.integrations.transformers import AlignUniformCallback
        >>> def encode(model):
        ...     return embed(model, first_texts), embed(model, second_texts)
        >>> trainer.add_callback(AlignUniformCallback(encode, log=trainer.log))  # doctest: +SKIP
    """

    def __init__(
        self,
        encode: Callable[[nn.Module], Any] | None = None,
        *,
        online: OnlineUniformity | None = None,
        log: Callable[[dict[str, float]], None] | None = None,
        **options: Any,
    ) -> None:
        self.encode, self.online, self.log, self.options = encode, online, log, options
        self.measurement: Measurement | None = None
        """The measurement of the last evaluation."""
        self._is_training = False
        self._measured: tuple[int, dict[str, float]] | None = None

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002  # every callback gets them
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        model: nn.Module | None = None,
        **kwargs: Any,  # noqa: ARG002  # every callback gets more
    ) -> None:
        """Measure the model, and add the numbers to the metrics."""
        if self.encode is None or model is None:
            return
        step, numbers = self._measured or (-1, {})
        if not self._is_training or step != state.global_step:  # several data sets are evaluated at one step
            numbers = self._measure(model)
            self._measured = state.global_step, numbers
            self._record(state, control, numbers)
        if metrics is not None:
            metrics.update(numbers)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Take note that steps tell models apart."""
        self._is_training, self._measured = True, None

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Take note that the model may change without a step, as when the best one is loaded."""
        self._is_training = False

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002  # every callback gets them
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ARG002  # every callback gets more
    ) -> None:
        """Log the uniformity of the last steps, where the trainer logs."""
        if self.online is not None and control.should_log and state.is_world_process_zero:
            self._record(state, control, self.online.scalars("train_"))

    def _measure(self, model: nn.Module) -> dict[str, float]:
        """Return the numbers of the model."""
        assert self.encode is not None
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                features = self.encode(model)
        finally:
            model.train(was_training)
        views = features if isinstance(features, tuple) else (features,)
        self.measurement = measure(*views, **self.options)
        return ranks.gather_objects(self.measurement.scalars("eval_"))[0]

    def _record(self, state: TrainerState, control: TrainerControl, numbers: dict[str, float]) -> None:
        if self.log is None:
            state.log_history.append({**numbers, "epoch": state.epoch, "step": state.global_step})
            return
        should_log = control.should_log
        self.log(dict(numbers))  # which takes the trainer's own log for written
        control.should_log = should_log
