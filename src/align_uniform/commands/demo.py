"""`align-uniform demo`: train small encoders, and look at them."""

from __future__ import annotations

from typing import Any

HELP = "train encoders of handwritten digits, and look at them"
DESCRIPTION = "Train encoders of handwritten digits without labels, for about two minutes, and draw them."


def add_arguments(parser: Any) -> None:
    """The fields of `DemoOptions`."""
    from align_uniform.recipes.demo import DemoOptions

    parser.add_class_arguments(DemoOptions, None, as_group=False, skip={"force"})
    parser.add_argument("--force", action="store_true", help="replace the files of an earlier demo in that folder")


def run(options: dict[str, Any]) -> int:
    """Run the recipe."""
    from align_uniform.recipes import demo

    return demo.run(demo.DemoOptions(**options))
