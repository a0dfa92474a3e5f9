"""The option list of every command is frozen, and every help page is written in sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from align_uniform._options import Options, one_of
from align_uniform.cli import COMMANDS
from align_uniform.cli.options import add_options, as_typed, read_values
from align_uniform.cli.parser import Parser
from align_uniform.recipes.pretrain.options import MocoOptions

OPTIONS = {
    "measure": [
        "-h/--help",
        "--config",
        "--print-config",
        "--positives",
        "--pairs",
        "--columns",
        "--score",
        "--threshold",
        "--inclusive/--no-inclusive",
        "--all-pairs/--no-all-pairs",
        "--ids",
        "--positive-ids",
        "--labels",
        "--groups",
        "--t",
        "--alpha",
        "--method {exact,anchors}",
        "--anchors",
        "--seed",
        "--as-is/--no-as-is",
        "--center",
        "--dims",
        "--device",
        "--name",
        "--kind {sentences,images}",
        "--json/--no-json",
        "--report",
        "--map {pca,umap}",
        "--texts",
        "--positive-texts",
        "--positive-images",
        "--top",
        "--rows-out",
        "--force/--no-force",
        "--fail-on {warning,problem}",
        "--fail-if",
        "--encoder",
        "--images",
        "--features-out",
        "--prompt-name",
        "--prompt",
        "--weights",
        "--weights-sha256",
        "--layer",
        "--batch-size",
        "--workers",
        "--views-preset {stl10,moco-v1,moco-v2,fashion-mnist,cifar10}",
        "--arch",
        "--dim",
        "--head {linear,mlp}",
        "--size",
        "--mean",
        "--std",
        "FEATURES",
    ],
    "compare": [
        "-h/--help",
        "--config",
        "--print-config",
        "--prompt-name",
        "--prompt",
        "--encoder",
        "--columns",
        "--score",
        "--threshold",
        "--inclusive/--no-inclusive",
        "--all-pairs/--no-all-pairs",
        "EMBEDDING",
        "--positives",
        "--paired/--no-paired",
        "--names",
        "--accuracy",
        "--t",
        "--alpha",
        "--device",
        "--figure",
        "--report",
        "--map {pca,umap}",
        "--texts",
        "--images",
        "--json/--no-json",
        "--fail-if",
        "--force/--no-force",
    ],
    "drift": [
        "-h/--help",
        "--config",
        "--print-config",
        "--paired/--no-paired",
        "--ids",
        "--positives",
        "--texts",
        "--rotation-invariant/--no-rotation-invariant",
        "--t",
        "--alpha",
        "--permutations",
        "--test-rows",
        "--method {exact,anchors}",
        "--anchors",
        "--seed",
        "--as-is/--no-as-is",
        "--device",
        "--fail-if-moved/--no-fail-if-moved",
        "--significance",
        "--tolerance",
        "--names",
        "--top",
        "--json/--no-json",
        "--rows-out",
        "--force/--no-force",
        "OLD",
        "NEW",
    ],
    "demo": [
        "-h/--help",
        "--config",
        "--print-config",
        "--out",
        "--seeds",
        "--steps",
        "--force/--no-force",
    ],
    "pretrain two-view": [
        "-h/--help",
        "--config",
        "--print-config",
        "--data {stl10,fashion-mnist,cifar10,imagefolder,digits}",
        "--root",
        "--download/--no-download",
        "--limit",
        "--size",
        "--mean",
        "--std",
        "--arch",
        "--dim",
        "--stem {imagenet,small}",
        "--align-weight",
        "--align-alpha",
        "--uniform-weight",
        "--uniform-t",
        "--contrastive-weight",
        "--contrastive-tau",
        "--local-losses/--no-local-losses",
        "--epochs",
        "--batch-size",
        "--lr",
        "--momentum",
        "--weight-decay",
        "--schedule {step,cosine}",
        "--milestones",
        "--seed",
        "--device",
        "--precision {fp32,bf16,fp16}",
        "--channels-last/--no-channels-last",
        "--compile/--no-compile",
        "--workers",
        "--augment-on {cpu,device}",
        "--out",
        "--resume {auto,never}",
        "--log-every",
        "--evaluate-every",
        "--tensorboard/--no-tensorboard",
        "--steps",
        "--preset {cifar10,cifar10-cpu,digits,fashion-mnist,imagefolder,stl10}",
        "--sync-batchnorm/--no-sync-batchnorm",
    ],
    "pretrain moco": [
        "-h/--help",
        "--config",
        "--print-config",
        "--data {fashion-mnist,cifar10,imagefolder,digits}",
        "--root",
        "--download/--no-download",
        "--limit",
        "--size",
        "--mean",
        "--std",
        "--arch",
        "--dim",
        "--stem {imagenet,small}",
        "--align-weight",
        "--align-alpha",
        "--uniform-weight",
        "--uniform-t",
        "--contrastive-weight",
        "--contrastive-tau",
        "--local-losses/--no-local-losses",
        "--epochs",
        "--batch-size",
        "--lr",
        "--momentum",
        "--weight-decay",
        "--schedule {step,cosine}",
        "--milestones",
        "--seed",
        "--device",
        "--precision {fp32,bf16,fp16}",
        "--channels-last/--no-channels-last",
        "--compile/--no-compile",
        "--workers",
        "--augment-on {cpu,device}",
        "--out",
        "--resume {auto,never}",
        "--log-every",
        "--evaluate-every",
        "--tensorboard/--no-tensorboard",
        "--steps",
        "--preset {cifar10,fashion-mnist,imagenet,imagenet-100,imagenet-moco-v2}",
        "--mlp/--no-mlp",
        "--aug-plus/--no-aug-plus",
        "--queue",
        "--key-momentum",
        "--intra-batch/--no-intra-batch",
        "--keep-every",
        "--start",
    ],
    "encode": [
        "-h/--help",
        "--config",
        "--print-config",
        "ENCODER",
        "ITEMS",
        "--out",
        "--arch",
        "--dim",
        "--head {linear,mlp}",
        "--size",
        "--mean",
        "--std",
        "--weights",
        "--weights-sha256",
        "--layer",
        "--batch-size",
        "--workers",
        "--prompt-name",
        "--prompt",
        "--columns",
        "--split",
        "--root",
        "--download/--no-download",
        "--device",
        "--force/--no-force",
    ],
    "evaluate linear": [
        "-h/--help",
        "--config",
        "--print-config",
        "--encoder",
        "--layer",
        "--data {stl10,fashion-mnist,cifar10,imagefolder,digits}",
        "--root",
        "--download/--no-download",
        "--arch",
        "--dim",
        "--head {linear,mlp}",
        "--size",
        "--mean",
        "--std",
        "--train-features",
        "--train-labels",
        "--test-features",
        "--test-labels",
        "--batch-size",
        "--workers",
        "--device",
        "--out",
        "--force/--no-force",
        "--protocol {stl10,imagenet,exact}",
        "--epochs",
        "--l2",
        "--state",
        "--resume {auto,never}",
        "--checkpoints",
        "--classifier",
        "--seed",
    ],
    "evaluate knn": [
        "-h/--help",
        "--config",
        "--print-config",
        "--encoder",
        "--layer",
        "--data {stl10,fashion-mnist,cifar10,imagefolder,digits}",
        "--root",
        "--download/--no-download",
        "--arch",
        "--dim",
        "--head {linear,mlp}",
        "--size",
        "--mean",
        "--std",
        "--train-features",
        "--train-labels",
        "--test-features",
        "--test-labels",
        "--batch-size",
        "--workers",
        "--device",
        "--out",
        "--force/--no-force",
        "--k",
        "--weight {votes,softmax}",
        "--tau",
    ],
    "evaluate compare": [
        "-h/--help",
        "--config",
        "--print-config",
        "SCORES",
        "--names",
        "--json/--no-json",
    ],
    "imagenet-subset": [
        "-h/--help",
        "--config",
        "--print-config",
        "FULL",
        "OUT",
        "--classes",
        "--force/--no-force",
    ],
}
"""The options and their choices. Users' scripts rely on them: change them deliberately."""


