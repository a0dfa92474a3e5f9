"""`align-uniform demo`: train small encoders, and look at them."""

from __future__ import annotations

from typing import Any

from align_uniform.cli.flags import add_options

HELP = "train encoders of handwritten digits, and look at them"
DESCRIPTION = "Train encoders of handwritten digits without labels, for about two minutes, and draw them."


def add_arguments(parser: Any) -> None:
    """The fields of `DemoOptions`."""
    from align_uniform.recipes.demo import DemoOptions

    add_options(parser, DemoOptions)


def run(options: dict[str, Any]) -> int:
    """Run the recipe."""
    from align_uniform.recipes import demo

    return demo.run(demo.DemoOptions(**options))
