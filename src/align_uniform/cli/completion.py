"""Completion of commands, options and choices by the shell."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from align_uniform._extras import needs
from align_uniform.cli.command import Command

SHELLS = ("bash", "zsh")

_NO_FILES = {"K", "N", "NAME", "SCORE", "X"}
"""Words on the help page that stand for numbers and names."""


def completion(commands: Mapping[tuple[str, ...], Command], headings: Mapping[str, str], shell: str) -> str:
    """Return a script for a shell that completes the commands.

    Args:
        commands: the commands, by their words.
        headings: the help of the first words of commands that have two.
        shell: one of `SHELLS`.
    """
    with needs("completion"):
        import shtab
    root = argparse.ArgumentParser("align-uniform")
    root.add_argument("--version", action="store_true", help="Print the version and exit.")
    groups: dict[tuple[str, ...], Any] = {(): root.add_subparsers()}
    for words, command in commands.items():
        parser = command.parser(words)
        for action in parser.actions:
            if action.nargs != 0 and not action.choices and action.metavar not in _NO_FILES:
                setattr(action, "complete", shtab.FILE)  # noqa: B010  # an attribute that argparse lacks
        if words[:-1] not in groups:
            group = groups[()].add_parser(words[0], help=headings[words[0]])
            groups[words[:-1]] = group.add_subparsers()
        groups[words[:-1]].add_parser(words[-1], help=command.help, parents=[parser], add_help=False)
    return str(shtab.complete(root, shell))
