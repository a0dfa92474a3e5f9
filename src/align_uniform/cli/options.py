"""The options of a command, from a dataclass: on the command line, in files, and on the help page.

The docstring under each field is its help. The metadata of a field may hold "argument", whether it is typed
without an option's name, "metavar", the word that stands for its value on the help page, and "repeats",
whether a list may be typed in several parts, and "bare", the value of the option typed without one.
"""

from __future__ import annotations

import argparse
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from align_uniform._field_docs import documented_fields
from align_uniform._options import choices_of
from align_uniform.cli.parser import Parser, did_you_mean


@dataclass(frozen=True)
class Option:
    """A field of a dataclass of options, as the command line and files take it."""

    name: str
    help: str
    default: Any
    read: Callable[[object], Any]
    """Return one value, from a typed word or from a file, or raise an ArgumentTypeError."""
    is_switch: bool
    is_argument: bool
    is_required: bool
    is_optional: bool
    """Whether None is a value, in a file."""
    choices: tuple[str, ...]
    """The only values, or empty if there are others."""
    count: int | Literal["+"] | None
    """The number of values, or None if there is one and it is not a tuple."""
    repeats: bool
    """Whether the option may be typed several times, each of which adds to the values."""
    bare: str | None
    """The value if the option is typed without one; None if it must have one."""
    metavar: str | None
    group: str
    """The heading on the help page; empty for the fields of the dataclass itself."""

    @property
    def spelled(self) -> str:
        """The option as it is typed."""
        return str(self.metavar) if self.is_argument else f"--{self.name.replace('_', '-')}"

    @property
    def usage(self) -> str:
        """The first line of the help page has this of an argument, in brackets if it may be left out."""
        if not self.is_argument:
            return f"{self.spelled} {self.metavar}" if self.is_required else ""
        several = "..." if self.count == "+" else ""
        return f"{self.spelled}{several}" if self.is_required else f"[{self.spelled}{several}]"

    @property
    def described(self) -> str:
        """The help, followed by the default in words."""
        default = _in_words(self.default)
        return f"{self.help} Default: {default}." if default else self.help

    def read_all(self, value: object) -> Any:
        """Return the value that a file has for this option, or raise an ArgumentTypeError."""
        if value is None and self.is_optional:
            return None
        if self.count is None:
            return self.read(value)
        if not isinstance(value, list) or self.count not in ("+", len(value)):
            number = "" if self.count == "+" else f"{self.count} "
            raise argparse.ArgumentTypeError(f"must be a list of {number}values, got {value!r}")
        return tuple(self.read(each) for each in value)


def add_options(parser: Parser, options: type) -> None:
    """Declare the fields of a dataclass of options.

    The help page lists an inherited field below the first line of the docstring of the class that declares it
    first, except `preset`, which stands next to `--config`.
    """
    groups: dict[str, Any] = {"": parser}
    for option in options_of(options):
        parser.usage = f"{parser.usage} {option.usage}".strip()
        heading = "" if option.is_argument or option.name == "preset" else option.group
        if heading not in groups:
            groups[heading] = parser.group(heading)
        _declare(groups[heading], option)


def options_of(options: type) -> list[Option]:
    """Return what each field of a dataclass of options is on the command line."""
    hints, choices = get_type_hints(options), choices_of(options)
    documented = dict(documented_fields(options))
    return [
        _option(
            field,
            hints[field.name],
            choices.get(field.name, ()),
            as_typed(options, documented[field.name]),
            _heading(options, field.name),
        )
        for field in fields(options)
    ]


def as_typed(options: type, text: str) -> str:
    """Return a text with the names of options as they are typed.

    A name of one word may be any word, so it counts only where a clause begins, before "must", "is for" or
    "was" with a value.

    >>> from align_uniform.recipes.encoders.options import ViewsOptions
    >>> as_typed(ViewsOptions, "batch_size must be at least 1, but batch_size.npy is a file")
    '--batch-size must be at least 1, but batch_size.npy is a file'
    >>> as_typed(ViewsOptions, "layer must be one of the encoder's; each layer must have a name")
    "--layer must be one of the encoder's; each layer must have a name"
    """
    typed = [each for each in fields(options) if not each.metadata.get("argument")]
    long = "|".join(each.name for each in typed if "_" in each.name)
    short = "|".join(each.name for each in typed if "_" not in each.name)
    follows = r" must\b| (?:is|are) for\b| was (?:['\[\d-]|None\b|True\b|False\b)"
    patterns = []
    if long:
        patterns.append(rf"(?<![\w./'-])(?:{long})(?![\w/'-]|\.\w)")
    if short:
        patterns.append(rf"(?:(?<=[,:;] )|^)(?:{short})(?={follows})")
    if not patterns:
        return text
    return re.sub("|".join(patterns), lambda found: f"--{found[0].replace('_', '-')}", text)


