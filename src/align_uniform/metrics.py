"""Alignment, uniformity and RankMe as torchmetrics metrics: features come in batches, on many processes, and
go.

Each equals what `measure` finds in all rows at once, whatever the batches, since both call the same
functions. A mean of the batches' uniformities would not: it is no log of a mean, and pairs of rows of
different batches are missing from it.

    metrics = MetricCollection({"align": Alignment(), "uniform": Uniformity(), "rankme": RankMe()})
    metrics.update(x=x, y=y)  # by name: each metric takes what it needs
    metrics.compute()

Of two views, `(Uniformity() + Uniformity()) / 2` is the average that the losses take; never update one metric
with both, since the positive pairs would count as negatives.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform import geometry
from align_uniform._extras import needs
from align_uniform.functional import align_loss, normalize_rows
from align_uniform.geometry import Moments
from align_uniform.geometry._rows import widened
from align_uniform.measuring import uniformity
from align_uniform.measuring.populations import Population

with needs("metrics"):
    from torchmetrics import Metric
    from torchmetrics.utilities.data import dim_zero_cat
    from torchmetrics.utilities.distributed import gather_all_tensors

__all__ = ["Alignment", "RankMe", "Uniformity"]

WITHOUT_FLOAT64 = {"mps"}
"""Devices that lack it; there a metric keeps its state on the CPU."""


class _Streamed(Metric):
    """What the metrics share. Every state is a tensor, or a list of tensors, of the rows seen; none has a
    gradient.
    """

    full_state_update = False
    is_differentiable = False
    settings: Tensor

    def __init__(self, *settings: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A collection shares one state among metrics whose states are equal after the first batch. This one
        # is equal only if later batches would be treated alike.
        self.add_state("settings", torch.tensor(settings, dtype=torch.float64), "max")
        self._stderr = math.nan

    @property
    def compute_with_cache(self) -> bool:
        """Whether to keep the value until the next update: with other processes never.

        A process that has seen no row since would return what it kept, while the others, which have, wait for
        its state.
        """
        return self._with_cache and not self.distributed_available_fn()

    @compute_with_cache.setter
    def compute_with_cache(self, value: bool) -> None:
        self._with_cache = value

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of the same settings has seen, given the metric or its `metric_state`."""
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
        self._reduce_states(state)
        self._update_count += 1
        self._computed = None

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the value, or a list of values over time; needs matplotlib.

        Args:
            val: what `compute` or `forward` returned, or a list of such; by default `compute` is called.
            ax: matplotlib axes to draw into; by default a new figure is made.

        Returns:
            The figure, None where `ax` was given, and its axes.
        """
        return self._plot(val, ax)

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.settings.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> Any:
        """Follow a model to its device, not into its half precision, which no sum survives."""
        device = fn(torch.zeros(())).device
        if device.type in WITHOUT_FLOAT64:
            self._computed = self._forward_cache = None  # of float64, and not worth keeping
            exclude_state = tuple(self._defaults)
        return super()._apply(lambda z: z.to(device), exclude_state)


class _StreamedRows(_Streamed):
    """A metric whose state has the width of the rows, which a process that has seen none must learn from the
    others.
    """

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Gather the states of all processes, as torchmetrics does; some may have seen no row."""
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

    def _shape(self) -> tuple[int, bool]:
        """The number of features, 0 before the first rows, and whether the state is float64 where it might
        not be.
        """
        raise NotImplementedError

    def _take_shape(self, width: int, *, is_wide: bool) -> None:
        """Bring the state into a shape that all processes have, and no row changes."""
        raise NotImplementedError

    def _check_width(self, rows: Tensor) -> None:
        width, _ = self._shape()
        if width and rows.shape[1] != width:
            raise ValueError(
                f"x must have the {width} features of the rows before, got shape {list(rows.shape)}; "
                f"reset the metric, or make another for other features."
            )


