"""Completion of commands, options and choices by the shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from align_uniform._extras import needs
from align_uniform.cli.command import Command

SHELLS = ("bash", "zsh", "fish")

_NO_FILES = {"K", "N", "NAME", "SCORE", "X"}
"""Words on the help page that stand for numbers and names."""


def completion(commands: Mapping[tuple[str, ...], Command], headings: Mapping[str, str], shell: str) -> str:
    """Return a script for a shell that completes the commands.

    Args:
        commands: the commands, by their words.
        headings: the help of the first words of commands that have two.
        shell: one of `SHELLS`.
    """
    if shell == "fish":
        return "\n".join(_fish(commands, headings)) + "\n"
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


def _fish(commands: Mapping[tuple[str, ...], Command], headings: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a script for fish, for which shtab has none."""
    yield "# fish completion of align-uniform"
    yield "complete -c align-uniform -f"
    none = "not __fish_seen_subcommand_from " + " ".join(sorted({words[0] for words in commands}))
    for first in dict.fromkeys(words[0] for words in commands):
        text = headings.get(first) or commands[(first,)].help
        yield f"complete -c align-uniform -n '{none}' -a {first} -d {_quoted(text)}"
    for words, command in commands.items():
        seen = f"__fish_seen_subcommand_from {words[0]}"
        if len(words) > 1:
            others = " ".join(each[1] for each in commands if each[0] == words[0])
            missing = f"{seen}; and not __fish_seen_subcommand_from {others}"
            yield f"complete -c align-uniform -n '{missing}' -a {words[1]} -d {_quoted(command.help)}"
            seen += f"; and __fish_seen_subcommand_from {words[1]}"
        for action in command.parser(words).actions:
            yield _fish_option(seen, action)


def _fish_option(seen: str, action: argparse.Action) -> str:
    """Return the line of an option, or of an argument, which takes files."""
    parts = [f"complete -c align-uniform -n '{seen}'"]
    parts += [
        f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in action.option_strings
    ]
    if action.choices:
        parts.append(f"-x -a {_quoted(' '.join(map(str, action.choices)))}")
    elif action.nargs != 0:
        parts.append("-x" if action.metavar in _NO_FILES else "-r -F" if action.option_strings else "-F")
    return " ".join([*parts, f"-d {_quoted(action.help or '')}"])


def _quoted(text: str) -> str:
    """Return a text between quotes, as fish reads it, on one line."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{plain}'"
