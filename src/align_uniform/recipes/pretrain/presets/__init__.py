"""The presets of the pretraining recipes: a folder for each recipe, with a YAML file for each preset."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from align_uniform._extras import needs


def names(recipe: str) -> tuple[str, ...]:
    """Return the names of a recipe's presets, in alphabetical order.

    Example:
        >>> names("two-view")
        ('cifar10', 'cifar10-cpu', 'digits', 'fashion-mnist', 'imagefolder', 'stl10')
    """
    folder = files(__name__).joinpath(recipe)
    return tuple(sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml")))


def load(recipe: str, name: str) -> dict[str, Any]:
    """Return the options that a preset sets, by name; lists become tuples.

    Example:
        >>> load("two-view", "stl10")["batch_size"]
        768

    Raises:
        ValueError: the recipe has no such preset.
    """
    with needs("cli"):
        import yaml  # type: ignore[import-untyped]  # the names alone do not need it

    if name not in (known := names(recipe)):
        raise ValueError(f"preset must be one of {', '.join(map(repr, known))}, got {name!r}.")
    text = files(__name__).joinpath(recipe, f"{name}.yaml").read_text(encoding="utf-8")
    held: dict[str, Any] = yaml.safe_load(text)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in held.items()}
