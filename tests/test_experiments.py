"""Tests of the experiments without their runs: what is kept of a run, and what is said of all of them."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments import cifar10, fashion_mnist, runs

from align_uniform.recipes.judge.scores import score

ROOT = Path(__file__).parent.parent / "experiments"


def test_hits_of_images_are_kept_and_read() -> None:
    labels = torch.arange(10).repeat(16)
    ranked = torch.stack([labels, (labels + 1) % 10], 1)
    ranked[::3] = ranked[::3].flip(1)
    scores = score(ranked, labels, [str(label) for label in range(10)])
    outcome = runs.Outcome("plane", "x", 0, 1, 0.1, -2.0, 0.5, 0.5, 1.0, {"knn": runs.packed(scores)})
    assert torch.equal(runs.hits_of(outcome, "knn"), torch.arange(160) % 3 != 0)


def test_recorded_runs_are_read_and_those_of_other_images_are_refused() -> None:
    outcomes = runs.read(ROOT / "fashion_mnist.json", data="fashion-mnist", images=20_000)
    assert {each.part for each in outcomes} >= {"baseline", "two-view", "moco", "plane"}
    with pytest.raises(SystemExit, match=r"fashion_mnist\.json has 20000 as images, not 10; choose another"):
        runs.read(ROOT / "fashion_mnist.json", images=10)
    with pytest.raises(SystemExit, match=r"has 'fashion-mnist' as data, not 'cifar10'; choose another"):
        runs.read(ROOT / "fashion_mnist.json", data="cifar10")
    with pytest.raises(SystemExit, match=r"cifar10\.json has None as images, not 10; choose another"):
        runs.read(ROOT / "cifar10.json", images=10)
    assert runs.read(ROOT / "nothing.json") == []


def test_runs_are_told_apart_by_their_keys() -> None:
    options = Namespace(
        parts=["circle", "objectives", "plane", "two-view", "moco"],
        seeds=[0, 1, 2],
        images=100,
        epochs=2,
        plane_epochs=1,
    )
    for jobs in (cifar10.jobs(options), fashion_mnist.jobs(options)):
        assert len({each.key for each in jobs}) == len(jobs)
    plane = [each for each in cifar10.jobs(options) if each.part == "plane"]
    assert len({each.name for each in plane}) >= 12
    assert {each.seed for each in plane} == {0, 1}


def test_the_rank_correlation_has_an_interval_over_mixtures() -> None:
    names = [str(mixture) for mixture in range(12) for _ in range(2)]
    values = np.arange(24.0)
    assert cifar10.correlation(values, -values, names) == pytest.approx((-1, -1, -1))
    noise = np.random.default_rng(0).standard_normal(24)
    rho, low, high = cifar10.correlation(values, noise, names)
    assert low < 0 < high
    assert low < rho < high


def test_the_page_shows_the_recorded_runs_on_cifar10() -> None:
    page = (ROOT.parent / "docs" / "training.md").read_text(encoding="utf-8")
    outcomes = runs.read(ROOT / "cifar10.json", data="cifar10")
    assert sum(each.part == "plane" for each in outcomes) == 2 * len(cifar10.PLANE)
    for each in [each for each in outcomes if each.part != "plane"]:
        assert f"| {100 * each.linear:.1f} | {100 * each.knn:.1f} |" in page, each.name
        assert runs.hits_of(each, "linear").double().mean() == pytest.approx(each.linear)


def test_the_page_has_the_differences_that_the_experiment_on_cifar10_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT.parent / "docs" / "training.md").read_text(encoding="utf-8")
    outcomes = runs.read(ROOT / "cifar10.json", data="cifar10")
    cifar10.print_differences([each for each in outcomes if each.part != "plane" and each.dim != 2])
    printed = re.findall(r"contrastive, tau = 0.5: \+(\S+) ± (\S+) .* p < 0.0001", capsys.readouterr().out)
    assert len(printed) == 2
    for value, error in printed:
        assert f"{float(value):.1f} ± {float(error):.1f}" in page
    cifar10.print_correlations([each for each in outcomes if each.part == "plane"])
    found = re.findall(r"rho (.*)", capsys.readouterr().out)
    assert len(found) == 6
    for linear, neighbours in zip(found[:3], found[3:], strict=True):
        assert f"| {linear} | {neighbours} |".replace("-", "−") in page
