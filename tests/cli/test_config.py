"""Options from presets and files: which counts more, and files that are none."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from align_uniform.cli import COMMANDS, main
from align_uniform.cli.command import named
from align_uniform.cli.config import as_yaml, merged, read_config
from align_uniform.recipes.demo_options import DemoOptions
from align_uniform.recipes.pretrain.options import MocoOptions, TwoViewOptions


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_default_gives_way_to_the_preset_and_that_to_files_and_those_to_what_is_typed(
    tmp_path: Path,
) -> None:
    first = written(tmp_path, "first.yaml", "preset: digits\nepochs: 7\nlr: 0.5\nseed: 1\n")
    second = written(tmp_path, "second.yaml", "lr: 1e-2\nseed: 2\n")
    options = TwoViewOptions(**merged(TwoViewOptions, {"seed": 3}, [first, second]))
    assert (options.seed, options.lr, options.epochs) == (3, 0.01, 7)
    assert (options.data, options.size, options.momentum) == ("digits", 16, 0.9)


def test_the_typed_preset_counts_more_than_that_of_a_file(tmp_path: Path) -> None:
    file = written(tmp_path, "options.yaml", "preset: digits\n")
    assert TwoViewOptions(**merged(TwoViewOptions, {"preset": "stl10"}, [file])).data == "stl10"


def test_without_a_preset_the_default_one_is_taken() -> None:
    assert MocoOptions(**merged(MocoOptions, {}, [])) == MocoOptions()


def test_an_unknown_preset_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    file = written(tmp_path, "options.yaml", "preset: nothing\n")
    with pytest.raises(ValueError, match=r"options\.yaml: preset must be one of cifar10, cifar10-cpu"):
        merged(TwoViewOptions, {}, [file])


def test_printed_options_are_read_back(tmp_path: Path) -> None:
    options = MocoOptions(queue=512, mean=(0.5, 0.25), std=(0.5, 0.5), start=Path("x.pth.tar"), mlp=True)
    printed = as_yaml(
        MocoOptions, {name: getattr(options, name) for name in ("queue", "mean", "std", "start", "mlp")}
    )
    file = written(tmp_path, "options.yaml", printed)
    assert MocoOptions(**merged(MocoOptions, {}, [file])) == options
    assert set(yaml.safe_load(printed)) >= {"preset", "queue", "resume"}


TYPED = {
    "measure": "x.npy --labels labels.txt --t 2 1e-3 --no-json",
    "compare": "x.npy y.npy --names 1 2 --accuracy 0.5 0.25 --fail-if uniform>0 n==3 --fail-if dim<2",
    "drift": "old.npy new.npy --ids ids.txt --permutations 99 --fail-if-moved",
    "evaluate compare": "a.json b.json --names A B",
    "imagenet-subset": "full out --classes imagenet-100 --force",
    "pretrain moco": "--preset imagenet --mean 0.5 0.25 --std 0.5 0.5 --limit 7",
    "encode": "results/run photos --out x.npy --layer fc7 --mean 0.5 0.25 --std 0.5 0.5",
    "evaluate linear": "--encoder results/run --l2 1e-5",
    "evaluate knn": "--encoder results/run --k 200 --weight softmax",
}
"""Options of commands: those with an argument, and of each kind of value."""


@pytest.mark.parametrize("typed", ["", "some"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_printed_options_of_every_command_are_the_same_when_read_back(
    words: tuple[str, ...], typed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = TYPED.get(" ".join(words), "--seed 3").split() if typed and words != ("demo",) else []
    assert main([*words, *given, "--print-config"]) == 0
    printed = capsys.readouterr().out
    file = written(tmp_path, "options.yaml", printed)
    assert main([*words, "--config", str(file), "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    kind = named(COMMANDS[words].options)
    if given:
        direct = kind(**merged(kind, COMMANDS[words].parser(words).parse(given), []))
        for each in fields(kind):
            read, now = getattr(kind(**merged(kind, {}, [file])), each.name), getattr(direct, each.name)
            assert read == (tuple(now) if isinstance(now, list) else now)


def test_a_value_of_none_in_a_file_counts_more_than_the_preset(tmp_path: Path) -> None:
    file = written(tmp_path, "options.yaml", "workers: null\n")
    assert "workers: null" in as_yaml(TwoViewOptions, merged(TwoViewOptions, {}, [file]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [1", "options.yaml is not YAML: while parsing"),
        ("steps", "options.yaml must have lines such as 'seed: 3', got 'steps'"),
        ("step: 3", "options.yaml: there is no option step; did you mean steps?"),
        ("steps: many", "options.yaml: steps must be a whole number, got 'many'"),
        ("1: 2", "options.yaml: there is no option 1"),
    ],
)
def test_a_file_that_is_no_file_of_options_is_named(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        read_config(DemoOptions, written(Path(), "options.yaml", text))


def test_a_file_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "options.yaml", "steps: 3\n")
    expected: dict[str, Any] = {"steps": 3}
    assert read_config(DemoOptions, Path("~/options.yaml")) == expected