def surface(words: tuple[str, ...]) -> list[str]:
    """What a command takes."""
    return [
        ("/".join(action.option_strings) or str(action.metavar))
        + (f" {{{','.join(map(str, action.choices))}}}" if action.choices else "")
        for action in COMMANDS[words].parser(words).actions
    ]


def test_the_commands_are_frozen() -> None:
    assert [" ".join(words) for words in COMMANDS] == list(OPTIONS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_options_of_a_command_are_frozen(words: tuple[str, ...]) -> None:
    assert surface(words) == OPTIONS[" ".join(words)]


def helps() -> list[tuple[str, str]]:
    """Every option of every command, with its help."""
    return [
        (f"{' '.join(words)} {'/'.join(action.option_strings) or action.metavar}", str(action.help))
        for words, command in COMMANDS.items()
        for action in command.parser(words).actions
    ]


NO_BEGINNING = {
    "about", "after", "as", "at", "before", "beside", "but", "by", "for", "from", "if", "in", "into", "of",
    "on", "that", "to", "unless", "what", "when", "where", "which", "who", "whose", "with", "without",
}  # fmt: skip
"""Words that begin half a sentence."""

NO_WORDS = re.compile(
    r"\(ours\)|\bnull\b|\bNone\b|<class|\btype:|unless given|[a-z]_[a-z]+ (must|is)|beside\b"
)


@pytest.mark.parametrize(("option", "text"), helps(), ids=[option for option, _ in helps()])
def test_the_help_of_an_option_is_a_sentence(option: str, text: str) -> None:
    assert text.split()[0].lower() not in NO_BEGINNING
    assert text.endswith(".")
    assert text[0].isupper() or text.split(":")[0] in ("auto",)
    assert not NO_WORDS.search(text)
    assert len(text.split()) > 2


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_heading_and_description_is_written_out(words: tuple[str, ...]) -> None:
    parser = COMMANDS[words].parser(words)
    assert str(parser.description).endswith(".")
    titles = [str(group.title) for group in parser._action_groups if group._group_actions]
    assert not [title for title in titles if title.split()[0].lower() in NO_BEGINNING]
    assert not [title for title in titles if title.endswith((".", ":"))]


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("lr must be above 0", "--lr must be above 0"),
        (
            "other options: lr was 0.2 and is 0.3, data was 'x'",
            "other options: --lr was 0.2 and is 0.3, --data was 'x'",
        ),
        ("mlp is for ResNets; leave it out", "--mlp is for ResNets; leave it out"),
        ("queue must be a multiple of batch_size", "--queue must be a multiple of --batch-size"),
        ("the data must be there", "the data must be there"),
        ("images/data must be there", "images/data must be there"),
        ("no size was given, size was missing", "no size was given, size was missing"),
        ("give the queue, data and size", "give the queue, data and size"),
    ],
)
def test_the_names_of_options_are_spelled_as_they_are_typed_and_other_words_are_kept(
    text: str, typed: str
) -> None:
    assert as_typed(MocoOptions, text) == typed