class Alignment(_Streamed):
    r"""How far apart the two views of positive pairs are, over all batches.

    .. math:: L_{align}(\alpha) = \frac{1}{N} \sum_{i=1}^{N} \lVert x_i - y_i \rVert_2^{\alpha}

    Equals `align_loss` of all pairs at once, and `measure(x, y).align.value`. The state is three float64
    numbers: the number of pairs, the sum of their terms, and that of the squared terms. `update` takes O(N m)
    time.

    Args:
        alpha: exponent of the distance, above 0.
        normalize: divide rows by their norm, in float32 or wider. On, as in `measure`, and unlike the losses.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: alpha is not as above.

    Example:
        >>> import torch
        >>> from align_uniform.metrics import Alignment
        >>> metric = Alignment(alpha=1)
        >>> metric.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> metric.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        >>> metric.compute(), metric.stderr()
        (tensor(0.6667, dtype=torch.float64), tensor(0.6667, dtype=torch.float64))

    Note:
        A cone makes raw alignment look good, since all rows are near each other there: `measure(x,
        y).align.relative` divides by the distance of rows that are no pair. The error takes pairs as
        independent; several views of one item are not.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1.
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    sums: Tensor

    def __init__(self, alpha: float = 2, normalize: bool = True, **kwargs: Any) -> None:
        alpha = checks.check_positive("alpha", alpha)
        super().__init__(alpha, normalize, **kwargs)
        self.alpha, self.normalize = alpha, normalize
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), "sum")

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add pairs: row i of x and row i of y.

        Args:
            x: features of one view, [..., N, m]; N may be 0.
            y: features of the other view, of the same shape.

        Raises:
            ValueError: a shape or dtype is not as above, or a row is NaN, infinite, or zero with `normalize`.
        """
        checks.check_features("x", x)
        checks.check_features("y", y)
        checks.check_same_shape(x, y)
        x, y = _measurable("x", x, self.normalize), _measurable("y", y, self.normalize)
        terms = widened(align_loss(x, y, self.alpha, normalize=self.normalize, reduction="none"))
        sums = torch.stack([terms.new_tensor(len(terms)), terms.sum(), terms.square().sum()])
        self.sums = self.sums + sums.to(self.sums.device)

    def compute(self) -> Tensor:
        """The mean over all pairs of all processes: a float64 scalar, NaN before the first pair."""
        count, total, squares = self.sums.tolist()
        if count == 0:
            self._stderr = math.nan
            return self._scalar(math.nan)
        variance = max(0.0, squares - total**2 / count) / (count - 1) if count > 1 else math.nan
        self._stderr = math.sqrt(variance / count)
        return self._scalar(total / count)

    def stderr(self) -> Tensor:
        """The standard error of the mean, the pairs being a sample; NaN for fewer than two.

        Calls `compute`, so of many processes all must call it.
        """
        self.compute()
        return self._scalar(self._stderr)


