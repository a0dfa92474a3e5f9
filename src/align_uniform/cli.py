"""The command `align-uniform`: results on stdout, all else on stderr.

Exit codes: 0 done, 1 an argument or a file is not as it should be, 2 the command line is not, 130 interrupted (what was done
until then is shown).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import jsonargparse

from align_uniform import __version__


class Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002  # jsonargparse's signature
        """Say what is wrong and exit with 2."""
        reason = " ".join(str(message).split())
        print(f"align-uniform: {reason} (see align-uniform --help)", file=sys.stderr)  # noqa: T201  # this is the command
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = Parser(prog="align-uniform", description="Alignment and uniformity on the hypersphere.", version=__version__)
    subcommands = parser.add_subcommands(dest="command", required=True)
    subcommands.add_subcommand("demo", _demo_parser(), help="train encoders of handwritten digits, and look at them")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (ValueError, OSError) as error:
        print(f"align-uniform: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _demo_parser() -> Parser:
    from align_uniform.recipes.demo import DemoOptions

    parser = Parser(description="Train encoders of handwritten digits without labels, for about two minutes, and draw them.")
    parser.add_argument("--config", action="config", help="a YAML file of options")
    parser.add_class_arguments(DemoOptions, None, as_group=False, skip={"force"})
    parser.add_argument("--force", action="store_true", help="replace the files of an earlier demo in that folder")
    return parser


def _run(options: jsonargparse.Namespace) -> int:
    from align_uniform.recipes import demo

    chosen = options.demo.as_dict()
    chosen.pop("config", None)
    return demo.run(demo.DemoOptions(**chosen))
