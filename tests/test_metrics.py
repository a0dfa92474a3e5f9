"""Tests that streamed metrics equal one look at all rows, whatever the batches, dtypes and processes."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from align_uniform import _ranks as ranks
from align_uniform import align_loss, measure, uniform_loss
from align_uniform import metrics as module
from align_uniform.geometry import Moments, rankme
from align_uniform.metrics import Alignment, RankMe, Uniformity
from tests import metrics_worker, oracle, rows
from tests.metrics_worker import COUNTS, FEW, WIDTHS
from tests.processes import found_by

mpl.use("Agg")

METRICS: list[Callable[[], Metric]] = [Alignment, Uniformity, RankMe]
CLASSES = 6

M = TypeVar("M", bound=Metric)


def clustered(n: int, dim: int = 16, seed: int = 0) -> Tensor:
    """Return rows in clusters, sorted by cluster, of norms about 1."""
    centres = rows.unit(CLASSES, dim, seed=seed).repeat_interleave(math.ceil(n / CLASSES), 0)[:n]
    return centres + 0.15 * rows.normal(n, dim, seed=seed + 1)


def feed(metric: M, *batches: Tensor) -> M:
    """Update a metric with batches, [N, m], or [2, N, m] for a metric of pairs."""
    for batch in batches:
        metric.update(*batch) if isinstance(metric, Alignment) else metric.update(batch)
    return metric


def views_for(metric: Metric, n: int) -> Tensor:
    x = clustered(n)
    return torch.stack([x, x + 0.2 * rows.normal(n, 16, seed=9)]) if isinstance(metric, Alignment) else x


def value(metric: Metric) -> float:
    return float(metric.compute())


def close(got: Tensor | float, expected: float, tolerance: float = 1e-6) -> None:
    assert float(got) == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True)


# --------------------------------------------------------------------------------------- streamed is one-shot


@given(
    cuts=st.lists(st.integers(0, 60), max_size=8), order=st.permutations(range(60)), normalize=st.booleans()
)
def test_any_batches_in_any_order_have_the_values_of_one_look(
    cuts: list[int], order: list[int], normalize: bool
) -> None:
    x = clustered(60)
    y = x + 0.2 * rows.normal(60, 16, seed=3)
    expected = measure(x, y, t=[2, 3], alpha=1, normalize=normalize)
    alone = measure(x, t=3, normalize=normalize)
    assert expected.align is not None
    align, uniform, rank = Alignment(1, normalize), Uniformity(3, normalize), RankMe(normalize)
    edges = [0, *sorted(cuts), 60]  # some batches are empty
    for start, stop in itertools.pairwise(edges):
        part = order[start:stop]
        align.update(x[part], y[part])
        uniform.update(x[part])
        rank.update(x[part])
    close(align.compute(), expected.align.value)
    close(align.stderr(), expected.align.stderr or math.nan)
    close(uniform.compute(), alone.uniform.value)
    close(uniform.stderr(), alone.uniform.stderr or math.nan)
    assert uniform.approximation_stderr() == 0
    close(rank.compute(), alone.rankme)


def test_values_are_those_of_the_definitions() -> None:
    views = rows.unit(2, 50, 8)
    x, y = (oracle.numbers(view) for view in views)
    close(feed(Alignment(1.5), views).compute(), oracle.align(x, y, 1.5), 1e-12)
    close(feed(Uniformity(2.5), views[0]).compute(), oracle.uniform(x, 2.5), 1e-12)
    values = np.linalg.svd(x, compute_uv=False)
    shares = values / values.sum() + 1e-7
    close(feed(RankMe(), views[0]).compute(), float(np.exp(-(shares * np.log(shares)).sum())), 1e-9)


def test_values_are_those_of_the_losses_and_of_rankme_without_normalising() -> None:
    x, y = rows.normal(2, 40, 5) * 0.4
    close(
        feed(Alignment(3, normalize=False), torch.stack([x, y])).compute(), float(align_loss(x, y, 3)), 1e-12
    )
    close(feed(Uniformity(normalize=False), x).compute(), float(uniform_loss(x)), 1e-12)
    close(feed(RankMe(normalize=False), x).compute(), rankme(Moments.of(x)), 1e-12)


def test_batches_sorted_by_class_have_the_value_of_all_rows_which_the_mean_over_batches_has_not() -> None:
    x = clustered(300)
    metric = Uniformity()
    per_batch = [float(metric(batch)) for batch in x.split(50)]
    close(metric.compute(), measure(x).uniform.value)
    assert np.mean(per_batch) > value(metric) + 0.5


def test_the_error_of_equal_distances_is_0_and_not_the_root_of_a_rounding() -> None:
    x = torch.eye(7)
    assert feed(Alignment(normalize=False), torch.stack([x, x.roll(1, 0)])).stderr() == 0


def test_leading_dimensions_are_rows_too() -> None:
    x = rows.unit(2, 4, 5, 3)
    close(feed(Uniformity(), x[0]).compute(), value(feed(Uniformity(), x[0].flatten(0, 1))), 1e-12)
    close(feed(RankMe(), x[0]).compute(), value(feed(RankMe(), x[0].flatten(0, 1))), 1e-12)
    close(feed(Alignment(), x).compute(), float(align_loss(x[0], x[1])), 1e-12)


# ---------------------------------------------------------------------------------------------- random sample


def key(seed: int, rank: int, number: int) -> int:
    """Return a row's key in whole numbers of any size: splitmix64, which the metric has in signed 64 bits."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def output(z: int) -> int:
        z &= mask
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    drawn = output(output(output(seed) + rank) + (number + 1) * golden)
    return drawn - 2**64 if drawn >= 2**63 else drawn


