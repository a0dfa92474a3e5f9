"""Uniformity, streamed."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform.measuring import uniformity
from align_uniform.measuring.influence import resized_stderr, stderr
from align_uniform.measuring.populations import Population
from align_uniform.metrics.sampling import random_keys
from align_uniform.metrics.streamed import StreamedRows, place


class Uniformity(StreamedRows):
    r"""The distance of the features from the uniform distribution on the sphere, over all batches.

    .. math:: L_{uniform}(t) = \log \frac{2}{N (N-1)} \sum_{i<j} e^{-t \lVert x_i - x_j \rVert_2^2}

    The value equals `uniform_loss` of all rows at once, and `measure(x).uniform.value`, as long as there are
    at most `max_rows` rows, which are all kept. Of more rows a simple random sample of `max_rows` is kept, in
    which all sets of that size are equally likely. The value is then the value of the sample, and `stderr` is
    the larger error that comes with fewer rows.

    Every row has a key, a random number made from the seed, the process and the number of rows that the
    process saw before, and the rows with the smallest keys are kept. So neither the batches matter nor
    whether they are sorted by class. The sample of all processes, or of merged metrics, is drawn from their
    samples, and a second run over the same rows keeps the same rows.

    Memory is max_rows x m x 4 bytes, 8 MiB for m = 128 (twice as much for float64 rows), once more in
    `update`, and once for every process in `compute`, which takes O(max_rows^2 m) time. Metrics that differ
    in t alone share their rows in a `MetricCollection`.

    Args:
        t: the inverse squared width of the Gaussian, above 0.
        normalize: whether to divide rows by their norm, in float32 or wider. By default this is done, as in
            `measure` and unlike in the losses.
        max_rows: the number of rows to keep, at least 5.
        seed: the seed of the sample, at least 0. Processes of one process group may share it; metrics that
            are merged by `merge_state` must not.
        kwargs: the arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> import torch
        >>> from align_uniform.metrics import Uniformity
        >>> metric = Uniformity()
        >>> for batch in torch.randn(8, 64, 16, generator=torch.Generator().manual_seed(0)):
        ...     metric.update(batch)
        >>> print(f"{metric.compute():.3f} ± {metric.stderr():.3f}")  # at best -3.513 in 16 dimensions
        -3.510 ± 0.004

    Note:
        The value depends on t and m: compare it with `uniform_optimum(m, t)`. It hardly changes if a few of
        many dimensions collapse, which `RankMe` shows. The value of a batch, as `forward` returns it, comes
        from the pairs of that batch alone, and the mean of these values is not the value of an epoch.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2; the sample is a bottom-k sketch, Cohen &
        Kaplan, PODC 2007.
    """

    higher_is_better = False
    full_state_update = True  # a row's key depends on how many came before it
    plot_upper_bound = 0.0
    options = ("t", "normalize", "max_rows", "seed")
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
        self.add_state("seen", torch.tensor(0, device=place()), "sum")
        self.add_state("rows", [], "cat")
        self.add_state("keys", [], "cat")

    def _add(self, rows: Tensor) -> None:
        numbers = self.seen + torch.arange(len(rows), device=self.seen.device)
        keys = random_keys(self.seed, ranks.rank(), numbers)
        self.seen = self.seen + len(rows)
        place = self.rows[0].device if self.rows else self.settings.device
        # New lists are made, since metrics of a collection may share the old ones.
        self.rows, self.keys = [*self.rows, rows.to(place, copy=True)], [*self.keys, keys.to(place)]
        if sum(map(len, self.keys)) > self.max_rows:
            kept, their_keys = self.kept_rows()
            self.rows, self.keys = [kept], [their_keys]

    def compute(self) -> Tensor:
        """Return the value of the kept rows of all processes, a float64 scalar; NaN for fewer than 2 rows."""
        seen = int(self.seen)
        self._stderr = self._approximation_stderr = math.nan
        if seen < 2:
            return self._scalar(math.nan)
        rows, keys = self.kept_rows()
        if seen > len(rows) and len(keys.unique()) < len(keys):
            raise ValueError(
                f"{len(keys) - len(keys.unique()):,} of the {counted(len(keys), 'row')} have the key of "
                "another row, so they are no random sample: metrics with one seed were merged, or processes "
                "without a process group; give each its own seed."
            )
        with ranks.alone():  # a batch's value is this process's own; with synchronised states all are equal
            population = Population(rows, "x", normalize=self.normalize, device=rows.device)
            ((found,), _) = uniformity.exact_potentials(population, [self.t], lambda _: None)
        error = stderr(found.influence)
        if found.influence is not None and error is not None:
            of_all = error if seen == len(rows) else resized_stderr(found.influence, seen)
            self._stderr, self._approximation_stderr = error, math.sqrt(max(0.0, error**2 - of_all**2))
        return self._scalar(found.log_mean)

    def stderr(self) -> Tensor:
        r"""Return the standard error of the value, the kept rows being a sample; NaN for fewer than 5 rows.

        It equals `measure(kept rows).uniform.stderr`. A random sample of a sample is a sample of the
        population, so this is the whole error, which no longer falls with more than `max_rows` rows.

        All processes must call this method, since it calls `compute`.
        """
        self.compute()
        return self._scalar(self._stderr)

    def approximation_stderr(self) -> Tensor:
        r"""Return the part of `stderr` that is due to the rows that were not kept; 0 if all rows are kept.

        .. math:: \sqrt{Var(U_k) - Var(U_N)} / U

        for k rows kept out of N, since the value of the sample is on average the value of all rows. It is the
        error of the value as an estimate of the value of all rows. All processes must call this method, since
        it calls `compute`.
        """
        self.compute()
        return self._scalar(self._approximation_stderr)

    def kept_rows(self) -> tuple[Tensor, Tensor]:
        """Return the rows with the smallest keys, and the keys, in the order of the keys.

        If all rows are kept, they are in the order in which they were given.
        """
        rows, keys = dim_zero_cat(self.rows), dim_zero_cat(self.keys)
        if len(keys) <= self.max_rows:
            return rows, keys
        smallest = keys.topk(self.max_rows, largest=False)
        return rows[smallest.indices], smallest.values

    @staticmethod
    def _shape_of(state: Mapping[str, Any]) -> tuple[int, bool]:
        rows = state["rows"]
        parts = [rows] if isinstance(rows, Tensor) else rows  # a tensor once the processes are gathered
        return (
            (parts[0].shape[1], any(part.dtype == torch.float64 for part in parts)) if parts else (0, False)
        )

    def _take_shape(self, width: int, *, is_wide: bool) -> None:
        none = torch.empty(
            0, width, dtype=torch.float64 if is_wide else torch.float32, device=self.settings.device
        )
        self.rows = [torch.cat([none.to(part.device), part]) for part in self.rows] or [none]
        self.keys = self.keys or [torch.empty(0, dtype=torch.int64, device=self.settings.device)]


def _whole(name: str, value: int, least: int, most: int, remedy: str) -> int:
    """Return the value if it is a whole number within the range."""
    number = operator.index(value) if hasattr(value, "__index__") else -1
    if not least <= number <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}; {remedy}.")
    return number
