"""`align-uniform imagenet-subset`: some classes of ImageNet, as links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HELP = "some classes of ImageNet, as a folder of links"
DESCRIPTION = """
Make OUT/train and OUT/val, with a link for each class to its folder in FULL/train and FULL/val: no image is
copied. Missing classes are all named before anything is made, and OUT is made whole or not at all.
"""


def add_arguments(parser: Any) -> None:
    """Declare the command line."""
    parser.add_argument(
        "full",
        metavar="FULL",
        type=Path,
        help="ImageNet: train and val, with a folder for each class in them",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to make")
    parser.add_argument(
        "--classes",
        required=True,
        metavar="FILE",
        help="a file of synset ids, one a line, as n01440764; "
        "or imagenet-100, the published list, which is fetched",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace an earlier subset; only links are ever replaced"
    )


def run(options: dict[str, Any]) -> int:
    """Link, and say what was linked."""
    from align_uniform.recipes import imagenet_subset as subset

    named = options["classes"]
    classes = subset.published_classes() if named == subset.IMAGENET_100 else subset.read_classes(Path(named))
    out = Path(options["out"])
    subset.link_subset(Path(options["full"]), out, classes, force=options["force"])
    print(f"{out}: {len(classes)} classes in {' and '.join(subset.SPLITS)}")
    return 0