def test_keys_are_those_of_splitmix64() -> None:
    assert key(0, 0, 0) % 2**64 == 0xE220A8397B1DCDAF  # the generator's published first number for seed 0
    for seed, rank in ((0, 0), (1, 0), (0, 3), (2**63 - 1, 7)):
        expected = [key(seed, rank, number) for number in range(5, 9)]
        assert module._random_keys(seed, rank, torch.arange(5, 9)).tolist() == expected


def test_of_more_rows_than_fit_those_with_the_smallest_keys_are_kept() -> None:
    x = clustered(100)
    metric = Uniformity(max_rows=20, seed=4)
    feed(metric, *x.split(13))
    smallest = sorted(range(100), key=lambda number: key(4, 0, number))[:20]
    close(metric.compute(), measure(x[smallest]).uniform.value, 1e-12)
    close(metric.stderr(), measure(x[smallest]).uniform.stderr or math.nan, 1e-9)
    assert [len(part) for part in metric.rows] == [20]


def test_rows_are_kept_though_their_tensor_is_filled_anew() -> None:
    x = clustered(60)
    metric, buffer = Uniformity(), torch.empty(20, 16, dtype=torch.float64)
    for batch in x.split(20):
        metric.update(buffer.copy_(batch))
    close(metric.compute(), measure(x).uniform.value)


@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_the_sample_does_not_depend_on_the_batches_nor_on_forward(cuts: list[int]) -> None:
    x = clustered(60)
    whole, parts, stepped = (Uniformity(max_rows=10) for _ in range(3))
    whole.update(x)
    for start, stop in itertools.pairwise([0, *sorted(cuts), 60]):
        parts.update(x[start:stop])
        stepped(x[start:stop])
    assert value(whole) == value(parts) == value(stepped)