class Uniformity(_StreamedRows):
    r"""How far the features are from the uniform distribution on the sphere, over all pairs of rows of all
    batches.

    .. math:: L_{uniform}(t) = \log \frac{2}{N (N-1)} \sum_{i<j} e^{-t \lVert x_i - x_j \rVert_2^2}

    Equals `uniform_loss` of all rows at once, and `measure(x).uniform.value`, as long as there are at most
    `max_rows` rows: all are kept. Of more, a simple random sample of `max_rows` is kept, any set of so many
    being as likely as any other; the value is that of the sample, and `stderr` the larger error that comes
    with fewer rows.

    A row is kept if its key is among the smallest, a random number made of the seed, the process, and how
    many rows the process saw before. So neither the batches matter nor whether they are sorted by class; the
    sample of all processes, or of metrics that are merged, comes from theirs; and a second run over the same
    rows keeps the same ones.

    Memory is max_rows x m x 4 bytes, 8 MiB for m = 128 (twice that for float64 rows), once more in `update`,
    and once for every process in `compute`, which takes O(max_rows^2 m) time. Metrics that differ in t alone
    share their rows in a `MetricCollection`.

    Args:
        t: inverse squared width of the Gaussian, above 0.
        normalize: divide rows by their norm, in float32 or wider. On, as in `measure`, and unlike the losses.
        max_rows: so many rows are kept, at least 5.
        seed: of the sample, from 0 on. Processes of one process group may share it; metrics that are merged
            by `merge_state` must not.
        kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: a number is not as above.

    Example:
        >>> import torch
        >>> from align_uniform.metrics import Uniformity
        >>> metric = Uniformity()
        >>> for batch in torch.randn(8, 64, 16, generator=torch.Generator().manual_seed(0)):
        ...     metric.update(batch)
        >>> print(f"{metric.compute():.3f} ± {metric.stderr():.3f}")  # at best -3.513 in 16 dimensions
        -3.510 ± 0.004

    Note:
        The value depends on t and m: compare it with `uniform_optimum(m, t)`. It hardly sees that a few of
        many dimensions have collapsed, which `RankMe` does. A single batch's value, as `forward` returns it,
        is of that batch's pairs alone; their mean over an epoch is not the epoch's value.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2; the sample is a bottom-k sketch, Cohen &
        Kaplan, PODC 2007.
    """

    higher_is_better = False
    full_state_update = True  # a row's key depends on how many came before it
    plot_upper_bound = 0.0
    seen: Tensor
    rows: list[Tensor]
    keys: list[Tensor]

    def __init__(
        self, t: float = 2, normalize: bool = True, max_rows: int = 16384, seed: int = 0, **kwargs: Any
    ) -> None:
        t = checks.check_positive("t", t)
        max_rows = _whole("max_rows", max_rows, 5, 2**31, "fewer rows have no standard error")
        seed = _whole("seed", seed, 0, 2**63 - 1, "any of these will do")
        super().__init__(normalize, max_rows, **kwargs)
        self.t, self.normalize, self.max_rows, self.seed = t, normalize, max_rows, seed
        self._approximation_stderr = math.nan
        self.add_state("seen", torch.tensor(0), "sum")
        self.add_state("rows", [], "cat")
        self.add_state("keys", [], "cat")

    def update(self, x: Tensor) -> None:
        """Add rows.

        Args:
            x: features, [..., N, m]; all rows are of one population, and N may be 0.

        Raises:
            ValueError: a shape or dtype is not as above, or a row is NaN, infinite, or zero with `normalize`.
        """
        checks.check_features("x", x)
        rows = _measurable("x", x, self.normalize)
        self._check_width(rows)
        numbers = self.seen + torch.arange(len(rows), device=self.seen.device)
        keys = _random_keys(self.seed, ranks.rank(), numbers)
        self.seen = self.seen + len(rows)
        place = self.rows[0].device if self.rows else self.settings.device
        # Lists are made anew, and not added to: metrics of a collection may hold the same ones.
        self.rows, self.keys = [*self.rows, rows.to(place, copy=True)], [*self.keys, keys.to(place)]
        if sum(map(len, self.keys)) > self.max_rows:
            kept, their_keys = self._kept()
            self.rows, self.keys = [kept], [their_keys]

    def compute(self) -> Tensor:
        """The value of the rows that are kept, of all processes: a float64 scalar, NaN for fewer than two
        rows.
        """
        seen = int(self.seen)
        self._stderr = self._approximation_stderr = math.nan
        if seen < 2:
            return self._scalar(math.nan)
        rows, keys = self._kept()
        if seen > len(rows) and len(keys.unique()) < len(keys):
            raise ValueError(
                f"{len(keys) - len(keys.unique()):,} of the {len(keys):,} rows have a key that another has, "
                "and are no random sample: metrics of one seed were merged, or processes without a process "
                "group; give each its own seed."
            )
        with (
            ranks.alone()
        ):  # a batch's value is this process's own; where states are synchronised, all compute the same
            population = Population(rows, "x", normalize=self.normalize, device=rows.device)
            ((found,), _) = uniformity.exact_potentials(population, [self.t], lambda _: None)
        error = uniformity.stderr(found.relative, found.square - 1, len(rows))
        of_all = uniformity.stderr(found.relative, found.square - 1, len(rows), size=seen)
        if error is not None and of_all is not None:
            self._stderr, self._approximation_stderr = error, math.sqrt(max(0.0, error**2 - of_all**2))
        return self._scalar(found.log_mean)

    def stderr(self) -> Tensor:
        r"""The standard error of the value, the rows that are kept being a sample of the population; NaN for
        fewer than five.

        It is `measure(kept rows).uniform.stderr`. A random sample of a sample is a sample of the population,
        so this is the whole error: with more than `max_rows` rows it no longer falls.

        Calls `compute`, so of many processes all must call it.
        """
        self.compute()
        return self._scalar(self._stderr)

    def approximation_stderr(self) -> Tensor:
        r"""The part of `stderr` that is due to the rows that were not kept: the error as an estimate of all
        rows' value.

        .. math:: \sqrt{Var(U_k) - Var(U_N)} / U

        for k rows kept out of N, as the value of the sample is, on average over samples, that of all. 0 if
        all rows are kept. Calls `compute`, so of many processes all must call it.
        """
        self.compute()
        return self._scalar(self._approximation_stderr)

    def _kept(self) -> tuple[Tensor, Tensor]:
        """The rows of the smallest keys, and these: all in the order they came, or a sample in the order of
        its keys.
        """
        rows, keys = dim_zero_cat(self.rows), dim_zero_cat(self.keys)
        if len(keys) <= self.max_rows:
            return rows, keys
        smallest = keys.topk(self.max_rows, largest=False)
        return rows[smallest.indices], smallest.values

    def _shape(self) -> tuple[int, bool]:
        return (
            (self.rows[0].shape[1], any(part.dtype == torch.float64 for part in self.rows))
            if self.rows
            else (0, False)
        )

    def _take_shape(self, width: int, *, is_wide: bool) -> None:
        none = torch.empty(
            0, width, dtype=torch.float64 if is_wide else torch.float32, device=self.settings.device
        )
        self.rows = [torch.cat([none.to(part.device), part]) for part in self.rows] or [none]
        self.keys = self.keys or [torch.empty(0, dtype=torch.int64, device=self.settings.device)]


