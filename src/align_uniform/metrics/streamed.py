"""The parts that the streamed metrics share: their states, and the rows that they take."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._extras import needs
from align_uniform.engine.precision import has_float64

with needs("metrics"):
    from torchmetrics import Metric
    from torchmetrics.utilities.distributed import gather_all_tensors


class Streamed(Metric):
    """The base of all metrics here.

    Every state is a tensor, or a list of tensors, that depends on the rows seen, and none has a gradient.
    """

    full_state_update = False
    is_differentiable = False
    options: tuple[str, ...]
    """The names of the constructor's arguments, which the metric has as attributes."""
    settings: Tensor

    def __init__(self, *settings: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A collection shares one state among metrics whose states are equal after the first batch. This one
        # is equal only if later batches would be treated alike.
        self.add_state("settings", torch.tensor(settings, dtype=torch.float64, device=place()), "max")
        self._stderr = math.nan

    def extra_repr(self) -> str:
        """Return the options, as `repr` shows them."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.options)

    @property
    def compute_with_cache(self) -> bool:
        """Whether to keep the value until the next update, which several processes never do.

        A process that has seen no row since then would return the value that it kept, while the others, which
        have seen some, wait for its state.
        """
        return self._with_cache and not self.distributed_available_fn()

    @compute_with_cache.setter
    def compute_with_cache(self, value: bool) -> None:
        self._with_cache = value

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the rows that another metric with the same settings has seen.

        Args:
            incoming_state: the other metric, or its `metric_state`.

        Raises:
            ValueError: the other is no metric of this class, or has other settings, or has seen rows of
                another number of features.
        """
        state: Any = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        if not isinstance(state, dict) or state.keys() != self._defaults.keys():
            raise ValueError(
                f"only another {type(self).__name__}, or its metric_state, can be merged, got "
                f"{type(incoming_state)}."
            )
        if not torch.equal(state["settings"].to(self.settings), self.settings):
            raise ValueError(
                f"both must have the same settings, got {self.settings.tolist()} and "
                f"{state['settings'].tolist()}; construct both with the same arguments."
            )
        self._check_mergeable(state)
        self._reduce_states(state)
        self._update_count += 1
        self._computed = None

    def _check_mergeable(self, state: dict[str, Any]) -> None:
        """Refuse a state with the same settings that cannot be added to this one."""

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the value, or a list of values over time; this needs matplotlib.

        Args:
            val: a value that `compute` or `forward` returned, or a list of values; by default the result of
                `compute`.
            ax: the matplotlib axes to draw into; by default those of a new figure.

        Returns:
            The figure, or None if `ax` was given, and the axes.
        """
        return self._plot(val, ax)

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.settings.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> Any:
        """Follow a model to its device, but not into its half precision, which no sum survives."""
        device = fn(self.settings.new_zeros((), dtype=torch.float32)).device  # a cast leaves it where it is
        if not has_float64(device):  # the state stays on the CPU
            self._computed = self._forward_cache = None  # they are float64, and not worth keeping
            exclude_state = tuple(self._defaults)
        return super()._apply(lambda z: z.to(device), exclude_state)


def place() -> torch.device:
    """Return the device of new states: the default device, or the CPU where that has no float64."""
    device = torch.get_default_device()
    return device if device.type != "meta" and has_float64(device) else torch.device("cpu")


class StreamedRows(Streamed):
    """The base of the metrics whose state has the width of the rows.

    A process that has seen no row learns the width from the others.

    Example:
        >>> import torch
        >>> from align_uniform.metrics import RankMe
        >>> metric = RankMe()
        >>> for batch in torch.randn(4, 64, 16, generator=torch.Generator().manual_seed(0)):
        ...     metric.update(batch)
        >>> round(float(metric.compute()), 1)
        15.9
    """

    normalize: bool
    """Whether rows are divided by their norms."""

    def update(self, x: Tensor) -> None:
        """Add rows.

        Args:
            x: the features, [..., N, m]; all rows belong to one population, and N may be 0.

        Raises:
            ValueError: the shape or the dtype is wrong, or a row is NaN, infinite, or zero with `normalize`.
        """
        checks.check_features("x", x)
        rows = measurable("x", x, self.normalize)
        self._check_width(rows)
        self._add(rows)

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Gather the states of all processes, as torchmetrics does; some of them may have seen no row."""
        is_distributed = distributed_available or self.distributed_available_fn
        if should_sync and not self._is_synced and is_distributed():
            gather = dist_sync_fn or gather_all_tensors
            own = torch.tensor(self._shape(), device=self.settings.device)
            shapes = torch.stack(gather(own, group=process_group or self.process_group))
            widths = shapes[:, 0][shapes[:, 0] > 0].unique().tolist()
            if len(widths) > 1:
                raise ValueError(
                    f"x must have one number of features on all processes, got {widths}; give all the same "
                    "model."
                )
            if widths:
                self._take_shape(widths[0], is_wide=bool(shapes[:, 1].any()))
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    @abstractmethod
    def _add(self, rows: Tensor) -> None:
        """Add rows that are checked, [N, m], to the state."""

    @staticmethod
    @abstractmethod
    def _shape_of(state: Mapping[str, Any]) -> tuple[int, bool]:
        """Return the number of features, 0 before the first rows, and whether any row is float64."""

    def _shape(self) -> tuple[int, bool]:
        """Return the shape of the own state."""
        return self._shape_of(self.metric_state)

    def _check_mergeable(self, state: dict[str, Any]) -> None:
        (width, _), (other, _) = self._shape(), self._shape_of(state)
        if width and other and width != other:
            raise ValueError(
                f"both must have seen rows of one number of features, got {width:,} and {other:,}; merge the "
                "metrics of one encoder."
            )

    @abstractmethod
    def _take_shape(self, width: int, *, is_wide: bool) -> None:
        """Bring the state into a shape that all processes share, without a change to any row."""

    def _check_width(self, rows: Tensor) -> None:
        width, _ = self._shape()
        if width and rows.shape[1] != width:
            raise ValueError(
                f"x must have the {width} features of the rows before, got shape {list(rows.shape)}; "
                f"reset the metric, or use another one for other features."
            )


def measurable(name: str, x: Tensor, normalize: bool) -> Tensor:
    """Return the rows as they were given, [N, m], in float32 or float64.

    Raises:
        ValueError: a row is NaN or infinite, or is zero with `normalize`.
    """
    rows = x.detach().reshape(-1, x.shape[-1])
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    checks.refuse_not_finite(name, _numbers(~rows.isfinite().all(1)), len(rows))
    if normalize:
        checks.refuse_zero(name, _numbers((rows == 0).all(1)), len(rows))
    return rows


def _numbers(chosen: Tensor) -> list[int]:
    numbers: list[int] = chosen.nonzero().squeeze(1).tolist()
    return numbers