def test_every_set_of_rows_is_kept_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare one metric in batches and two that are merged: chi-square over all 56 sets of 5 rows of 8."""
    numbers = torch.eye(8)  # row i is known by its place
    for shared in (False, True):
        sets = Counter[tuple[int, ...]]()
        for seed in range(1500):
            monkeypatch.setattr(ranks, "rank", lambda: 0)
            metric = Uniformity(max_rows=5, seed=seed)
            metric.update(numbers[:3])
            if shared:
                monkeypatch.setattr(ranks, "rank", lambda: 1)
                other = Uniformity(max_rows=5, seed=seed)
                other.update(numbers[3:])
                metric.merge_state(other)
            else:
                metric.update(numbers[3:])
            kept, _ = metric._kept()
            sets[tuple(sorted(kept.argmax(1).tolist()))] += 1
        assert len(sets) == math.comb(8, 5)
        expected = 1500 / math.comb(8, 5)
        chi_square = sum((count - expected) ** 2 / expected for count in sets.values())
        assert 26.9 < chi_square < 96.2  # the 0.05% and 99.95% quantiles of 55 degrees of freedom


def test_merged_samples_are_the_sample_of_all_rows() -> None:
    x = clustered(100)
    first, second = Uniformity(max_rows=20, seed=1), Uniformity(max_rows=20, seed=2)
    feed(first, x[:37]), feed(second, x[37:])
    keys = [key(1, 0, number) for number in range(37)] + [key(2, 0, number) for number in range(63)]
    smallest = sorted(range(100), key=lambda number: keys[number])[:20]
    first.merge_state(second)
    close(first.compute(), measure(x[smallest]).uniform.value, 1e-12)
    assert int(first.seen) == 100
    first.update(x[:5])  # and goes on
    assert int(first.seen) == 105


def test_merged_samples_of_one_seed_are_refused_where_they_are_no_sample() -> None:
    x = clustered(100)
    first, second = Uniformity(max_rows=60), Uniformity(max_rows=60)
    feed(first, x[:30]), feed(second, x[30:60])
    first.merge_state(second)
    close(first.compute(), measure(x[:60]).uniform.value)  # all rows fit: their keys are not used
    feed(first, x[60:])
    with pytest.raises(ValueError, match="give each its own seed"):
        first.compute()


def cone(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 16, generator=generator) + 0.5


def test_intervals_hold_the_values_of_the_population_and_of_all_rows_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = measure(cone(20_000, generator), method="anchors", anchors=4000).uniform.value
    of_population, of_rows, excess = [], [], []
    for seed in range(250):
        x = cone(600, generator)
        metric = Uniformity(max_rows=150, seed=seed)
        feed(metric, *x.split(100))
        all_rows = measure(x).uniform
        errors = float(metric.stderr()), float(metric.approximation_stderr())
        of_population.append(abs(value(metric) - truth) <= 1.96 * errors[0])
        of_rows.append(abs(value(metric) - all_rows.value) <= 1.96 * errors[1])
        excess.append((errors[0] / (all_rows.stderr or math.nan), errors[1] / errors[0]))
    assert 0.91 <= np.mean(of_population) <= 0.985
    assert 0.91 <= np.mean(of_rows) <= 0.985
    larger, share = np.mean(excess, 0)
    assert larger == pytest.approx(2, rel=0.1)  # a quarter of the rows
    assert share == pytest.approx(math.sqrt(3) / 2, rel=0.1)  # and the rest of the variance


# -------------------------------------------------------------------------------------- a torchmetrics metric


@pytest.mark.parametrize("kind", METRICS)
def test_forward_returns_the_batchs_value_and_accumulates(kind: Callable[[], Metric]) -> None:
    stepped, updated = kind(), kind()
    batches = views_for(stepped, 48).split(16, dim=-2)
    for batch in batches:
        step = stepped(*batch) if isinstance(stepped, Alignment) else stepped(batch)
        assert float(step) == value(feed(kind(), batch))
        feed(updated, batch)
    assert value(stepped) == value(updated)


@pytest.mark.parametrize("kind", METRICS)
def test_copies_go_on_by_themselves(kind: Callable[[], Metric]) -> None:
    metric = kind()
    first, second = views_for(metric, 40).split(20, dim=-2)
    expected = value(feed(kind(), first, second))
    feed(metric, first)
    before = value(metric)
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert value(copy) == before
        assert value(feed(copy, second)) == expected
    assert value(metric) == before
    metric.reset()
    assert value(feed(metric, first, second)) == expected


@pytest.mark.parametrize("kind", [*METRICS, lambda: Uniformity(max_rows=7)])
def test_a_state_dict_is_where_to_go_on_from(kind: Callable[[], Metric], tmp_path: Path) -> None:
    metric = kind()
    first, second = views_for(metric, 40).split(20, dim=-2)
    assert metric.state_dict() == {}
    metric.persistent(True)
    feed(metric, first)
    torch.save(metric.state_dict(), tmp_path / "state.pt")
    loaded = kind()
    loaded.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert value(feed(loaded, second)) == value(feed(metric, second))


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_anything_is_computed(
    kind: Callable[[], Metric], dtype: torch.dtype
) -> None:
    half = views_for(kind(), 60).to(dtype)
    expected = value(feed(kind(), half.double()))
    close(feed(kind(), *half.split(13, dim=-2)).compute(), expected)
    cast = kind().to(dtype).half()  # with the model that it belongs to
    close(feed(cast, *half.split(13, dim=-2)).compute(), expected)
    assert cast.set_dtype(dtype).compute().dtype == torch.float64


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_follows_its_model_to_a_device(kind: Callable[[], Metric], device: str) -> None:
    metric = kind().to(device)
    batch = views_for(metric, 30).float()
    feed(metric, batch.to(device))
    close(metric.compute(), value(feed(kind(), batch)))
    metric.to("cpu")
    close(feed(metric, batch[..., :0, :]).compute(), value(feed(kind(), batch)))


@pytest.mark.parametrize("kind", METRICS)
def test_on_a_device_without_float64_the_state_stays_on_the_cpu(
    kind: Callable[[], Metric], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WITHOUT_FLOAT64", {"meta"})
    metric = kind()
    batch = views_for(metric, 30)
    before = value(feed(metric, batch))
    metric.to("meta")
    assert value(metric) == before
    metric.reset()
    assert value(feed(metric, batch)) == before


@pytest.mark.parametrize("kind", METRICS)
def test_no_state_and_no_value_has_a_gradient(kind: Callable[[], Metric]) -> None:
    metric = kind()
    batch = views_for(metric, 20).requires_grad_()
    step = metric(*batch) if isinstance(metric, Alignment) else metric(batch)
    assert not step.requires_grad
    assert not metric.compute().requires_grad
    states = itertools.chain.from_iterable(
        z if isinstance(z, list) else [z] for z in metric.metric_state.values()
    )
    assert not any(state.requires_grad for state in states)


@pytest.mark.parametrize("kind", METRICS)
def test_plot_draws_a_value_or_a_training_run(kind: Callable[[], Metric]) -> None:
    from matplotlib import pyplot as plt

    metric = feed(kind(), views_for(kind(), 20))
    figure, axes = metric.plot()
    assert isinstance(figure, Figure)
    assert axes.lines[0].get_ydata() == pytest.approx(value(metric))
    nothing, same = metric.plot([metric.compute(), metric.compute()], ax=axes)
    assert (nothing, same) == (None, axes)
    plt.close("all")


@pytest.mark.parametrize("kind", METRICS)
def test_before_the_first_row_the_value_is_nan_with_torchmetrics_warning(kind: Callable[[], Metric]) -> None:
    metric = kind()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert math.isnan(metric.compute())
    if isinstance(metric, Alignment | Uniformity):
        with pytest.warns(UserWarning, match="before the ``update`` method"):
            assert math.isnan(metric.stderr())


def test_a_number_that_too_few_rows_do_not_have_is_nan() -> None:
    x = rows.unit(2, 4, 3)
    one = feed(Alignment(), x[:, :1])
    assert math.isfinite(one.compute())
    assert math.isnan(one.stderr())
    assert math.isnan(Uniformity()(x[0, :1]))  # the last batch of an epoch
    four = feed(Uniformity(), x[0])
    assert math.isfinite(four.compute())
    assert math.isnan(four.stderr())
    assert math.isnan(four.approximation_stderr())
    close(feed(RankMe(), x[0, :1]).compute(), 1)


def test_what_torchmetrics_asks_of_a_metric_is_said() -> None:
    assert [kind.higher_is_better for kind in (Alignment, Uniformity, RankMe)] == [False, False, True]
    assert not any(kind.is_differentiable for kind in (Alignment, Uniformity, RankMe))
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `tau`"):
        Uniformity(tau=1)


@pytest.mark.parametrize("kind", [Alignment, RankMe])
def test_metrics_of_parts_are_merged(kind: Callable[[], Metric]) -> None:
    first, second = kind(), kind()
    parts = views_for(first, 40).split([25, 15], dim=-2)
    value(feed(first, parts[0]))  # a kept value is forgotten
    feed(second, parts[1])
    first.merge_state(second.metric_state)
    close(first.compute(), value(feed(kind(), *parts)), 1e-12)
    fresh = kind()
    fresh.merge_state(second)
    assert value(fresh) == value(second)


# ------------------------------------------------------------------------------------------------ collections


def test_a_collection_gives_each_metric_what_it_takes() -> None:
    x = clustered(60)
    y = x + 0.2 * rows.normal(60, 16, seed=3)
    collection = MetricCollection([Alignment(), Uniformity(), RankMe()], prefix="val/")
    for part in torch.arange(60).split(17):
        collection.update(x=x[part], y=y[part])
    expected = measure(x, y)
    assert expected.align is not None
    values = collection.compute()
    close(values["val/Alignment"], expected.align.value)
    close(values["val/Uniformity"], measure(x).uniform.value)
    close(values["val/RankMe"], measure(x).rankme)


def test_metrics_that_differ_in_t_alone_share_their_rows() -> None:
    x = clustered(60)
    collection = MetricCollection({"2": Uniformity(2, max_rows=10), "3": Uniformity(3, max_rows=10)})
    for part in x.split(17):
        collection.update(part)
    assert list(collection.compute_groups.values()) == [["2", "3"]]
    values = collection.compute()
    for t in (2, 3):
        close(values[str(t)], value(feed(Uniformity(t, max_rows=10), x)), 1e-12)
    collection(x)  # forward, after the states were shared
    assert value(collection["2"]) == value(feed(Uniformity(2, max_rows=10), x, x))
    assert value(collection["3"]) == value(feed(Uniformity(3, max_rows=10), x, x))


def test_metrics_that_would_treat_a_later_batch_differently_share_nothing() -> None:
    """Feed a first batch with equal states: unit rows, few of them, and distances of 0 and 1 alone."""
    first, later = torch.eye(4), clustered(60, 4)
    options: dict[str, Metric | MetricCollection] = {
        "alpha=1": Alignment(1, normalize=False),
        "alpha=2": Alignment(2, normalize=False),
        "directions": RankMe(),
        "as they are": RankMe(normalize=False),
        "few": Uniformity(max_rows=6),
        "many": Uniformity(),
        "raw": Uniformity(normalize=False),
    }
    alone = {name: metric.clone() for name, metric in options.items()}
    collection = MetricCollection(options)
    collection.update(x=first, y=first)
    collection.update(x=later, y=later + 0.3)
    assert all(len(group) == 1 for group in collection.compute_groups.values())
    for name, metric in alone.items():
        assert isinstance(metric, Metric)
        pair = isinstance(metric, Alignment)
        feed(metric, torch.stack([first, first]), torch.stack([later, later + 0.3])) if pair else feed(
            metric, first, later
        )
        close(collection.compute()[name], value(metric), 1e-12)


def test_two_views_are_two_metrics_that_are_averaged() -> None:
    x, y = clustered(40), clustered(40, seed=5)
    first, second = Uniformity(), Uniformity()
    both = (first + second) / 2
    feed(first, x), feed(second, y)
    close(both.compute(), measure(x, y).uniform.value)


# ----------------------------------------------------------------------------------------------------- errors


ONES = torch.ones(3, 2)
BROKEN = torch.tensor([[1.0, 0.0], [math.nan, 1.0], [0.0, math.inf]])
HOLED = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Alignment(0), "alpha must be a finite number above 0, got 0"),
        (lambda: Uniformity(-1), "t must be a finite number above 0, got -1"),
        (
            lambda: Uniformity(max_rows=4),
            "max_rows must be a whole number from 5 to 2147483648, got 4; fewer rows have no",
        ),
        (lambda: Uniformity(max_rows=10.5), "max_rows must be a whole number .* got 10.5"),  # type: ignore[arg-type]
        (
            lambda: Uniformity(seed=-1),
            "seed must be a whole number from 0 to 9223372036854775807, got -1; any of these",
        ),
        (
            lambda: Uniformity().update(ONES[0]),
            r"x must be \[..., N, m\].* got shape \[2\]; a single row is x\[None\]",
        ),
        (
            lambda: RankMe().update(ONES.long()),
            "x must be real floating point, got torch.int64; use x.float()",
        ),
        (
            lambda: Alignment().update(ONES, ONES[:2]),
            r"x and y must have the same shape.* \[3, 2\] and \[2, 2\]",
        ),
        (
            lambda: Uniformity().update(BROKEN),
            r"x has 2 of 3 rows with a NaN or an infinity \(rows 1, 2\); leave them out",
        ),
        (lambda: RankMe(False).update(BROKEN), r"x has 2 of 3 rows with a NaN or an infinity \(rows 1, 2\)"),
        (
            lambda: Alignment().update(ONES, BROKEN),
            r"y has 2 of 3 rows with a NaN or an infinity \(rows 1, 2\)",
        ),
        (lambda: RankMe().update(HOLED), r"x has 1 of 3 rows with norm 0.* \(row.* 1\); .* normalize=False"),
        (
            lambda: feed(Uniformity(), ONES, torch.ones(1, 3)),
            r"x must have the 2 features of the rows before, got shape \[1, 3\]",
        ),
        (
            lambda: feed(RankMe(), ONES, torch.ones(1, 3)),
            r"x must have the 2 features of the rows before, got shape \[1, 3\]",
        ),
        (
            lambda: Alignment().merge_state(RankMe()),
            "only another Alignment, or its metric_state, can be merged, got",
        ),
        (
            lambda: Alignment().merge_state(Alignment(1)),
            r"both must have the same settings, got \[2.0, 1.0\] and \[1.0, 1.0\]",
        ),
    ],
)
def test_a_message_says_what_came_what_is_expected_and_what_to_do(
    wrong: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_a_refused_batch_leaves_no_trace() -> None:
    for metric in (feed(Uniformity(), HOLED[::2]), feed(RankMe(), HOLED[::2])):
        before = value(metric)
        with pytest.raises(ValueError, match="norm 0"):
            metric.update(HOLED)
        assert value(metric) == before


def test_zero_rows_are_rows_without_normalising() -> None:
    close(feed(Uniformity(normalize=False), HOLED).compute(), float(uniform_loss(HOLED)))


def test_without_torchmetrics_the_import_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['torchmetrics'] = None; import align_uniform.metrics"
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    last = process.stderr.strip().splitlines()[-1]
    assert "ModuleNotFoundError: torchmetrics is missing; run: pip install 'align-uniform[metrics]'" in last


# --------------------------------------------------------------------------------------------- many processes


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Return each process's results, check by check, by world size."""
    return found_by("metrics_worker", tmp_path_factory.mktemp("processes"), COUNTS)


