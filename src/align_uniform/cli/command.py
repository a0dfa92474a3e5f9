"""A command of the command line, as the table of commands holds it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from align_uniform.cli.options import add_options
from align_uniform.cli.parser import Parser

GATE_FAILED = 3
"""The exit code of a command whose result, though complete, fails a condition that was set on it."""


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
    processes: bool = False
    """Whether `run` takes part in a process group under torchrun."""

    def parser(self, words: tuple[str, ...]) -> Parser:
        """Return the parser of the arguments that follow the words of the command."""
        options = named(self.options)
        parser = Parser(f"align-uniform {' '.join(words)}", self.description)
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
        add_options(parser, options)
        return parser


def named(reference: str) -> Any:
    """Import module:name."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
