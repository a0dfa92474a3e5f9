"""Options that would have no effect are refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from align_uniform._options import without_effect
from align_uniform.cli import COMMANDS, main
from align_uniform.cli.command import named
from align_uniform.cli.config import chosen, merged
from align_uniform.cli.options import options_of

SAVED = (
    "--train-features x.npy --train-labels labels.txt --test-features y.npy --test-labels labels.txt "
    "--protocol exact"
)
KNN = f"evaluate knn {SAVED.removesuffix(' --protocol exact')}"

VAIN = [
    ("measure x.npy --anchors 50", "--anchors has no effect without --method anchors; add --method anchors"),
    ("measure x.npy --inclusive --pairs pairs.csv", "--inclusive has no effect without --threshold"),
    ("measure x.npy --columns a b --all-pairs", "--columns and --all-pairs have no effect without --pairs"),
    ("measure x.npy --pairs pairs.csv --score s", "--score has no effect without --threshold"),
    (
        "measure x.npy --pairs pairs.csv --threshold 4 --all-pairs",
        "--all-pairs has no effect with --threshold; leave one of them out",
    ),
    (
        "measure x.npy --report r.html --positive-texts ids.txt",
        "--positive-texts has no effect without --positives",
    ),
    (
        "measure x.npy --positives y.npy --positive-texts ids.txt --positive-images ids.txt",
        "--positive-texts and --positive-images have no effect without --report",
    ),
    ("measure x.npy --threshold 4", "--threshold has no effect without --pairs"),
    ("measure x.npy --positive-ids ids.txt", "--positive-ids has no effect without --positives"),
    ("measure x.npy --texts ids.txt", "--texts has no effect without --report or --json; add --report"),
    ("measure x.npy --images ids.txt", "--images has no effect without --report or --encoder"),
    ("measure x.npy --top 3", "--top has no effect without --report or --json"),
    ("measure x.npy --force", "--force has no effect without --report or --rows-out or --features-out"),
    ("measure x.npy --layer fc7 --size 32", "--size and --layer have no effect without --encoder"),
    ("measure x.npy --features-out f.npy", "--features-out has no effect without --encoder"),
    ("measure --encoder e.pth --images i --pairs pairs.csv", "--pairs has no effect without FEATURES"),
    ("compare a.json b.json --t 2", "--t has no effect without an embedding that is a file of rows"),
    ("compare a.json b.json --alpha 1 --device cpu", "--alpha and --device have no effect without"),
    ("compare x.npy y.npy --force", "--force has no effect without --figure"),
    ("drift x.npy y.npy --anchors 50", "--anchors has no effect without --method anchors"),
    ("drift x.npy y.npy --alpha 1", "--alpha has no effect without --positives"),
    ("drift x.npy y.npy --force", "--force has no effect without --rows-out"),
    (
        "drift x.npy y.npy --rotation-invariant --permutations 99 --texts ids.txt --top 3",
        "--permutations and --texts and --top have no effect with --rotation-invariant",
    ),
    (f"{KNN} --layer fc7", "--layer has no effect without --encoder"),
    (f"{KNN} --device cpu --root data --workers 2", "--root and --workers and --device have no effect"),
    (f"{KNN} --arch small-conv", "--arch has no effect without --encoder"),
    (f"{KNN} --force", "--force has no effect without --out"),
    (f"{KNN} --tau 0.1", "--tau has no effect without --weight softmax"),
    (f"evaluate linear {SAVED} --epochs 3 --seed 1", "--epochs and --seed have no effect with --protocol"),
    (f"evaluate linear {SAVED} --state s.pt", "--state has no effect with --protocol exact"),
    ("evaluate linear --encoder e.pth --l2 1", "--l2 has no effect without --protocol exact"),
    ("evaluate linear --encoder e.pth --resume never", "--resume has no effect without --state"),
    (
        "evaluate linear --encoder e.pth --classifier c.pt --epochs 3 --seed 0",
        "--epochs and --seed have no effect with --classifier; leave one of them out",
    ),
    ("evaluate knn --encoder e.pth --data digits --root data", "--root has no effect with --data digits"),
    ("pretrain two-view --contrastive-tau 1", "--contrastive-tau has no effect without --contrastive-weight"),
    ("pretrain two-view --preset digits --download", "--download has no effect with --data digits"),
    ("pretrain two-view --local-losses", "--local-losses has no effect without several processes"),
    ("pretrain moco --local-losses", "--local-losses has no effect without several processes"),
    ("pretrain two-view --sync-batchnorm", "--sync-batchnorm has no effect without several processes that"),
]


@pytest.mark.parametrize(("typed", "message"), VAIN, ids=[typed for typed, _ in VAIN])
def test_an_option_without_effect_is_refused(
    typed: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"align-uniform: {message}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "typed",
    [
        "measure x.npy --no-inclusive --no-force",
        "measure x.npy --method anchors --anchors 20 --name x",
        "measure x.npy --texts ids.txt --top 3 --json",
        "compare x.npy y.npy --t 1 --device cpu",
        f"{KNN} --weight softmax --tau 0.1",
    ],
)
def test_options_with_an_effect_and_switches_that_are_off_are_taken(typed: str, folder: Path) -> None:
    assert main(typed.split()) == 0


def test_a_file_of_options_is_held_to_the_rules_except_for_usual_values(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("usual.yaml").write_text("features: x.npy\nanchors: 2000\ntexts: null\nforce: false\n")
    assert main(["measure", "--config", "usual.yaml"]) == 0
    Path("vain.yaml").write_text("features: x.npy\nanchors: 20\n")
    assert main(["measure", "--config", "vain.yaml"]) == 2
    assert "--anchors has no effect" in capsys.readouterr().err
    Path("run.yaml").write_text("preset: digits\nsync_batchnorm: true\n")
    assert main(["pretrain", "two-view", "--config", "run.yaml"]) == 2
    assert "--sync-batchnorm has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["imagenet", "imagenet-100", "fashion-mnist"])
def test_what_a_preset_brings_is_nobodys_choice(preset: str) -> None:
    kind = named(COMMANDS["pretrain", "moco"].options)
    typed = {"preset": preset, "schedule": "cosine"}
    values = merged(kind, typed, [])
    assert len(values) > 5
    assert chosen(kind, typed, values) == {"preset", "schedule"}
    assert without_effect(kind(**values), chosen(kind, typed, values)) == ""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_rules_name_options_that_exist(words: tuple[str, ...]) -> None:
    kind = named(COMMANDS[words].options)
    known = {option.name for option in options_of(kind)}
    rules = [rule for owner in kind.__mro__ for rule in vars(owner).get("rules", ())]
    for rule in rules:
        assert set(rule.options) <= known
        others = [typed.partition(" ")[0].removeprefix("--").replace("-", "_").lower() for typed in rule.to]
        others += [typed.partition(" ")[0].removeprefix("--").replace("-", "_") for typed in rule.against]
        assert all(hasattr(kind, name) or name in {each.name for each in fields(kind)} for name in others)
        typed = [each for each in (*rule.to, *rule.against) if not (each.islower() and each.isidentifier())]
        assert rule.words or (typed and all(each.startswith("--") for each in typed))


def test_processes_on_gpus_synchronise_batchnorm(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = named(COMMANDS["pretrain", "two-view"].options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert without_effect(kind(sync_batchnorm=True, local_losses=True), {"sync_batchnorm"}) == ""
    assert "no effect" in without_effect(kind(sync_batchnorm=True, device="cpu"), {"sync_batchnorm"})