SPLITS = [(world, counts) for world, splits in COUNTS.items() for counts in splits]
FIRST_SPLITS = [(world, counts) for world, splits in COUNTS.items() for counts in splits[:2]]


def expected_values(x: Tensor, y: Tensor) -> dict[str, float]:
    """Return the values of all rows at once, except for the small sample."""
    pairs = [measure(x, y, alpha=alpha).align for alpha in (2, 1)]
    uniforms = {
        "uniform": measure(x).uniform,
        "uniform t=3": measure(x, t=3).uniform,
        "uniform raw": measure(x, normalize=False).uniform,
    }
    values = {"rankme": measure(x).rankme} | {name: uniform.value for name, uniform in uniforms.items()}
    values |= {f"{name} stderr": uniform.stderr or math.nan for name, uniform in uniforms.items()}
    for name, align in zip(("align", "align alpha=1"), pairs, strict=True):
        assert align is not None
        values |= {name: align.value, f"{name} stderr": align.stderr or math.nan}
    return values


def few_value(parts: list[Tensor]) -> float:
    """Return the value of the rows with the smallest keys; of all if they are few."""
    keys = [key(5, rank, number) for rank, part in enumerate(parts) for number in range(len(part))]
    smallest = sorted(range(len(keys)), key=lambda number: keys[number])[:FEW]
    return measure(torch.cat(parts)[smallest]).uniform.value


