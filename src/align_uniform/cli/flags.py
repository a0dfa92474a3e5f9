"""Options of a dataclass on the command line, each with the docstring of its field as help.

Those that are off or on are flags, `--mlp` and `--no_mlp`, not `--mlp true`; either may undo what a preset or
a file of options says.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import docstring_parser
from jsonargparse import ActionYesNo, set_parsing_settings

set_parsing_settings(docstring_parse_attribute_docstrings=True)


def add_options(parser: Any, options: type) -> None:
    """Declare the fields of a dataclass of options."""
    flags = {field.name: field.default for field in fields(options) if isinstance(field.default, bool)}
    parser.add_class_arguments(options, None, as_group=False, skip=set(flags))
    told = _docstrings(options)
    for name, is_on in sorted(flags.items()):
        parser.add_argument(f"--{name}", action=ActionYesNo, default=is_on, help=told[name])


def _docstrings(options: type) -> dict[str, str]:
    """What is said under each field of a dataclass and of those that it inherits from."""
    classes = [each for each in reversed(options.__mro__) if each is not object]
    said = [parameter for each in classes for parameter in docstring_parser.parse_from_object(each).params]
    return {parameter.arg_name: " ".join((parameter.description or "").split()) for parameter in said}
