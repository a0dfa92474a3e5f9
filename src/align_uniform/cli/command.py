"""A command of the command line, as the table of commands holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from align_uniform.cli.options import add_options, options_of
from align_uniform.cli.parser import Parser
from align_uniform.recipes.pretrain import presets


@dataclass(frozen=True)
class Command:
    """A command: its options, and the function that carries it out.

    Both are named as module:name and imported when they are needed, so that a help page needs no library.
    """

    help: str
    """One phrase, for the list of commands."""
    description: str
    """The first paragraphs of the help page."""
    options: str
    """The dataclass of options, in a module that imports the standard library alone."""
    run: str
    """The function from options to the exit code."""
    extra: str = "recipes"
    """The extra that the command needs."""
    presets: str = ""
    """The recipe whose presets `--preset` takes, or empty if there is no such option."""
    processes: bool = False
    """Whether `run` takes part in a process group under torchrun."""

    def parser(self, words: tuple[str, ...]) -> Parser:
        """Return the parser of the arguments that follow the words of the command."""
        options = named(self.options)
        usage = " ".join(["[OPTIONS]", *(option.usage for option in options_of(options) if option.usage)])
        parser = Parser(f"align-uniform {' '.join(words)}", self.description, usage)
        parser.add_argument(
            "--config",
            type=Path,
            action="append",
            metavar="YAML",
            help="A file of options. It counts more than a preset, and less than what is typed.",
        )
        parser.add_argument(
            "--print-config",
            action="store_true",
            help="Print all options as a file for --config, and exit.",
        )
        add_options(parser, options, {"preset": presets.names(self.presets)} if self.presets else {})
        return parser

    def preset(self, name: str) -> Mapping[str, Any]:
        """Return the options that a preset sets."""
        return presets.load(self.presets, name)


def named(reference: str) -> Any:
    """Import module:name."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