def agree(results: list[Any], expected: dict[str, float]) -> None:
    """Assert that every process has all of the values, the same on each to the last bit."""
    for result in results:
        assert not isinstance(result, str), result
        for name, number in expected.items():
            close(result[name], number)
            assert result[name].isnan() if results[0][name].isnan() else result[name] == results[0][name]


@pytest.mark.parametrize(("world", "counts"), SPLITS, ids=str)
def test_many_processes_have_the_values_of_one(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    x, y = metrics_worker.views(counts)
    expected = expected_values(x, y) | {"uniform few": few_value(list(x.split(list(counts))))}
    results = [result[f"streamed {counts}"] for result in found[world]]
    assert not any(isinstance(result, str) for result in results), results
    agree([first for first, _ in results], expected)
    both = [torch.cat(pair) for pair in zip(x.split(list(counts)), y.split(list(counts)), strict=True)]
    expected = expected_values(torch.cat([x, y]), torch.cat([y, x])) | {"uniform few": few_value(both)}
    agree([second for _, second in results], expected)


@pytest.mark.parametrize(("world", "counts"), FIRST_SPLITS, ids=str)
def test_many_processes_with_an_empty_batch_each_have_the_values_of_one(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    agree(
        [result[f"empty batches {counts}"] for result in found[world]],
        expected_values(*metrics_worker.views(counts)),
    )


@pytest.mark.parametrize(("world", "counts"), FIRST_SPLITS, ids=str)
def test_processes_may_hold_rows_of_different_dtypes(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    parts = metrics_worker.views(counts).split(list(counts), dim=1)
    x, y = torch.cat([part.to(dtype).double() for part, dtype in zip(parts, WIDTHS, strict=False)], dim=1)
    agree([result[f"mixed {counts}"] for result in found[world]], expected_values(x, y))


@pytest.mark.parametrize(("world", "counts"), FIRST_SPLITS, ids=str)
def test_a_step_has_the_value_of_all_processes_if_asked_and_its_own_if_not(
    world: int, counts: tuple[int, ...], found: dict[int, list[dict[str, Any]]]
) -> None:
    expected = expected_values(*metrics_worker.views(counts))
    agree(
        [result[f"on step {counts}"] for result in found[world]],
        {name: number for name, number in expected.items() if "stderr" not in name},
    )
    for rank, result in enumerate(found[world]):
        x, y = metrics_worker.views(counts, rank)
        own = result[f"own batch {counts}"]
        assert not isinstance(own, str), own
        if len(x):
            agree(
                [own],
                {name: number for name, number in expected_values(x, y).items() if "stderr" not in name},
            )


@pytest.mark.parametrize("world", COUNTS)
def test_processes_without_any_row_have_nan(world: int, found: dict[int, list[dict[str, Any]]]) -> None:
    for result in found[world]:
        assert not isinstance(result["nothing"], str), result["nothing"]
        assert all(number.isnan() for number in result["nothing"].values())


@pytest.mark.parametrize("world", COUNTS)
@pytest.mark.parametrize("name", ["uniform", "rankme"])
def test_processes_with_different_features_all_say_so(
    world: int, name: str, found: dict[int, list[dict[str, Any]]]
) -> None:
    for result in found[world]:
        assert (
            "x must have one number of features on all processes, got [6, 7" in result[f"features of {name}"]
        )
