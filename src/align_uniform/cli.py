"""The command `align-uniform`: results on stdout, all else on stderr.

Exit codes: 0 done, 1 an argument or a file is not as it should be, 2 the command line is not, 130 interrupted (what was done
until then is shown).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import jsonargparse

from align_uniform import __version__
from align_uniform.commands import compare, demo, measure


class Command(Protocol):
    """What a file in `commands` holds."""

    HELP: str
    DESCRIPTION: str

    def add_arguments(self, parser: Any, /) -> None:
        """Declare the command line."""

    def run(self, options: dict[str, Any], /) -> int:
        """Do it, and return the exit code."""


COMMANDS: dict[str, Command] = {"measure": measure, "compare": compare, "demo": demo}


class Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002  # jsonargparse's signature
        """Say what is wrong and exit with 2."""
        reason = " ".join(str(message).split())
        print(f"align-uniform: {reason} (see align-uniform --help)", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = Parser(prog="align-uniform", description="Alignment and uniformity on the hypersphere.", version=__version__)
    subcommands = parser.add_subcommands(dest="command", required=True)
    for name, command in COMMANDS.items():
        subparser = Parser(description=command.DESCRIPTION)
        subparser.add_argument("--config", action="config", help="a YAML file of options")
        command.add_arguments(subparser)
        subcommands.add_subcommand(name, subparser, help=command.HELP)
    options = parser.parse_args(arguments)
    chosen = options[options.command].as_dict()
    chosen.pop("config", None)
    try:
        code = COMMANDS[options.command].run(chosen)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough, as `head` does; nothing is left to write at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("align-uniform: interrupted.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"align-uniform: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return code
