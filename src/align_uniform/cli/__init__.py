"""The command `align-uniform`: results on stdout, all else on stderr.

Exit codes: 0 done, 1 an argument or a file is not as it should be, 2 the command line is not, 130 interrupted
(what was done until then is shown).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

import jsonargparse
import yaml  # type: ignore[import-untyped]

from align_uniform import __version__
from align_uniform.cli import compare, demo, evaluate, measure, pretrain, subset
from align_uniform.recipes.images.workers import reason


class Command(Protocol):
    """What a command is: a file in `commands`, or a class in one."""

    HELP: str
    DESCRIPTION: str

    def add_arguments(self, parser: Any, /) -> None:
        """Declare the command line."""

    def run(self, options: dict[str, Any], /) -> int:
        """Do it, and return the exit code."""


COMMANDS: dict[tuple[str, ...], Command] = {
    ("measure",): measure,
    ("compare",): compare,
    ("demo",): demo,
    ("pretrain", "two-view"): pretrain.TwoView(),
    ("pretrain", "moco"): pretrain.Moco(),
    ("evaluate", "linear"): evaluate.Linear(),
    ("evaluate", "knn"): evaluate.Knn(),
    ("imagenet-subset",): subset,
}
"""By the words that call them."""

GROUPS = {
    "pretrain": "train an encoder without labels",
    "evaluate": "what features are worth to a simple classifier",
}


class Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002  # jsonargparse's signature
        """Say what is wrong and exit with 2."""
        reason = " ".join(str(message).split())
        print(f"align-uniform: {reason} (see align-uniform --help)", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = _chosen(given)
    options = _parser(words, given).parse_args(given)
    if words not in COMMANDS:
        raise AssertionError(f"the parser let {words} pass")
    for word in words:
        options = options[word]
    chosen = options.as_dict()
    chosen.pop("config", None)
    try:
        code = COMMANDS[words].run(chosen)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough, as `head` does; nothing is left to write at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("align-uniform: interrupted.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"align-uniform: {' '.join(reason(error).split())}", file=sys.stderr)
        return 1
    return code


def _chosen(given: Sequence[str]) -> tuple[str, ...]:
    """The words of the command that is called."""
    words = [argument for argument in given if not argument.startswith("-")]
    return next((key for key in COMMANDS if tuple(words[: len(key)]) == key), ())


def _parser(words: tuple[str, ...], given: Sequence[str]) -> Parser:
    """A parser of all commands that knows the arguments of the one that is called: only its libraries need be
    there.
    """
    parser = Parser(
        prog="align-uniform", description="Alignment and uniformity on the hypersphere.", version=__version__
    )
    top = parser.add_subcommands(dest="command", required=True)
    groups: dict[str, Any] = {}
    for key, command in COMMANDS.items():
        if len(key) > 1 and key[0] not in groups:
            group = Parser(description=GROUPS[key[0]].capitalize() + ".")
            top.add_subcommand(key[0], group, help=GROUPS[key[0]])
            groups[key[0]] = group.add_subcommands(dest="kind", required=True)
        subparser = Parser(description=command.DESCRIPTION)
        if key == words:
            subparser.add_argument("--config", action="config", help="a YAML file of options")
            command.add_arguments(subparser)
            subparser.set_defaults(_preset(command, given))
        groups.get(key[0], top).add_subcommand(key[-1], subparser, help=command.HELP)
    return parser


def _preset(command: Command, given: Sequence[str]) -> dict[str, Any]:
    """The defaults that a preset sets, which the help and --print_config then show."""
    presets: dict[str, dict[str, Any]] = getattr(command, "PRESETS", {})
    name = _preset_name(given)
    return {"preset": name, **presets[name]} if name in presets else {}


def _preset_name(given: Sequence[str]) -> str:
    """The last that is said, by --preset or in a file of --config."""
    name = ""
    for word, following in zip(given, [*given[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        value = value if equals else following
        if option == "--preset":
            name = value
        elif option == "--config":
            name = _preset_in(value) or name
    return name


def _preset_in(config: str) -> str:
    """The preset that a file of options names, or options in place of one; what is wrong is left to the
    parser to tell.
    """
    path = Path(config).expanduser()
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8") if path.is_file() else config)
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    return str(held.get("preset", "")) if isinstance(held, dict) else ""
