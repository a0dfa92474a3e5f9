"""Options from files: presets, which the package brings, and the user's own.

The default of an option gives way to the preset, the preset to `--config`, and that to what is typed,
whatever the order on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from align_uniform.cli.options import read_values
from align_uniform.recipes.pretrain import presets


def read_config(options: type, file: Path) -> dict[str, Any]:
    """Return the values of the options that a YAML file has, by field.

    Raises:
        ValueError: it is not a YAML file of such options; the message names the file.
        OSError: it cannot be read.
    """
    import yaml  # type: ignore[import-untyped]

    path = file.expanduser()  # a shell leaves the ~ of --config=~/file alone
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(held, dict):
        raise ValueError(f"{file} must have lines such as 'seed: 3', got {str(held)[:40]!r}")
    return read_values(options, held, str(file))


def as_yaml(options: type, given: Mapping[str, Any]) -> str:
    """Return a file that `--config` reads, with some values and the defaults of the other options.

    Options that have neither a value nor a default are left out. The text is ASCII, so that it can be read
    again whatever the encoding in which a console or a redirection writes it.
    """
    import yaml

    defaults = {each.name: each.default for each in fields(options) if each.default not in (MISSING, None)}
    values = {name: _plain(value) for name, value in {**defaults, **given}.items()}
    return str(yaml.safe_dump(values, sort_keys=False, default_flow_style=False))


def merged(options: type, typed: Mapping[str, Any], configs: list[Path]) -> dict[str, Any]:
    """Return the options by field: a file counts more than the preset, and what was typed counts most.

    Args:
        options: the dataclass; one with presets has the name of their `recipe`, and a field `preset`.
        typed: the options on the command line.
        configs: the files of options; a later one counts more than an earlier one.

    Raises:
        ValueError: as `read_config`.
        OSError: as `read_config`.
    """
    given: dict[str, Any] = {}
    for file in configs:
        given |= read_config(options, file)
    given |= typed
    return {**_preset(options, given), **given}


def chosen(options: type, typed: Mapping[str, Any], values: Mapping[str, Any]) -> set[str]:
    """Return the names of the options that somebody chose, and that should therefore have an effect.

    They are those that were typed, except switches that were turned off, and those in files that are neither
    the default nor of the preset: --print-config writes all of them.
    """
    usual = {each.name: each.default for each in fields(options)} | _preset(options, values)
    return {name for name, value in typed.items() if value is not False} | {
        name for name, value in values.items() if value not in (usual[name], False)
    }


def _preset(options: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the preset, if the dataclass has presets."""
    recipe = getattr(options, "recipe", None)
    if recipe is None:
        return {}
    (default,) = (field.default for field in fields(options) if field.name == "preset")
    return dict(presets.load(recipe, given.get("preset", default)))


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value
