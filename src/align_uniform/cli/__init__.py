"""The command `align-uniform`: results on stdout, all else on stderr.

Exit codes: 0 for success; 1 for an invalid argument or file; 2 for a usage error; 3 for a result that fails a
condition; 130 after Ctrl-C, with the results so far.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from align_uniform._apart import check_apart
from align_uniform._extras import advice_for, require
from align_uniform._messages import folded, one_line, print_anywhere
from align_uniform._options import without_effect
from align_uniform._version import __version__
from align_uniform.cli import compare, drift, measure, memory, recipes
from align_uniform.cli.command import Command, named
from align_uniform.cli.completion import SHELLS, completion
from align_uniform.cli.config import as_yaml, chosen, merged
from align_uniform.cli.options import as_typed, options_of
from align_uniform.cli.parser import Parser, UsageError, as_columns, did_you_mean
from align_uniform.recipes.images.workers import reason

COMMANDS: dict[tuple[str, ...], Command] = {
    ("measure",): measure.COMMAND,
    ("compare",): compare.COMMAND,
    ("drift",): drift.COMMAND,
    **recipes.COMMANDS,
}
"""The commands, by their words."""

HEADINGS = {"pretrain": "train an encoder without labels", "evaluate": "judge an encoder's features"}
"""The help of the first words of commands that have two."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    print_anywhere()
    try:
        words = _words(given)
        run = _run if words in COMMANDS else _run_without_command
        code = run(words, given[len(words) :])
        sys.stdout.flush()
    except SystemExit as ended:  # argparse ends so after a help page or a usage error
        return int(ended.code or 0)
    except BrokenPipeError:  # the reader has enough, as `head` does; nothing is left to write at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _failed("interrupted.", 130)
    except ModuleNotFoundError as error:
        if (advice := advice_for(error.name)) is None:
            raise
        return _failed(str(error) if "pip install" in str(error) else advice)
    except UsageError as error:  # of options that only the result could refuse
        return _failed(f"{error}.", 2)
    except (ValueError, OSError) as error:
        return _failed(reason(error))
    return code


def _failed(message: str, code: int = 1) -> int:
    print(folded(f"align-uniform: {one_line(message)}", sys.stderr), file=sys.stderr)
    return code


def _words(given: Sequence[str]) -> tuple[str, ...]:
    """Return the words at the beginning that name a command, or several that begin so."""
    words: tuple[str, ...] = ()
    for word in given:
        if not any(key[: len(words) + 1] == (*words, word) for key in COMMANDS):
            break
        words = (*words, word)
    return words


def _run_without_command(words: tuple[str, ...], given: Sequence[str]) -> int:
    """Print the help, the version or the completion, or end with a usage error."""
    parser = _overview(words)
    known = list(dict.fromkeys(key[len(words)] for key in COMMANDS if key[: len(words)] == words))
    if given and not given[0].startswith("-"):
        asked = " ".join((*words, given[0]))
        parser.error(f"there is no command {asked}{did_you_mean(given[0], known)}")
    typed = parser.parse(given)
    if "print_completion" not in typed:
        parser.error(f"give a command: {', '.join(known)}")
    sys.stdout.write(completion(COMMANDS, HEADINGS, typed["print_completion"]))
    return 0


def _overview(words: tuple[str, ...]) -> Parser:
    """Return a parser whose help lists the commands that begin with some words."""
    listed = {" ".join(key): each.help for key, each in COMMANDS.items() if key[: len(words)] == words}
    lines = "\n".join(as_columns(f"  {name:20}", text) for name, text in listed.items())
    prog = " ".join(("align-uniform", *words))
    parser = Parser(
        prog,
        "Alignment and uniformity on the hypersphere: measure embeddings, and train and evaluate encoders.",
        usage="COMMAND [OPTIONS]",
        epilog=f"commands:\n{lines}\n\nalign-uniform COMMAND --help describes a command.",
    )
    if not words:
        parser.add_argument(
            "--print-completion", choices=SHELLS, help="Print a script that completes commands, and exit."
        )
        parser.add_argument(
            "--version",
            action="version",
            version=f"align-uniform {__version__}",
            help="Print the version and exit.",
        )
    return parser


def _run(words: tuple[str, ...], given: Sequence[str]) -> int:
    """Read the options of a command, and carry it out."""
    command = COMMANDS[words]
    parser = command.parser(words)
    typed = parser.parse(given)
    require(command.extra)
    configs, only_print = typed.pop("config", []), typed.pop("print_config", False)
    kind = named(command.options)
    try:
        values = merged(kind, typed, configs)
    except (ValueError, OSError) as error:
        parser.error(reason(error))
    if only_print:
        sys.stdout.write(as_yaml(kind, values))
        return 0
    options = _options(kind, values, typed, parser)
    check_apart(options, configs)
    with _processes() if command.processes else nullcontext():
        try:
            return int(named(command.run)(options))
        except ValueError as error:
            raise ValueError(as_typed(kind, reason(error))) from error
        except (MemoryError, RuntimeError, OSError) as error:
            if not (line := memory.told(error, options)):
                raise
            return _failed(line)


def _options(kind: type, values: dict[str, Any], typed: dict[str, Any], parser: Parser) -> Any:
    """Return the dataclass of options; an error names them as they are typed."""
    if missing := [each.usage for each in options_of(kind) if each.is_required and each.name not in values]:
        parser.error(f"give {' and '.join(missing)}")
    try:
        options = kind(**values)
        if fault := without_effect(options, chosen(kind, typed, values)):
            parser.error(fault)
        return options
    except UsageError as error:
        parser.error(str(error))
    except ValueError as error:
        raise ValueError(as_typed(kind, str(error))) from error


def _processes() -> Any:
    from align_uniform.recipes.devices import process_group

    return process_group()
