"""Streamed metrics equal what one look at all rows finds, and are torchmetrics metrics like any other."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from matplotlib.figure import Figure
from torchmetrics import Metric, MetricCollection

from align_uniform import measure
from align_uniform.engine import precision
from align_uniform.geometry import Moments, rankme
from align_uniform.metrics import Alignment, RankMe, Uniformity
from tests import oracle, rows
from tests.as_they_are import align_loss, uniform_loss
from tests.metrics.feeding import METRICS, close, clustered, feed, value, views_for

mpl.use("Agg")


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


def test_leading_dimensions_are_rows_too() -> None:
    x = rows.unit(2, 4, 5, 3)
    close(feed(Uniformity(), x[0]).compute(), value(feed(Uniformity(), x[0].flatten(0, 1))), 1e-12)
    close(feed(RankMe(), x[0]).compute(), value(feed(RankMe(), x[0].flatten(0, 1))), 1e-12)
    close(feed(Alignment(), x).compute(), float(align_loss(x[0], x[1])), 1e-12)


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
def test_a_change_of_dtype_leaves_the_state_on_its_device(kind: Callable[[], Metric]) -> None:
    metric = kind().to("meta")  # stands for a GPU
    metric._apply(lambda z: z.to(torch.bfloat16))
    assert metric.settings.device.type == "meta"
    assert metric.settings.dtype == torch.float64


@pytest.mark.parametrize("kind", METRICS)
def test_on_a_device_without_float64_the_state_stays_on_the_cpu(
    kind: Callable[[], Metric], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", {"meta"})
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


@pytest.mark.parametrize("kind", [Uniformity, RankMe])
@pytest.mark.parametrize("width", [1, 8])
def test_metrics_of_rows_of_different_widths_are_not_merged(
    kind: type[Uniformity | RankMe], width: int
) -> None:
    first, second, empty = kind(), kind(), kind()
    first.update(rows.unit(20, 16)), second.update(rows.unit(5, width))
    before = first.compute()
    for other in (second, second.metric_state):
        with pytest.raises(ValueError, match=f"one number of features, got 16 and {width}; merge"):
            first.merge_state(other)
    first.merge_state(empty)
    assert first.compute() == before
    empty.merge_state(second)
    assert empty.compute() == second.compute()


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


def test_the_repr_shows_the_settings() -> None:
    assert repr(Alignment(1)) == "Alignment(alpha=1.0, normalize=True)"
    assert repr(Uniformity(3, max_rows=7)) == "Uniformity(t=3.0, normalize=True, max_rows=7, seed=0)"
    assert repr(RankMe(normalize=False)) == "RankMe(normalize=False)"


def test_without_torchmetrics_the_import_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['torchmetrics'] = None; import align_uniform.metrics"
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    last = process.stderr.strip().splitlines()[-1]
    assert "ModuleNotFoundError: torchmetrics is missing; run: pip install 'align-uniform[metrics]'" in last