class RankMe(_StreamedRows):
    r"""The number of dimensions that the features fill, by the entropy of their singular values, over all
    batches.

    .. math:: \exp \left( -\sum_{k=1}^{\min(N, m)} p_k \log p_k \right), \qquad
              p_k = \frac{\sigma_k}{\lVert \sigma \rVert_1} + 10^{-7}

    Equals `geometry.rankme` of the moments of all rows, and `measure(x).rankme`. The state is those moments,
    m^2 float64 numbers; `update` takes O(N m^2) time, `compute` O(m^3).

    Args:
        normalize: divide rows by their norm, in float32 or wider. On, as in `measure`; the paper takes rows
            as they are.
        kwargs: those of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> from align_uniform.metrics import RankMe
        >>> metric = RankMe()
        >>> metric.update(torch.eye(8)[:3])
        >>> metric.update(torch.eye(8)[3:5])
        >>> round(metric.compute().item(), 3)
        5.0

    Note:
        It is at most min(N, m), and grows with N: compare values of the same N and m only. The mean is left
        in, so a cone counts as one large singular value.

    Reference:
        Garrido et al., ICML 2023, arXiv 2210.02885.
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    count: Tensor
    total: Tensor
    second: Tensor

    def __init__(self, normalize: bool = True, **kwargs: Any) -> None:
        super().__init__(normalize, **kwargs)
        self.normalize = normalize
        self.add_state("count", torch.tensor(0), "sum")
        # The width is not known yet; a zero adds to any.
        self.add_state("total", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("second", torch.zeros((), dtype=torch.float64), "sum")

    def update(self, x: Tensor) -> None:
        """Add rows.

        Args:
            x: features, [..., N, m]; all rows are of one population, and N may be 0.

        Raises:
            ValueError: a shape or dtype is not as above, or a row is NaN, infinite, or zero with `normalize`.
        """
        checks.check_features("x", x)
        rows = _measurable("x", x, self.normalize)
        self._check_width(rows)
        moments = Moments.of(normalize_rows(rows) if self.normalize else rows)
        self.count = self.count + moments.count
        self.total = self.total + moments.sum.to(self.total.device)
        self.second = self.second + moments.second.to(self.second.device)

    def compute(self) -> Tensor:
        """RankMe of all rows of all processes: a float64 scalar, NaN before the first row."""
        count = int(self.count)
        return self._scalar(geometry.rankme(Moments(count, self.total, self.second)) if count else math.nan)

    def _shape(self) -> tuple[int, bool]:
        return (len(self.total), False) if self.total.dim() else (0, False)

    def _take_shape(self, width: int, *, is_wide: bool) -> None:  # noqa: ARG002  # the moments are always float64
        self.total = self.total + self.total.new_zeros(width, dtype=torch.float64)
        self.second = self.second + self.second.new_zeros(width, width, dtype=torch.float64)


def _measurable(name: str, x: Tensor, normalize: bool) -> Tensor:
    """The rows as they came, [N, m], in float32 or float64; refused if they cannot be measured."""
    rows = x.detach().reshape(-1, x.shape[-1])
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    is_finite = rows.isfinite().all(1)
    _refuse(
        name, ~is_finite, "a NaN or an infinity", "leave them out, or find out why the encoder makes them"
    )
    if normalize:
        is_zero = (rows == 0).all(1)
        _refuse(
            name, is_zero, "norm 0, and so without a direction", "leave them out, or pass normalize=False"
        )
    return rows


def _refuse(name: str, is_wrong: Tensor, what: str, remedy: str) -> None:
    if is_wrong.any():
        wrong = is_wrong.nonzero().squeeze(1).tolist()
        first = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        raise ValueError(
            f"{name} has {len(wrong):,} of {len(is_wrong):,} rows with {what} (rows {first}); {remedy}."
        )


def _whole(name: str, value: int, least: int, most: int, remedy: str) -> int:
    """A whole number within a range."""
    number = operator.index(value) if hasattr(value, "__index__") else -1
    if not least <= number <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}; {remedy}.")
    return number


GOLDEN = 0x9E3779B97F4A7C15 - 2**64
"""2^64 over the golden ratio, as a signed number."""


def _random_keys(seed: int, rank: int, numbers: Tensor) -> Tensor:
    """[N], int64: a random number for each row number, from a generator that can be read anywhere,
    splitmix64.
    """
    start = _scatter(_scatter(torch.tensor(seed)) + rank).to(numbers.device)
    return _scatter(start + (numbers + 1) * GOLDEN)


def _scatter(z: Tensor) -> Tensor:
    """The output function of splitmix64, one to one on 64 bits."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1)):
        logical = (z >> shift) & (2 ** (64 - shift) - 1)  # torch's shift brings copies of the sign
        z = (z ^ logical) * factor
    return z
