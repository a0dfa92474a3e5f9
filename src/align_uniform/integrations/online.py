"""Uniformity during training, over the features of the last steps."""

from __future__ import annotations

import math
from collections import deque

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._messages import counted
from align_uniform.measuring.alone import uniformity_of
from align_uniform.measuring.results import Uniformity

LEAST_ROWS = 5
"""The number of rows below which uniformity has no error."""

SCALARS = ("uniform", "uniform.stderr", "uniform.gap")
"""The names of the numbers that loggers get, as in `Measurement.scalars`."""


class OnlineUniformity:
    r"""The uniformity of the features of the last steps of a training, with its error.

    .. math:: L_{uniform}(t) = \log E_{i \neq j}\, e^{-t \lVert x_i - x_j \rVert^2}

    The mean is over all pairs of rows of the window, across batches as well as within them. The value of a
    single batch has a large error, and a batch whose items resemble each other, as those of one document do,
    has a value far from that of the set; averages of such values keep that bias. Several views of the same
    items are averaged, as in the losses; `compute` equals the `uniform` of `measure(views)` on the rows of
    the window.

    Rows of earlier steps are those of an earlier encoder, so choose a window in which the encoder changes
    little, and shorter than an epoch, or the same item counts as two. Every process has a window of its own.
    The rows stay on their device, without their gradient: max_rows x m numbers for each view.

    Args:
        t: the inverse squared width of the Gaussian, above 0.
        steps: the number of last steps in the window.
        max_rows: the number of rows that the window may have; the oldest steps beyond it are dropped. Each
            `compute` takes O(rows^2 m) time.
        normalize: whether to divide rows by their norms, as `measure` does.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> import torch
        >>> from align_uniform.integrations.online import OnlineUniformity
        >>> online = OnlineUniformity(steps=20)
        >>> for step in range(100):
        ...     features = torch.randn(32, 16, generator=torch.Generator().manual_seed(step))
        ...     online.update(features)
        >>> found = online.compute()  # of the last 640 rows
        >>> print(f"{found.value:.3f} ± {found.stderr:.3f}, at best {found.optimum:.3f}")
        -3.516 ± 0.003, at best -3.513

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2.
    """

    def __init__(
        self, t: float = 2, *, steps: int = 64, max_rows: int = 8192, normalize: bool = True
    ) -> None:
        self.t = checks.check_positive("t", t)
        for name, value, least in (("steps", steps, 1), ("max_rows", max_rows, LEAST_ROWS)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        self.max_rows, self.normalize = max_rows, normalize
        self._steps: deque[Tensor] = deque(maxlen=steps)

    def __repr__(self) -> str:
        """Return the settings."""
        return (
            f"OnlineUniformity(t={self.t:g}, steps={self._steps.maxlen}, max_rows={self.max_rows}, "
            f"normalize={self.normalize})"
        )

    def __len__(self) -> int:
        """Return the number of rows in the window."""
        return sum(step.shape[1] for step in self._steps)

    @property
    def width(self) -> int:
        """The number of features of the rows in the window; 0 if it is empty."""
        return self._steps[-1].shape[2] if self._steps else 0

    def update(self, *views: Tensor) -> None:
        """Add the features of a step.

        Args:
            views: the views of the same items, [N, m] each: usually one or two.

        Raises:
            ValueError: the views differ in shape, or the step has other features or another number of views
                than those before it.
        """
        for number, view in enumerate(views):
            checks.check_features(f"view {number}", view)
        shapes = {tuple(view.shape) for view in views}
        if len(shapes) != 1 or views[0].dim() != 2:
            raise ValueError(f"views must be [N, m] of one shape, got {sorted(map(list, shapes))}.")
        step = torch.stack([view.detach() for view in views])
        if self._steps and (len(step), step.shape[2]) != (len(self._steps[-1]), self.width):
            raise ValueError(
                f"a step must have {counted(len(self._steps[-1]), 'view')} of {self.width} features, as the "
                f"steps before it, got {len(step)} of {step.shape[2]}; call reset() first, or use another "
                "OnlineUniformity."
            )
        self._steps.append(step)
        while len(self._steps) > 1 and len(self) > self.max_rows:
            self._steps.popleft()

    def reset(self) -> None:
        """Empty the window."""
        self._steps.clear()

    def compute(self) -> Uniformity | None:
        """Return the uniformity of the window, with its error and its optimum; None for fewer than 5 rows.

        Rows that are NaN, infinite or zero in any view are left out: training may recover from them.
        """
        if not self._steps:
            return None
        views = torch.cat(list(self._steps), 1)
        views = views.to(torch.promote_types(views.dtype, torch.float32))
        views = views[:, (views.isfinite().all(2) & (views != 0).any(2)).all(0)]
        if views.shape[1] < LEAST_ROWS:
            return None
        return uniformity_of(views if len(views) > 1 else views[0], self.t, normalize=self.normalize)

    def scalars(self, prefix: str = "") -> dict[str, float]:
        """Return the value, its error and the gap as loggers take them; NaN for fewer than 5 rows.

        Args:
            prefix: a text to put before every key, such as "train/".

        Example:
            >>> import torch
            >>> from align_uniform.integrations.online import OnlineUniformity
            >>> online = OnlineUniformity()
            >>> online.update(torch.eye(8))
            >>> {name: round(value, 2) for name, value in online.scalars("train/").items()}
            {'train/uniform': -4.0, 'train/uniform.stderr': 0.0, 'train/uniform.gap': -0.92}
        """
        found = self.compute()
        if found is None:
            values: tuple[float | None, ...] = (math.nan,) * len(SCALARS)
        else:
            values = (found.value, found.stderr, found.gap)
        return {
            f"{prefix}{name}": math.nan if value is None else value
            for name, value in zip(SCALARS, values, strict=True)
        }
