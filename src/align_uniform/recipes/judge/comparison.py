"""The accuracies of several encoders on the same images, from the files that `evaluate` wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from align_uniform._messages import counted, folded
from align_uniform.measuring.accuracies import AccuracyDifference, compare_accuracies
from align_uniform.measuring.significance import holm, text_of_p
from align_uniform.recipes.judge.options import CompareScoresOptions
from align_uniform.recipes.judge.scores import Scores

SCHEMA_VERSION = 1


def compare(options: CompareScoresOptions) -> int:
    """Print the accuracies, and the difference of each but the first from the first; return 0."""
    scores = [read_scores(path) for path in options.scores]
    names = options.names or tuple(path.stem for path in options.scores)
    differences = [
        difference(*both, names=named)
        for both, named in zip(
            ((other, scores[0]) for other in scores[1:]),
            ((other, names[0]) for other in names[1:]),
            strict=True,
        )
    ]
    adjusted = holm([each.p for each in differences])
    if options.json:
        _print_json(names, scores, differences, adjusted)
    else:
        _print(names, scores, differences, adjusted)
    return 0


def read_scores(path: Path) -> Scores:
    """Return the scores in a file, which must hold the hit of each image.

    Raises:
        ValueError: the file is not one that `evaluate --out` wrote, or one of an earlier version.
    """
    try:
        found = Scores.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must hold the scores of an evaluation, as `evaluate --out` writes them, but it does "
            "not; evaluate again with --out."
        ) from error
    if found.hits is None or found.labels is None:
        raise ValueError(f"{path} has counts, but not the hit of each image; evaluate again with --out.")
    return found


def difference(first: Scores, second: Scores, names: tuple[str, str]) -> AccuracyDifference:
    """Return the difference of two accuracies on the same images.

    Raises:
        ValueError: the images of the two do not have the same classes in the same order.
    """
    if (first.classes, first.labels) != (second.classes, second.labels):
        raise ValueError(
            f"{names[0]} and {names[1]} must be of the same images in the same order, but their classes "
            "differ; evaluate both encoders on the same images."
        )
    return compare_accuracies(first.hits, second.hits, names=names)


def _print(
    names: Sequence[str],
    scores: Sequence[Scores],
    differences: Sequence[AccuracyDifference],
    adjusted: Sequence[float | None],
) -> None:
    width = max(map(len, names))
    for name, score in zip(names, scores, strict=True):
        sys.stdout.write(f"{name:<{width}}  {100 * score.top1:5.2f}% of {counted(score.n, 'image')}\n")
    sys.stdout.write("\n")
    for each, p in zip(differences, adjusted, strict=True):
        holms = f", {text_of_p(p)} adjusted" if len(differences) > 1 and p is not None else ""
        sys.stdout.write(folded(f"{each}{holms}", sys.stdout) + "\n")
    if len(differences) > 1:
        sys.stdout.write(f"\nadjusted: for {counted(len(differences), 'comparison')}, by Holm's method\n")


def _print_json(
    names: Sequence[str],
    scores: Sequence[Scores],
    differences: Sequence[AccuracyDifference],
    adjusted: Sequence[float | None],
) -> None:
    document = {
        "schema_version": SCHEMA_VERSION,
        "accuracies": [
            {"name": name, "n": score.n, "top1": score.top1, "top1_interval": score.top1_interval}
            for name, score in zip(names, scores, strict=True)
        ],
        "differences": [
            asdict(each) | {"test": each.test, "adjusted_p": p}
            for each, p in zip(differences, adjusted, strict=True)
        ],
    }
    sys.stdout.write(json.dumps(document) + "\n")