# ------------------------------------------------------------------------------------------------ dataclasses


@dataclass(frozen=True)
class Colours(Options):
    """The colours."""

    shade: Literal["dark", "light"] = "dark"
    """Shade of the paint."""
    layers: int = 2
    """Number of layers."""


@dataclass(frozen=True, kw_only=True)
class Painting(Colours):
    """Options of painting."""

    wall: Path = field(metadata={"argument": True, "metavar": "WALL"})
    """Wall to paint."""
    layers: int = 3
    """Number of layers of paint, see drying_hours."""
    brush: str | None = one_of(None, lambda: ("flat", "round"))
    """Brush, of which 50% are flat."""
    drying_hours: float = 1e-3
    """Hours between two layers."""
    widths: tuple[int, ...] = (1, 2)
    """Widths of the strokes."""
    corner: tuple[float, float] | None = None
    """Where to begin."""
    ceiling: bool = True
    """Paint the ceiling, too."""


def painting() -> Parser:
    parser = Parser("paint", "Paint.")
    add_options(parser, Painting)
    return parser


def test_the_namespace_holds_what_was_typed_and_nothing_else() -> None:
    assert painting().parse([]) == {}
    typed = "north --shade light --layers 1 --drying-hours 1e-2 --widths 5 6 7 --corner 0 -1 --no-ceiling"
    assert painting().parse(typed.split()) == {
        "wall": Path("north"), "shade": "light", "layers": 1, "drying_hours": 0.01, "widths": [5, 6, 7],
        "corner": [0.0, -1.0], "ceiling": False,
    }  # fmt: skip


def test_the_help_has_defaults_in_words_and_inherited_options_below_their_own_heading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    assert [" ".join(line.split()) for line in painting().format_help().splitlines() if line] == [
        "usage: paint [OPTIONS] WALL",
        "Paint.",
        "arguments:",
        "WALL Wall to paint.",
        "options:",
        "-h, --help Show this page and exit.",
        "--brush {flat,round} Brush, of which 50% are flat.",
        "--drying-hours X Hours between two layers. Default: 0.001.",
        "--widths N [N ...] Widths of the strokes. Default: 1 2.",
        "--corner X X Where to begin.",
        "--ceiling, --no-ceiling Paint the ceiling, too. Default: on.",
        "The colours:",
        "--shade {dark,light} Shade of the paint. Default: dark.",
        "--layers N Number of layers of paint, see --drying-hours. Default: 3.",
    ]


VALUES: dict[str, Any] = {
    "wall": "north", "shade": "light", "brush": None, "drying_hours": "1e-2", "widths": [],
    "corner": [0, 1.5], "ceiling": False,
}  # fmt: skip


def test_a_file_has_the_same_values() -> None:
    assert read_values(Painting, VALUES, "paint.yaml") == VALUES | {
        "wall": Path("north"), "drying_hours": 0.01, "widths": (), "corner": (0.0, 1.5),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer", 3, "there is no option layer; did you mean layers?"),
        ("layers", 2.5, "layers must be a whole number, got 2.5"),
        ("layers", True, "layers must be a whole number, got True"),
        ("layers", None, "layers must be a whole number, got None"),
        ("drying_hours", "long", "drying_hours must be a number, got 'long'"),
        ("drying_hours", False, "drying_hours must be a number, got False"),
        ("widths", 3, "widths must be a list of values, got 3"),
        ("widths", [1, "x"], "widths must be a whole number, got 'x'"),
        ("corner", [1], "corner must be a list of 2 values, got [1]"),
        ("ceiling", "yes", "ceiling must be true or false, got 'yes'"),
        ("wall", 3, "wall must be a path, got 3"),
        ("shade", "darkk", "shade must be one of dark, light, got 'darkk'; did you mean dark?"),
        ("brush", 1, "brush must be one of flat, round, got 1"),
    ],
)
def test_a_wrong_value_of_a_file_is_named_with_the_file(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"paint.yaml: {message}")):
        read_values(Painting, {name: value}, "paint.yaml")