def read_values(options: type, values: Mapping[str, object], source: str) -> dict[str, Any]:
    """Return the values of a file of options, by field.

    Raises:
        ValueError: there is no such option, or it cannot have that value; the message begins with `source`.
    """
    known = {option.name: option for option in options_of(options)}
    found = {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{source}: there is no option {name}{did_you_mean(str(name), known)}")
        try:
            found[name] = known[name].read_all(value)
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{source}: {name} {error}") from None
    return found


def _declare(parser: Any, option: Option) -> None:
    described = option.described.replace("%", "%%")
    if option.is_switch:
        # set after the fact, since Python 3.10 adds a default to the help that it is given
        parser.add_argument(option.spelled, action=argparse.BooleanOptionalAction).help = described
        return
    taken: dict[str, Any] = {"type": option.read, "help": described, "metavar": option.metavar}
    if option.choices:
        taken["choices"] = option.choices
    if option.bare is not None:
        parser.add_argument(option.spelled, nargs="?", const=option.bare, **taken)
    elif option.is_argument:  # a file of options may hold it, so that it need not be typed
        parser.add_argument(option.name, nargs="?" if option.count is None else "*", default=None, **taken)
    else:
        parser.add_argument(
            option.spelled, nargs=option.count, action="extend" if option.repeats else "store", **taken
        )


def _option(field: Field[Any], hint: Any, choices: tuple[str, ...], text: str, group: str) -> Option:
    parts = set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}
    (kind,) = parts - {types.NoneType}
    count: int | Literal["+"] | None = None
    if get_origin(kind) is tuple:
        kind, *others = get_args(kind)
        count = "+" if others == [...] else 1 + len(others)
    read, metavar = (partial(_choice, choices), None) if choices else _KINDS[kind]
    return Option(
        name=field.name,
        help=text,
        default=None if field.default is MISSING else field.default,
        read=read,
        is_switch=kind is bool,
        is_argument=bool(field.metadata.get("argument")),
        is_required=field.default is MISSING and field.default_factory is MISSING,
        is_optional=types.NoneType in parts,
        choices=choices,
        count=count,
        repeats=bool(field.metadata.get("repeats")),
        bare=field.metadata.get("bare"),
        metavar=field.metadata.get("metavar", metavar),
        group=group,
    )


def _heading(options: type, name: str) -> str:
    """The first line of the docstring of the class that declares a field first, if it is not the last one."""
    owner = [each for each in options.__mro__ if name in vars(each).get("__annotations__", {})][-1]
    return "" if owner is options else str(owner.__doc__).strip().splitlines()[0].rstrip(".:")


def _in_words(default: object) -> str:
    """The default as it would be typed; empty if the help says what happens by default."""
    if isinstance(default, bool):
        return "on" if default else ""
    if isinstance(default, tuple):
        return " ".join(map(_in_words, default))
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None else str(default)


# ----------------------------------------------------------------------------------- from words to values


def _whole(value: object) -> int:
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return int(value)
        except ValueError:
            pass
    raise argparse.ArgumentTypeError(f"must be a whole number, got {value!r}")


def _number(value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    raise argparse.ArgumentTypeError(f"must be a number, got {value!r}")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise argparse.ArgumentTypeError(f"must be text, got {value!r}")


def _path(value: object) -> Path:
    if isinstance(value, str):
        return Path(value)
    raise argparse.ArgumentTypeError(f"must be a path, got {value!r}")


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise argparse.ArgumentTypeError(f"must be true or false, got {value!r}")


def _choice(choices: tuple[str, ...], value: object) -> str:
    if isinstance(value, str) and value in choices:
        return value
    raise argparse.ArgumentTypeError(
        f"must be one of {', '.join(choices)}, got {value!r}{did_you_mean(str(value), choices)}"
    )


_KINDS: dict[Any, tuple[Callable[[object], Any], str]] = {
    bool: (_switch, ""),
    float: (_number, "X"),
    int: (_whole, "N"),
    Path: (_path, "PATH"),
    str: (_text, "NAME"),
}
"""The function that reads a value and the word that stands for one, for each type of a field."""
