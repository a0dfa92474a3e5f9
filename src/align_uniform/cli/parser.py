"""The parser of the command line: argparse, with errors of one line that say what would be right."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from align_uniform._messages import folded, one_line

WIDEST = 110
"""The number of columns that a help page has at most."""


NEGATIVE = re.compile(r"-(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|inf|nan)$", re.IGNORECASE)
"""A negative number, which is a value and no option; without this, argparse takes -1e-3 for an option."""


class UsageError(Exception):
    """Options that are valid one by one and do not go together; the exit code is 2."""


class Parser(argparse.ArgumentParser):
    """A parser whose namespace holds what was typed and nothing else.

    Options are not abbreviated. An error is one line on stderr, which names the help page, and exit code 2.

    Args:
        prog: the program with the words of the command, as they are typed.
        description: paragraphs of text, with an empty line between them.
        usage: the arguments that follow `prog`.
        epilog: lines that end the help page as they are.
    """

    def __init__(self, prog: str, description: str, usage: str = "[OPTIONS]", epilog: str = "") -> None:
        width = _width()
        super().__init__(
            prog=prog,
            usage=f"{prog} {usage}",
            description="\n\n".join(
                textwrap.fill(" ".join(paragraph.split()), width, break_on_hyphens=False)
                for paragraph in description.split("\n\n")
            ),
            epilog=epilog,
            formatter_class=lambda prog: _HelpFormatter(prog, max_help_position=28, width=width),
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            exit_on_error=False,
            add_help=False,
        )
        self._positionals.title = "arguments"
        self._negative_number_matcher = NEGATIVE
        self.add_argument("-h", "--help", action="help", help="Show this page and exit.")

    def group(self, heading: str) -> Any:
        """Return a new group of options below a heading, which may take several lines."""
        return self.add_argument_group("\n".join(textwrap.wrap(heading, _width() - 1)))

    @property
    def actions(self) -> list[argparse.Action]:
        """The options and arguments that were declared."""
        return list(self._actions)

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """Return what was typed, by the names of the options, or end with a usage error."""
        self._refuse_unknown_options(words)
        try:
            found, others = self.parse_known_args(words)
        except argparse.ArgumentError as error:
            said = str(error.message)
            named = (error.argument_name or "").partition("/")[0]
            self.error(f"{named} {said}" if said.startswith("must ") else f"{named}: {said}".lstrip(": "))
        if others:
            self.error(f"{others[0]!r} is one argument too many")
        return {name: value for name, value in vars(found).items() if value not in (None, [])}

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where the help is, in one line, and exit with 2."""
        line = f"align-uniform: {one_line(message)} (see {self.prog} --help)"
        print(folded(line, sys.stderr), file=sys.stderr)
        sys.exit(2)

    def _refuse_unknown_options(self, words: Iterable[str]) -> None:
        """Name an unknown option before argparse can take its value for an argument."""
        known = [option for action in self.actions for option in action.option_strings]
        for word in words:
            option = word.partition("=")[0]
            if option == "--":
                return
            is_option = option.startswith("-") and option != "-" and not NEGATIVE.match(word)
            if is_option and " " not in option and option not in known:
                self.error(f"there is no option {option}{did_you_mean(option, known)}")


def _width() -> int:
    return min(WIDEST, shutil.get_terminal_size().columns) - 2


def as_columns(head: str, text: str) -> str:
    """Return a text beside its head, folded between words into a column of its own."""
    room = max(_width() - len(head), 20)
    return head + f"\n{' ' * len(head)}".join(textwrap.wrap(text, room, break_on_hyphens=False))


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that never breaks a name such as small-alexnet or --batch-size in two."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question that names the nearest known word, or nothing if none is near.

    >>> did_you_mean("--batch_size", ["--batch-size", "--lr"])
    '; did you mean --batch-size?'
    """
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
